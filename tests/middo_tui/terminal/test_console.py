"""What commands print: broken between words on a terminal, and as it is in a pipe."""

from __future__ import annotations

import io
import sys

import pytest

from middo_tui.terminal.console import say, wrapped

WAITS = "round 0  waiting: run `middo-tui join 10.0.0.1:29400` there; after 120 s it goes on"


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("short enough", 12, ["short enough"]),
        ("broken between words", 12, ["broken", "  between", "  words"]),
        ("12:00  two  spaces stay", 14, ["12:00  two", "  spaces stay"]),
        ("first line\n\nanother line", 10, ["first line", "", "another", "  line"]),
        (WAITS, 40, ["round 0  waiting: run", "  `middo-tui join 10.0.0.1:29400` there;", "  after 120 s it goes on"]),
        ("no `room for a command`", 12, ["no `room for", "  a command`"]),
        ("one ` alone is no command", 12, ["one ` alone", "  is no", "  command"]),
        ("averylongpathwithoutaspace and more", 10, ["averylongpathwithoutaspace", "  and more"]),
        ("宽字 宽字 宽字", 10, ["宽字 宽字", "  宽字"]),
        ("    indented text stays", 16, ["    indented", "  text stays"]),
    ],
)
def test_lines_break_between_words_and_never_in_a_command_that_fits(text: str, columns: int, rows: list[str]) -> None:
    assert wrapped(text, columns).split("\n") == rows


class Terminal(io.StringIO):
    """Standard output that says what it is."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(("terminal", "wrap", "rows"), [(True, True, 3), (True, False, 1), (False, True, 1)])
def test_only_a_terminal_gets_broken_lines(
    terminal: bool, wrap: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", out := Terminal(terminal))
    say(WAITS, wrap=wrap)
    assert len(out.getvalue().splitlines()) == rows
    assert " ".join(out.getvalue().split()) == " ".join(WAITS.split())
