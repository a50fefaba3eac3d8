"""The Writing screen's keys."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.keys.tables import Key, always, word


class WritingState(Struct, frozen=True):
    """``some``: there are rewrites. ``held``: the cursor is not on the newest. ``scrolls``: the texts do not fit."""

    some: bool = False
    held: bool = False
    scrolls: bool = False


def _some(state: WritingState) -> bool:
    return state.some


def _held(state: WritingState) -> bool:
    return state.held


def _scrolls(state: WritingState) -> bool:
    return state.scrolls


KEYS: tuple[Key[WritingState], ...] = (
    Key("down", ("down", "j"), "Go to the rewrite before, and stay on it.", word("earlier"), _some),
    Key("up", ("up", "k"), "Go to the next rewrite.", word("later"), _some, quiet=True),
    Key("follow", ("g", "home"), "Go to the newest rewrite, and follow.", word("follow"), _held),
    Key("page_down", ("pagedown", "ctrl+d"), "Scroll the texts down.", word("more"), _scrolls),
    Key("page_up", ("pageup", "ctrl+u"), "Scroll the texts up.", word("up"), _scrolls, quiet=True),
    Key("reload", ("r",), "Reload the rewrites.", word("reload"), always, quiet=True),
)
