"""Dataset folders that go to others: what their card says, who loads them, and that they come back."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml

from engine import formats
from engine.config.schema import Data
from engine.errors import UsageError
from engine.formats.card import card
from engine.formats.export_rows import ExportLayout
from engine.formats.markdown_escape import plain
from engine.project import folder as project
from engine.store.rows import Message, content_id, dump_messages

HOSTILE = "a|b <img src=x> [x](y) \x1b[31m #.json"
ROWS = [{"instruction": f"Add {n} and 1.", "input": "", "output": f"{n + 1}"} for n in range(6)]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two datasets: one sample rewritten for quality, one added, one retired as redundant."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    source = tmp_path / HOSTILE
    source.write_text(json.dumps(ROWS), encoding="utf-8")
    folder = tmp_path / "P"
    settings: dict[str, dict[str, object]] = {
        "model": {"name": "/srv/models/base_1"},
        "teacher": {"model": "owner/teacher"},
        "data": {"heldout_share": 0.0},
    }
    project.create(folder, [source], settings)
    db = sqlite3.connect(folder / "middo.db")
    with db:
        ids = [row[0] for row in db.execute("SELECT id FROM sample ORDER BY seq")]
        for seq, (parent, axis) in enumerate(((ids[0], "quality"), (ids[1], "diversity")), start=6):
            messages = (Message("user", f"new {axis}"), Message("assistant", "yes"))
            db.execute(
                "INSERT INTO sample (id, messages, seq, parent_id, axis, born_round) VALUES (?,?,?,?,?,1)",
                (content_id(messages), dump_messages(messages), seq, parent, axis),
            )
        db.executemany("INSERT INTO departure VALUES (?,1)", [(ids[0],), (ids[5],)])
        db.execute("INSERT INTO job (round, stage, state) VALUES (0, 'merge', 'done')")
    db.close()
    return folder


def header(card: str) -> dict[str, object]:
    """The YAML between the first two rules."""
    found = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def test_the_hub_folder_is_loaded_by_datasets_and_comes_back(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert project.export(made, out, None, "hub") == 6
    loaded = datasets.load_dataset(str(out))["train"]
    expected = [s.messages for s in formats.read(out, Data()).samples]
    assert [tuple(Message(**turn) for turn in row["messages"]) for row in loaded] == expected
    assert expected[-1] == (Message("user", "new diversity"), Message("assistant", "yes"))
    project.create(tmp_path / "Q", [out], {"data": {"heldout_share": 0.0}})
    project.export(tmp_path / "Q", tmp_path / "again", None, "hub")
    assert (tmp_path / "again" / "data").is_dir()
    assert [s.messages for s in formats.read(tmp_path / "again", Data()).samples] == expected


@pytest.mark.parametrize("format", ["hf", "hub"])
def test_the_card_says_how_it_was_made(made: Path, tmp_path: Path, format: str) -> None:
    project.export(made, tmp_path / "out", None, format, provenance=True)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "license" not in header(card), "the licence is the user's to say"
    assert "# license: add one" in card
    for said in (
        "| 0 | 6 | 0 | 0 | 0 | 0 |",
        "| 1 | 6 | 0 | 1 | 1 | 1 |",
        r"| base model | base\_1 |",
        r"| judge | the fine-tuned base\_1 |",
        "| teacher | owner/teacher |",
        "2 rows are rewrites",
        "middo-tui 0.",
    ):
        assert said in card, said
    assert "/srv/" not in card
    assert str(tmp_path) not in card, "a path of this machine"
    assert r"| a\|b \<img src=x\> \[x\]\(y\) \[31m \#.json | alpaca | 6 | 0 |" in card
    assert "\x1b" not in card


def test_what_is_in_the_header_is_where_the_rows_are(made: Path, tmp_path: Path) -> None:
    for format in ("hf", "hub"):
        project.export(made, tmp_path / format, 0, format)
        found = header((tmp_path / format / "README.md").read_text(encoding="utf-8"))
        configs: Any = found["configs"]
        (config,) = configs
        (files,) = config["data_files"]
        assert files["split"] == "train"
        assert len(list((tmp_path / format).glob(files["path"]))) == 1


def test_a_licence_that_a_person_wrote_stays(made: Path, tmp_path: Path) -> None:
    card = tmp_path / "out" / "README.md"
    project.export(made, tmp_path / "out", 0, "hub")
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace("# license: add one", "license: cc-by-4.0 # added"), encoding="utf-8")
    project.export(made, tmp_path / "out", 1, "hub")
    assert header(card.read_text(encoding="utf-8"))["license"] == "cc-by-4.0"


def test_a_hub_folder_is_exchanged_but_never_someone_elses(made: Path, tmp_path: Path) -> None:
    project.export(made, tmp_path / "out", 0, "hub")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a dataset of this kind"):
        project.export(made, tmp_path / "out", 0, "hub")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_names_are_words_to_markdown() -> None:
    assert plain("a\n# b\u202e") == r"a \# b"
    assert len(plain("x" * 5000)) == 200


def test_the_card_says_which_rows_lack_the_sources_columns() -> None:
    """A rewrite has the columns of the row whose place it takes; only an added sample has none."""
    layout = ExportLayout("hub", 1, (), {"source": "source"})
    assert "empty for samples that were added: source." in card(layout, "data/train-*.parquet", "")
