"""The Log screen's keys."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.keys.tables import Key, always, word


class LogState(Struct, frozen=True):
    """``some``: there are lines. ``held``: the cursor is not on the newest. ``several``: processes wrote files, too.
    ``searched``: only lines with some words are shown. ``level``: which levels, in words.
    """

    some: bool = False
    held: bool = False
    several: bool = False
    searched: bool = False
    level: str = ""


def _some(state: LogState) -> bool:
    return state.some


def _several(state: LogState) -> bool:
    return state.several


KEYS: tuple[Key[LogState], ...] = (
    Key("down", ("down", "j"), "Go to the line before, and stay there.", word("earlier"), _some),
    Key("up", ("up", "k"), "Go to the next line.", word("later"), _some, quiet=True),
    Key("follow", ("g", "home"), "Go to the newest line, and follow.", word("follow"), lambda state: state.held),
    Key("first", ("G", "end"), "Go to the first line.", word("first"), _some, quiet=True),
    Key("source", ("tab",), "Next log: the run's events, then each process's own.", word("next log"), _several),
    Key("source_back", ("shift+tab",), "Previous log.", word("log"), _several, quiet=True),
    Key("level", ("v",), "Show all levels, warnings and errors, or errors only.", lambda s: s.level, always),
    Key("search", ("slash",), "Show only lines with these words; an empty line shows all.", word("search"), always),
    Key("page_up", ("pageup", "ctrl+u"), "Page up.", word("page"), _some, quiet=True),
    Key("page_down", ("pagedown", "ctrl+d"), "Page down.", word("page"), _some, quiet=True),
    Key("reload", ("r",), "Reload the log.", word("reload"), always, quiet=True),
)
