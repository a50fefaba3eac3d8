"""A person's own keys: checked, applied everywhere alike, and refused with a sentence that helps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.store import read
from engine.store.connect import reader
from middo_tui.app import MiddoApp
from middo_tui.cli.commands import main
from middo_tui.feed.loop_notice import notice
from middo_tui.keys import keymap, tables
from middo_tui.keys.keymap import check, long_name
from middo_tui.look import preferences
from middo_tui.look.preferences import Preferences
from middo_tui.screens.help import help_lines
from middo_tui.widgets.lines import plain, width_of
from tests.middo_tui.keys.test_tables import STATES
from tests.support import stores
from tests.support.screens import screen_text, settle


@pytest.fixture(autouse=True)
def _usual_keys() -> Iterator[None]:
    yield
    tables.use_remapped({})


def load(place: Path, text: str) -> Preferences:
    (place / "middo-tui").mkdir()
    (place / "middo-tui" / "keys.toml").write_text(text, encoding="utf-8")
    return preferences.load({"XDG_CONFIG_HOME": str(place), "TERM": "xterm-256color"})


def want(project: Path) -> str:
    db = reader(project)
    try:
        return read.plan(db).want
    finally:
        db.close()


@pytest.mark.parametrize(("said", "means"), [
    ("a", "a"), ("A", "A"), ("?", "question_mark"), (",", "comma"), ("/", "slash"), ("-", "minus"),
    ("[", "left_square_bracket"), ("esc", "escape"), ("ctrl-x", "ctrl+x"), ("ctrl+x", "ctrl+x"), ("f5", "f5"),
    ("space", "space"), ("↓", "down"), ("é", "é"), ("slash", "slash"), ("pagedown", "pagedown"),
    ("foo", None), ("ctrl-", None), ("", None), ("\x1b", None), ("ab", None),
])  # fmt: skip
def test_keys_may_be_written_as_they_are_read(said: str, means: str | None) -> None:
    assert long_name(said) == means


def test_a_key_a_list_and_an_id_without_quotes(tmp_path: Path) -> None:
    found = load(tmp_path, '[keys]\n"loop.pause" = "x"\nloop.cancel = ["k", "ctrl-x"]\nloop.auto = 3\n')
    assert found.keys == {"loop.pause": ("x",), "loop.cancel": ("k", "ctrl-x")}
    assert '"loop.auto" must be a key or a list of keys' in found.warnings[0]


def test_an_older_name_of_an_action_still_works_with_a_note() -> None:
    found = check({"thresholds.anew": ("z",)})
    assert found.keys == {"thresholds.redo": ("z",)}
    assert '"thresholds.anew" is now called "thresholds.redo"' in found.warnings[0]
    assert set(keymap.RENAMED.values()) <= set(keymap.default_keys(keymap.tables()))


def test_unknown_ids_name_the_file_and_the_nearest_one() -> None:
    found = check({"loop.puase": ("x",), "nonsense": ("y",), "loop.step": ("no-key",)})
    assert found.keys == {}
    assert all(text.startswith(f"{preferences.folder() / 'keys.toml'}: ") for text in found.warnings)
    assert 'unknown action "loop.puase". Did you mean loop.pause?' in found.warnings[0]
    assert "middo-tui keys" in found.warnings[1]
    assert "unknown key 'no-key'" in found.warnings[2]


@pytest.mark.parametrize("wanted", [
    {"loop.pause": ("c",)},
    {"loop.pause": ("x",), "loop.cancel": ("x",)},
    {"app.help": ("p",)},
    {"loop.pause": ("question_mark",)},
])  # fmt: skip
def test_two_actions_on_one_key_of_one_screen_are_refused_by_both_names(wanted: dict[str, tuple[str, ...]]) -> None:
    found = check(wanted)
    assert found.keys == {}
    assert len(found.warnings) == 1
    assert sum(id in found.warnings[0] for id in ("loop.pause", "loop.cancel", "app.help")) == 2


def test_keys_may_be_swapped_and_shared_ones_stay_shared() -> None:
    swapped = check({"loop.pause": ("c",), "loop.cancel": ("p",)})
    assert swapped.keys == {"loop.pause": ("c",), "loop.cancel": ("p",)}
    moved = check({"loop.run": ("g",)})
    assert moved.warnings == ()
    assert moved.textual() == {"loop.run": "g", "loop.finish": "enter"}


def test_a_refused_key_that_would_clash_by_going_back_takes_the_other_with_it() -> None:
    found = check({"loop.pause": ("c",), "loop.cancel": ("s",)})
    assert found.keys == {}
    assert len(found.warnings) == 2


def test_leaving_by_ctrl_q_cannot_be_taken_away() -> None:
    assert "always quits" in check({"loop.pause": ("ctrl-q",)}).warnings[0]
    tables.use_remapped({"app.quit": ("x",)})
    assert tables.remapped(tables.EVERYWHERE, "app")[-1].keys == ("x", "ctrl+q")


async def test_bindings_footer_help_and_palette_all_have_the_persons_key(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    own = Preferences(keys={"loop.pause": ("x", "f5"), "app.help": ("f2",)})
    app = MiddoApp(tmp_path / "p", preferences=own)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("p")
        await settle(pilot)
        assert want(tmp_path / "p") == "run"
        assert "x pause" in screen_text(app)
        await pilot.press("f2")
        await pilot.pause()
        assert "x f5" in screen_text(app)
        await pilot.press("escape", "ctrl+p", "p", "a", "u", "s", "e")
        await pilot.pause()
        row = next(row for row in screen_text(app).split("\n") if "▸" in row)
        assert "pause" in row
        assert row.endswith(" x")
        await pilot.press("escape", "x")
        await settle(pilot)
        assert want(tmp_path / "p") == "pause"


async def test_a_moved_key_leaves_what_shared_it_alone(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p", leave_when_done=True, preferences=Preferences(keys={"loop.run": ("g",)}))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
    assert app.return_value == 0


async def test_what_was_refused_is_said_on_the_first_screen(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p", preferences=Preferences(keys={"loop.puase": ("x",)}))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "Did you mean loop.pause?" in " ".join(screen_text(app).split())


async def test_moved_numbers_are_shown_one_by_one(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p", preferences=Preferences(keys={"app.go-samples": ("S",)}))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        assert "1 S 3 4 5 6 7 screens" in screen_text(app)


def words(text: str) -> set[str]:
    """What stands alone in a sentence, without its punctuation."""
    return {word.strip(".,:;()") for word in text.replace("\N{NO-BREAK SPACE}", " ").split()}


@pytest.mark.parametrize("state", STATES)
def test_sentences_name_the_persons_keys(state: str) -> None:
    usual = {"enter", "c", "e", "4"} & words(notice(STATES[state]).text)
    tables.use_remapped({
        "loop.run": ("f5",), "loop.cancel": ("f6",), "loop.accept_improved": ("f7",), "app.go-review": ("f8",),
    })  # fmt: skip
    own = words(notice(STATES[state]).text)
    assert not own & {"enter", "c", "e", "4"}
    assert len(own & {"f5", "f6", "f7", "f8"}) == len(usual)


def test_every_key_that_a_sentence_names_exists() -> None:
    found = {
        id
        for path in Path(tables.__file__).parents[1].rglob("*.py")
        for id in re.findall(r"""press\(["']([a-z]+\.[a-z0-9_-]+)["']\)""", path.read_text(encoding="utf-8"))
    }
    assert "review.undo" in found
    assert all(tables.press(id) for id in found)


def test_every_screen_has_a_table_with_ids_of_its_own() -> None:
    for screen, table in keymap.tables().items():
        ids = [tables.plain_id(row) for row in table]
        assert len(ids) == len(set(ids)), screen


def test_the_command_line_lists_every_key_and_says_what_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    load(tmp_path, '[keys]\n"loop.pause" = "x"\n"loop.puase" = "y"\n')
    done = CliRunner().invoke(main, ["keys"])
    assert done.exit_code == 0
    rows = done.stdout.split("\n")
    assert next(row for row in rows if row.startswith("*")).split()[1:3] == ["loop.pause", "x"]
    assert "Did you mean loop.pause?" in done.stderr
    ids = {row[2:].split()[0] for row in rows if row[:2] in ("  ", "* ") and "." in row}
    assert keymap.default_keys(keymap.tables()).keys() <= ids


def test_the_example_that_is_printed_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    example = CliRunner().invoke(main, ["keys"]).stdout.partition(", for example\n")[2]
    found = check(load(tmp_path, example).keys)
    assert (len(found.keys), found.warnings) == (2, ())


def test_every_help_page_fits_eighty_columns_whole() -> None:
    for screen, table in keymap.tables().items():
        page = help_lines(screen, table, 80)
        assert max(width_of(line) for line in page) <= 80
        keys = [line[0].text for line in page if line and line[0].role == "key"]
        assert all(text.endswith(" ") for text in keys), "a gap between the keys and what they are for"
        said = " ".join(plain(page).split())
        assert all(" ".join(row.help.split()) in said for row in table if not row.id.startswith("go('")), screen
