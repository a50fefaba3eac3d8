"""How a hub's datasets are written, and which of a repository's files are a split: no network, no files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError
from engine.hub.fetch import named
from engine.hub.layout import CONVERTED, Undecided, choose
from engine.hub.names import Name, parse


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tatsu-lab/alpaca", Name("tatsu-lab/alpaca")),
        ("teknium/OpenHermes-2.5", Name("teknium/OpenHermes-2.5")),
        ("o/n:de", Name("o/n", config="de")),
        ("o/n@v1.0", Name("o/n", revision="v1.0")),
        ("o/n@refs/convert/parquet:de", Name("o/n", "de", "refs/convert/parquet")),
        ("o/n:de@v1 test", Name("o/n", "de", "v1", "test")),
        (" hf://datasets/o/n  test ", Name("o/n", split="test")),
        ("hf://datasets/data/rows.json", Name("data/rows.json")),
        *((text, None) for text in ("o/rows.json", "o/rows.jsonl.gz", "o/rows.parquet", "hf://datasets/n", "")),
        *((text, None) for text in ("o/", "o/n:a\x1b[2J")),
    ],
)
def test_names(text: str, name: Name | None) -> None:
    assert parse(text) == name
    if name is not None:
        assert parse(name.written) == name


def test_what_is_here_wins_and_a_folder_that_is_here_makes_a_path(here: Path) -> None:
    (here / "data" / "rows").mkdir(parents=True)
    assert named("data/rows") == Path("data/rows")
    with pytest.raises(DataError, match=r"no such file.*write hf://datasets/data/rose$"):
        named("data/rose")
    assert named("hf://datasets/data/rose", "test") == Name("data/rose", split="test")
    assert named("other/rose dev", "test") == Name("other/rose", split="dev")
    with pytest.raises(DataError, match="no such file"):
        named("other/rows.json")
    with pytest.raises(DataError, match="is written owner/name"):
        named("hf://datasets/rows")


SHARDS = ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet")
CARD = {
    "configs": [
        {"config_name": "en", "data_files": "en/*.jsonl"},
        {"config_name": "de", "data_files": [{"split": "train", "path": ["de/b.json", "de/a.json"]}]},
    ]
}


@pytest.mark.parametrize(
    ("name", "names", "card", "files"),
    [
        ("o/n", SHARDS, {}, SHARDS[:2]),
        ("o/n test", SHARDS, {}, SHARDS[2:]),
        ("o/n", ("all.json", "README.md", "config.json"), {}, ("all.json",)),
        ("o/n", ("train.csv", "eval.csv"), {}, ("train.csv",)),
        ("o/n", ("a.json", "b.json", "c.csv", "notes.txt"), {}, ("a.json", "b.json")),
        ("o/n", ("a.json", "b.parquet"), {}, ("b.parquet",)),
        ("o/n", ("a.jsonl.gz", "b.json.zst"), {}, ("a.jsonl.gz", "b.json.zst")),
        ("o/n:en", ("en/1.jsonl", "en/2.jsonl", "de/a.json"), CARD, ("en/1.jsonl", "en/2.jsonl")),
        ("o/n:de", ("en/1.jsonl", "de/a.json", "de/b.json"), CARD, ("de/b.json", "de/a.json")),
        (f"o/n@{CONVERTED}:b", ("a/train/0000.parquet", "b/train/0000.parquet"), {}, ("b/train/0000.parquet",)),
        ("o/n", ("a.json", "../out.json", "/abs.json", "a\x1b[2J.json"), {}, ("a.json",)),
    ],
)
def test_the_files_of_a_split(
    name: str, names: tuple[str, ...], card: Mapping[str, Any], files: tuple[str, ...]
) -> None:
    wanted = parse(name)
    assert wanted is not None
    found = choose(wanted, names, card)
    assert found.files == files
    assert found.name.split == (wanted.split or "train")


def test_the_default_configuration_has_no_name() -> None:
    assert str(choose(Name("o/n"), ("a.json",), {}).name) == "o/n train"
    assert str(choose(Name("o/n"), ("a.json",), {"configs": [{"config_name": "x"}]}).name) == "o/n:x train"
    marked = [*CARD["configs"], {"config_name": "default", "data_files": "*.csv"}]
    assert choose(Name("o/n"), ("a.csv", "en/a.jsonl"), {"configs": marked}).files == ("a.csv",)


@pytest.mark.parametrize(
    ("name", "names", "card", "said"),
    [
        ("o/n", ("n.py", "train.json"), {}, "code from the Hub is never run"),
        ("o/n", ("README.md",), {}, "no data files"),
        ("o/n", ("a.arrow", "b.tar"), {}, r"split train has no readable file \(a.arrow, b.tar\)"),
        ("o/n", ("a.json",), {"configs": [{"config_name": "x", "data_files": "/etc/host*"}]}, "points out of"),
        ("o/n", ("a.json",), {"configs": [{"config_name": "x", "data_files": "../*"}]}, "points out of"),
        (
            "o/n",
            ("a.json",),
            {"configs": [{"config_name": "x", "data_files": "http://a/b.json"}]},
            "points out of",
        ),
        ("o/n", ("a.json",), {"configs": [{"config_name": "x", "data_files": "b.json"}]}, "no file is called 'b.json'"),
        ("o/n", ("a.json",), {"configs": [{"data_files": "a.json"}]}, "config_name"),
        ("o/n", ("a.json",), {"configs": 3}, "invalid header"),
    ],
)
def test_what_cannot_be_read(name: str, names: tuple[str, ...], card: Mapping[str, Any], said: str) -> None:
    wanted = parse(name)
    assert wanted is not None
    with pytest.raises(DataError, match=said):
        choose(wanted, names, card)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("o/n", ("o/n:en", "o/n:de")),
        ("o/n:fr@v1", ("o/n:en@v1", "o/n:de@v1")),
        ("o/n:de test", ("o/n:de train",)),
    ],
)
def test_what_is_open_can_be_chosen(name: str, choices: tuple[str, ...]) -> None:
    wanted = parse(name)
    assert wanted is not None
    with pytest.raises(Undecided) as caught:
        choose(wanted, ("en/1.jsonl", "de/a.json", "de/b.json"), CARD)
    assert caught.value.choices == choices
    assert all(choice in str(caught.value) or choice.split()[1] in str(caught.value) for choice in choices)


def test_only_what_can_be_written_is_offered() -> None:
    card = {"configs": [{"config_name": name, "data_files": "a.json"} for name in ("a", "b c", "d\x1b[2J")]}
    with pytest.raises(Undecided) as caught:
        choose(Name("o/n"), ("a.json",), card)
    assert caught.value.choices == ("o/n:a",)
    assert str(caught.value).isprintable()
