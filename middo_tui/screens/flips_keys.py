"""The Flips screen's keys."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.keys.tables import Key, always, word


class FlipsState(Struct, frozen=True):
    """``some``: there are questions. ``pairs``: more than two rounds were evaluated. ``scrolls``: the texts of the
    cursor's question do not fit.
    """

    some: bool = False
    pairs: bool = False
    scrolls: bool = False


def _some(state: FlipsState) -> bool:
    return state.some


def _pairs(state: FlipsState) -> bool:
    return state.pairs


def _scrolls(state: FlipsState) -> bool:
    return state.scrolls


KEYS: tuple[Key[FlipsState], ...] = (
    Key("down", ("down", "j"), "Go to the next question.", word("next"), _some),
    Key("up", ("up", "k"), "Go to the previous question.", word("previous"), _some, quiet=True),
    Key("show", ("tab",), "Show: changed, wrong → right, right → wrong, all.", word("show others"), always),
    Key("show_back", ("shift+tab",), "Show the kind of questions before.", word("show"), always, quiet=True),
    Key("later", ("right_square_bracket",), "Compare a later round with the one before it.", word("rounds"), _pairs),
    Key("earlier", ("left_square_bracket",), "Compare an earlier round.", word("rounds"), _pairs, quiet=True),
    Key("since_first", ("b",), "Compare with the first round, or with the round before.", word("since first"), _pairs),
    Key("page_down", ("pagedown", "ctrl+d"), "Scroll the texts down.", word("more"), _scrolls),
    Key("page_up", ("pageup", "ctrl+u"), "Scroll the texts up.", word("up"), _scrolls, quiet=True),
    Key("reload", ("r",), "Reload the questions.", word("reload"), always, quiet=True),
)
