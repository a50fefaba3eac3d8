"""The wizard, driven by keys at 80 x 24: real files, a real model folder, a real project, and no harm before."""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

import engine.demo
from engine.config import schema as configs
from engine.errors import DataError
from engine.formats.file_preview import FilePreview, UsableCount, count_usable, preview
from engine.store import read
from engine.store.connect import reader
from middo_tui.screens.wizard import draft as drafts
from middo_tui.screens.wizard.draft import Draft
from middo_tui.screens.wizard.last_step import make
from middo_tui.screens.wizard.preview import PreviewRow, counts, preview_lines
from middo_tui.screens.wizard.screen import STEPS, Wizard, WizardScreen
from middo_tui.widgets.lines import plain, width_of
from middo_tui.widgets.text_input import TextInput
from tests.middo_tui.test_app_in_terminal import hostile_bytes
from tests.support import ROOT
from tests.support.hostile import CORPUS, ONE_MEGABYTE
from tests.support.hub_server import Hub, Repository, serving
from tests.support.screens import screen_text, until
from tests.support.terminal import Terminal

BASE = Path(engine.demo.__file__).parent / "base"
SIZES = [(80, 24), (140, 40)]
NAMES = {"/": "slash", ".": "full_stop", "-": "minus", "_": "underscore", ":": "colon", " ": "space"}


def typed(text: str) -> Iterable[str]:
    """The keys of a text."""
    return [NAMES.get(letter, letter) for letter in text]


def alpaca(path: Path, count: int = 30) -> Path:
    rows = [{"instruction": f"Name {i} things.", "input": "", "output": f"{i} things."} for i in range(count)]
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Relative paths begin in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


async def at_step(pilot: Pilot[Path], title: str) -> None:
    """Until this step is shown."""
    await until(pilot, f"{title} ▶")
    await pilot.pause()


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("size", SIZES)
async def test_from_a_file_to_a_project_by_keys_alone(here: Path, size: tuple[int, int]) -> None:
    alpaca(here / "cats.json")
    app = Wizard()
    async with app.run_test(size=size) as pilot:
        await at_step(pilot, "data")
        assert re.search(r"▸  try the demo +in ./middo-demo; minutes on a CPU\s", screen_text(app))
        await pilot.press("c", "tab")
        assert "cats.json" in screen_text(app)
        await pilot.press("enter")
        await at_step(pilot, "columns")
        await until(pilot, "30 rows, all usable")
        assert "alpaca (detected)" in screen_text(app)
        assert "Name 0 things." in screen_text(app)
        await pilot.press("right")
        assert "Name 1 things." in screen_text(app)
        await pilot.press(*["down"] * 9, "right")
        assert "are trained on too" in screen_text(app)
        await pilot.press("enter")
        await at_step(pilot, "model")
        await pilot.press(*typed(str(BASE)), "enter")
        await at_step(pilot, "teacher")
        assert "No text leaves this machine." in screen_text(app)
        await pilot.press("enter")
        await at_step(pilot, "preset")
        await pilot.press("down", "down", "down", "enter")
        await at_step(pilot, "check")
        await until(pilot, "python")
        assert "./middo-cats" in screen_text(app)
        assert max(len(row) for row in screen_text(app).split("\n")) <= size[0]
        assert names(here) == {"cats.json"}  # nothing is written before the last step
        await pilot.press("enter")
        while app.return_value is None:
            await pilot.pause(0.02)
    assert app.return_value == Path("middo-cats")
    config = configs.load(here / "middo-cats")
    assert (config.model.name, config.teacher.model, config.train.method) == (str(BASE), "", "full")
    assert config.data.allow_overlap
    db = reader(here / "middo-cats")
    try:
        assert read.size(db, 0) + len(read.heldout(db)) == 30
    finally:
        db.close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a dataset of two configurations; the processes that ask it find it in their environment."""
    rows = alpaca(tmp_path / "rows.json").read_bytes()
    card = "---\nconfigs:\n" + "".join(f"- config_name: {n}\n  data_files: {n}.json\n" for n in ("en", "de")) + "---\n"
    with serving() as found:
        found.datasets["o/rows"] = Repository({"main": {"README.md": card.encode(), "en.json": rows, "de.json": rows}})
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # as a shell may have it set
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        yield found


async def test_a_dataset_of_a_hub(here: Path, hub: Hub) -> None:
    """What is open is offered; a transfer can be given up, begun anew, and is not asked for again at the end."""
    go = hub.datasets["o/rows"].wait = threading.Event()
    app = Wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_step(pilot, "data")
        await pilot.press(*typed("o/none"), "enter")
        await until(pilot, "set HF_TOKEN")
        await pilot.press("ctrl+u", *typed("o/rows"), "enter")
        await until(pilot, "Choose one")
        assert "   o/rows:de " in screen_text(app)
        await pilot.press("down", "down", "enter")
        await until(pilot, "o/rows:de: 0.0 of 0.0 MB")
        await pilot.press("x", "enter")
        await until(pilot, "esc cancel the download")
        await pilot.press("escape")
        await until(pilot, "o/rows:de: cancelled")
        assert "o/rowsx" not in screen_text(app)  # nothing could be typed meanwhile
        go.set()
        await pilot.press("enter")
        await at_step(pilot, "columns")
        await until(pilot, "30 rows, all usable")
        commit = hub.datasets["o/rows"].commit("main")
        assert f"hf://datasets/o/rows:de@{commit} train" in screen_text(app)
        screen = app.screen
        assert isinstance(screen, WizardScreen)
        asked = len(hub.seen)
        await pilot.press("escape")
        await at_step(pilot, "data")
        await pilot.press("enter")
        await at_step(pilot, "columns")
        made = make(replace(screen.draft, model=str(BASE), folder="P"), lambda text: None)
    assert len(hub.seen) == asked
    db = reader(here / made)
    try:
        assert [row["file"] for row in db.execute("SELECT file FROM import")] == [
            f"hf://datasets/o/rows:de@{commit} train"
        ]
    finally:
        db.close()


async def test_typing_replaces_an_earlier_answer_and_an_arrow_key_edits_it(here: Path) -> None:
    alpaca(here / "cats.json")
    app = Wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_step(pilot, "data")
        await pilot.press(*typed("cats.json"), "enter")
        await at_step(pilot, "columns")
        await pilot.press("escape")
        await at_step(pilot, "data")
        await pilot.press(*typed("dogs.json"))
        assert app.screen.query_one(TextInput).value == "dogs.json"
        await pilot.press(*typed("x"), "left", "backspace")
        assert app.screen.query_one(TextInput).value == "dogs.jsox"


async def test_every_step_goes_back_and_the_first_one_leaves(here: Path) -> None:
    alpaca(here / "cats.json")
    app = Wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*typed("cats.json"), "enter")
        await at_step(pilot, "columns")
        await until(pilot, "usable")
        await pilot.press("enter")
        await at_step(pilot, "model")
        await pilot.press(*typed(str(BASE)), "enter")
        for title in ("teacher", "preset"):
            await at_step(pilot, title)
            await pilot.press("enter")
        await at_step(pilot, "check")
        for title in ("preset", "teacher", "model", "columns", "data"):
            await pilot.press("escape")
            await at_step(pilot, title)
        assert "cats.json" in screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
    assert app.return_value is None
    assert names(here) == {"cats.json"}


async def test_the_demo_is_one_key_away(here: Path) -> None:
    app = Wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_step(pilot, "data")
        await pilot.press("enter")
        while app.return_value is None:
            await pilot.pause(0.02)
    assert app.return_value == Path("middo-demo")
    assert (here / "middo-demo" / "middo.db").exists()
    assert (here / "middo-demo" / "prompts").is_dir()


@pytest.mark.parametrize(("name", "content", "says"), [
    ("empty.json", b"", "the file is empty"),
    ("blank.jsonl", b"\n\n", "only white space"),
    ("broken.json", b"[{", "not JSON"),
    ("picture.png", b"\x89PNG", "unsupported file type"),
    ("cut.json.gz", gzip.compress(b"[]" * 999, mtime=0)[:20], "cannot be read to the end"),
    ("none.json", b"[]", "no rows"),
])  # fmt: skip
async def test_a_file_that_cannot_be_read_is_a_sentence_at_its_step(
    here: Path, name: str, content: bytes, says: str
) -> None:
    (here / name).write_bytes(content)
    app = Wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*typed(name), "enter")
        await until(pilot, name + ":")
        assert says in " ".join(screen_text(app).split())
        assert "data ▶" in screen_text(app)
        await pilot.press("x")
        await pilot.pause()
        assert says not in " ".join(screen_text(app).split())


async def test_what_is_not_there_or_not_a_model_is_said(here: Path) -> None:
    alpaca(here / "cats.json")
    (here / "hollow").mkdir()
    app = Wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*typed("dogs.json"), "enter")
        await until(pilot, "no such file")
        await pilot.press(*["backspace"] * 9, *typed("cats.json"), "enter")
        await at_step(pilot, "columns")
        await until(pilot, "usable")
        await pilot.press("enter")
        await at_step(pilot, "model")
        await pilot.press(*typed("hollow"), "enter")
        await until(pilot, "safe_serialization=True")
        await pilot.press(*["backspace"] * 6, *typed("a b"), "enter")
        await until(pilot, "not a name on the Hugging Face Hub")


async def test_hostile_rows_and_names_are_shown_as_what_they_are(here: Path) -> None:
    evil = "\n".join(text.encode("utf-8", "replace").decode() for text in CORPUS.values())
    rows = [
        {"instruction": evil, "output": ONE_MEGABYTE, "x\x1b]0;owned\x07\u202e": 1},
        {"instruction": "", "output": evil},
    ]
    name = "d\x1b[2J\u202e.json"
    (here / name).write_text(json.dumps(rows), encoding="utf-8")
    (here / os.fsdecode(b"bad\xff.json")).write_text("[]", encoding="utf-8")
    app = Wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "⟨U+202E⟩")
        await pilot.press("down", "down", "enter")
        await at_step(pilot, "columns")
        await until(pilot, "rows:")
        await pilot.press("right")
        await pilot.pause()
        shown = screen_text(app)
    assert not any(bad in shown for bad in ("\x1b", "\u202e", "\u200b", "\x07", "\x9b"))


def test_no_hostile_byte_of_a_file_reaches_the_terminal(here: Path) -> None:
    evil = "\n".join(text.encode("utf-8", "replace").decode() for text in CORPUS.values())
    (here / "d\x1b]52;c;cm0=\x07\u202e.json").write_text(
        json.dumps([{"instruction": evil, "output": evil, "x\x1b[2J": 1}]), encoding="utf-8"
    )
    env = {"XDG_CONFIG_HOME": str(here / "config"), "PYTHONPATH": str(ROOT)}
    terminal = Terminal([sys.executable, "-m", "middo_tui.cli"], env=env)
    try:
        terminal.wait_for("try the demo")
        terminal.send(b"\x1b[B\r")
        terminal.wait_for("all usable")
        terminal.send(b"\x11")
        assert terminal.wait() == 0
    finally:
        terminal.close()
    assert hostile_bytes(terminal.seen) == []
    assert b"No project was created" in terminal.seen


async def test_a_small_terminal_is_told_so(here: Path) -> None:
    app = Wizard()
    async with app.run_test(size=(70, 20)) as pilot:
        await until(pilot, "at least 80×24 is needed")


# --------------------------------------------------------------------------- what needs no screen


def test_completion_narrows_folders_and_files(here: Path) -> None:
    for name in ("one.json", "one.txt", "other.csv", ".hidden.json"):
        (here / name).touch()
    (here / "onefolder").mkdir()
    assert [offer.value for offer in drafts.paths("", files=True)] == ["one.json", "other.csv", "onefolder/"]
    assert [offer.value for offer in drafts.paths("one", files=True)] == ["one.json", "onefolder/"]
    assert [offer.value for offer in drafts.paths(".h", files=True)] == [".hidden.json"]
    assert [offer.value for offer in drafts.paths("o", files=False)] == ["onefolder/"]
    assert drafts.paths("no/where/", files=True) == []
    assert drafts.common(["one.json", "onefolder/"]) == "one"


def test_home_is_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    alpaca(here / "cats.json")
    assert [offer.value for offer in drafts.paths("~/c", files=True)] == ["~/cats.json"]
    assert Draft(data="~/cats.json").source.files[0][1] == here / "cats.json"


def test_a_look_reads_only_the_beginning_and_a_tally_all(here: Path) -> None:
    rows = [{"instruction": "a", "output": "b" if i % 10 else ""} for i in range(5_000)]
    (here / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    found = preview(here / "rows.json", configs.Data(), most=5)
    assert (found.format, found.columns, len(found.rows)) == ("alpaca", ("instruction", "output"), 5)
    said = list(count_usable(here / "rows.json", configs.Data(), every=2_000))
    assert [one.rows for one in said] == [2_000, 4_000, 5_000]
    assert [one.ended for one in said] == [False, False, True]
    assert said[-1] == UsableCount(5_000, 4_500, (("empty response", 500, 1),), ended=True)
    assert "500 unusable: empty response (500, first in row 1)" in counts(said[-1]).text


def test_a_look_at_unknown_columns_names_them(here: Path) -> None:
    (here / "odd.json").write_text('[{"q": "a", "a": "b"}]', encoding="utf-8")
    assert preview(here / "odd.json", configs.Data()) == FilePreview(
        ("q", "a"), "", (), preview(here / "odd.json", configs.Data()).problem, {"instruction": "q", "output": "a"}
    )
    with pytest.raises(DataError):
        preview(here / "missing.json", configs.Data())


def test_every_step_has_a_title_of_its_own() -> None:
    assert len({step.TITLE for step in STEPS}) == len(STEPS)


def test_the_preview_shows_as_much_of_a_turn_as_there_is_room_for() -> None:
    shown = PreviewRow(1, 1, (("user", "short"), ("assistant", "\n".join(f"line {n}" for n in range(30)))))
    assert "line 3" not in plain(preview_lines(shown, 60, 8))
    assert "line 12" in plain(preview_lines(shown, 60, 31))
    assert len(preview_lines(shown, 60, 31)) <= 31


def test_a_preview_that_is_cut_ends_in_an_ellipsis() -> None:
    shown = PreviewRow(1, 1, (("user", "short"), ("assistant", "many words " * 30)))
    for height in (3, 4, 5):
        lines = preview_lines(shown, 60, height)
        assert len(lines) == height
        assert plain(lines).endswith("…")
        assert all(width_of(line) <= 60 for line in lines)
    assert not plain(preview_lines(PreviewRow(1, 1, (("user", "short"), ("assistant", "brief"))), 60, 3)).endswith("…")
