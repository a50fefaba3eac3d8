"""What is left out on its way to the terminal: the terminal ends up showing the same, for fewer bytes."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import get_character_cell_size

from middo_tui.app import MiddoApp
from middo_tui.base_app import BaseApp
from middo_tui.look.preferences import Preferences
from middo_tui.terminal.delta_driver import SparingDriver, TerminalContents
from tests.support.stores import Store
from tests.support.terminal import open_app

ROWS, COLUMNS = 4, 12
BLANK = ("", " ")
FRONT, BACK, OTHER = ("", "31", "94", "38;5;7", "38;2;1;2;3"), ("", "42", "107", "48;2;9;9;9"), ("", "1", "4", "1;7")


class Grid:
    """A terminal as the standard describes it: places, styles that add up, wide characters that go when half is cut."""

    def __init__(self) -> None:
        self.cells = [[BLANK] * COLUMNS for _ in range(ROWS)]
        self.style: dict[str, str] = {}
        self.y = self.x = 0

    def feed(self, data: str) -> None:
        """Show ``data``."""
        for place, style, text in re.findall(r"\x1b\[(\d+;\d+)H|\x1b\[([\d;]*)m|([^\x1b\n]+)|\n", data):
            if place:
                self.y, self.x = (int(part) - 1 for part in place.split(";"))
            elif text:
                for character in text:
                    self._put(character)
            elif style:
                self._turn(style.split(";"))

    def _turn(self, codes: list[str]) -> None:
        while codes:
            size = {"5": 3, "2": 5}[codes[1]] if codes[0] in ("38", "48") else 1
            code, codes = codes[:size], codes[size:]
            number = int(code[0])
            if number == 0:
                self.style = {}
            elif number < 30:
                self.style[code[0]] = code[0]
            else:
                self.style["back" if number // 10 in (4, 10) else "front"] = ";".join(code)

    def _put(self, character: str) -> None:
        look = ",".join(f"{name}={self.style[name]}" for name in sorted(self.style))
        wide = get_character_cell_size(character)
        row = self.cells[self.y]
        for x in range(self.x, self.x + wide):
            if row[x][1] == "":
                row[x - 1] = BLANK
            if x + 1 < COLUMNS and row[x + 1][1] == "":
                row[x + 1] = BLANK
        row[self.x : self.x + wide] = [(look, character), (look, "")][:wide]
        self.x += wide


styles = st.tuples(st.sampled_from(OTHER), st.sampled_from(FRONT), st.sampled_from(BACK)).map(
    lambda parts: ";".join(part for part in parts if part)
)
runs = st.lists(st.tuples(styles, st.text(st.sampled_from("ab 語é━"), min_size=1, max_size=4)), min_size=1, max_size=4)


@st.composite
def frames(draw: st.DrawFn) -> str:
    """A frame as Textual writes one: rows, whole or in part, each from a place on; then the cursor's place."""
    out = []
    for y in draw(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=ROWS)):
        x = draw(st.integers(0, COLUMNS - 1))
        out.append(f"\x1b[{y + 1};{x + 1}H")
        for style, text in draw(runs):
            fitting = ""
            for character in text:
                if x + get_character_cell_size(character) > COLUMNS:
                    break
                fitting, x = fitting + character, x + get_character_cell_size(character)
            if fitting:
                out.append(f"\x1b[{style}m{fitting}\x1b[0m" if style else fitting)
        out.append(draw(st.sampled_from(["", "\n"])))
    at = draw(st.integers(1, COLUMNS))
    return "".join([*out, f"\x1b[1;{at}H"])


@settings(max_examples=400, deadline=None)
@given(st.lists(frames(), min_size=1, max_size=8))
def test_the_terminal_shows_what_it_would_have_shown(written: list[str]) -> None:
    usual, spared, shown = Grid(), Grid(), TerminalContents()
    for frame in written:
        needed = shown.needed(frame)
        usual.feed(frame)
        spared.feed(needed)
        assert spared.cells == usual.cells
        assert (spared.y, spared.x) == (usual.y, usual.x)
        assert not spared.style
        assert len(needed) <= len(frame) + sum(frame.count(mark) for mark in ("H", "m")) * 2
        assert shown.needed(frame) == "" or frame.count("H") > len(set(re.findall(r"\x1b\[(\d+);\d+H", frame)))


ROW = "\x1b[2;1H\x1b[38;2;1;2;3;48;2;9;9;9m one\x1b[0m\x1b[1;38;2;7;7;7;48;2;9;9;9mtwo\x1b[0m\x1b[1;1H"


def test_only_the_runs_that_changed_are_written() -> None:
    shown = TerminalContents()
    assert shown.needed(ROW) == ROW.replace("\x1b[0m\x1b[1;38", "\x1b[0;1;38")
    assert shown.needed(ROW.replace("two", "six")) == "\x1b[2;5H\x1b[1;38;2;7;7;7;48;2;9;9;9msix\x1b[0m\x1b[1;1H"
    assert shown.needed(ROW.replace("two", "six")) == ""


@pytest.mark.parametrize(
    "other",
    ["\x1b[2J", "\x1b[?1049h", "\x1b[?1049l", "bell\a", "\x1b]8;;http://x\x1b\\a", "text without a place", "\x1b[3A"],
)
def test_what_is_not_understood_is_written_and_everything_after_it_too(other: str) -> None:
    shown = TerminalContents()
    shown.needed(ROW)
    assert shown.needed(other) == other
    assert len(shown.needed(ROW)) > 20


@pytest.mark.parametrize(
    "harmless", ["\x1b[6n", "\x1b[?2026h", "\x1b[?25l", "\x1b]22;pointer\x07", "\x1b]52;c;YQ==\x07"]
)
def test_what_changes_no_cell_is_written_and_nothing_is_forgotten(harmless: str) -> None:
    shown = TerminalContents()
    shown.needed(ROW)
    assert shown.needed(harmless) == harmless
    assert shown.needed(ROW) == ""


@pytest.mark.parametrize("text", ["a\u0301b", "👨‍👩‍👧", "a\u200db"])
def test_text_whose_width_terminals_disagree_about_is_always_written(text: str) -> None:
    shown = TerminalContents()
    frame = f"\x1b[1;1H{text}\x1b[1;1H"
    shown.needed(frame)
    assert text in shown.needed(frame)


def test_the_apps_use_it_and_another_driver_that_was_asked_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BaseApp(Preferences()).driver_class is SparingDriver
    monkeypatch.setattr("textual.constants.DRIVER", "textual.drivers.headless_driver:HeadlessDriver")
    assert BaseApp(Preferences()).driver_class is not SparingDriver


def test_a_menu_costs_its_own_rows_and_ctrl_l_and_a_resize_paint_all(tmp_path: Path) -> None:
    Store(tmp_path / "p")
    terminal = open_app(tmp_path / "p")
    terminal.wait_for("quit")
    terminal.settle()
    start = len(terminal.seen)
    terminal.send(b"\x10")
    terminal.settle(0.6)
    menu = len(terminal.seen) - start
    terminal.send(b"\x1b")
    terminal.settle(0.6)
    closed = len(terminal.seen) - start - menu
    assert 0 < menu < 5_000
    assert 0 < closed < 4_000
    for repaint in (partial(terminal.send, b"\x0c"), partial(terminal.resize, 90, 30)):
        before = len(terminal.seen)
        repaint()
        terminal.settle(0.6)
        assert b"quit" in terminal.seen[before:]
        assert len(terminal.seen) - before > closed
    terminal.send(b"q")
    assert terminal.wait() == 0


def test_the_driver_is_only_for_terminals(tmp_path: Path) -> None:
    Store(tmp_path / "p")
    MiddoApp(tmp_path / "p").forget_shown()  # without a terminal there is nothing to forget
