"""The Rounds screen's keys: move over rounds and columns, look closer at one, go on to its samples, take it out."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from middo_tui.feed.rounds import RoundDetail
from middo_tui.keys.tables import Key, word


class RoundsKeyState(Struct, frozen=True):
    """What the keys depend on. ``tab``: what is shown of the round; ``scrolls``: more of it than fits;
    ``columns``: the table has more columns than fit; ``before``: settings are held against the round before."""

    rounds: int = 0
    chosen: RoundDetail | None = None
    tab: str = ""
    columns: bool = False
    scrolls: bool = False
    before: bool = False


def _any(state: RoundsKeyState) -> bool:
    return state.chosen is not None


def _several(state: RoundsKeyState) -> bool:
    return state.rounds > 1


def _on(tab: str) -> Callable[[RoundsKeyState], bool]:
    return lambda state: _any(state) and state.tab == tab


KEYS: tuple[Key[RoundsKeyState], ...] = (
    Key(id="down", keys=("j", "down"), help="The next round.", label=word("round"), works=_several),
    Key(id="up", keys=("k", "up"), help="The round before.", label=word("up"), works=_several, quiet=True),
    Key(id="first", keys=("g", "home"), help="The first round.", label=word("first"), works=_several, quiet=True),
    Key(id="last", keys=("G", "end"), help="The newest round.", label=word("newest"), works=_several, quiet=True),
    Key(
        id="right",
        keys=("l", "right"),
        help="Columns further right.",
        label=word("columns"),
        works=lambda state: state.columns,
    ),
    Key(
        id="left",
        keys=("h", "left"),
        help="Columns further left.",
        label=word("columns"),
        works=lambda state: state.columns,
        quiet=True,
    ),
    Key(
        id="tab",
        keys=("tab",),
        help="What is shown below: scores, shapes, clusters, time, settings.",
        label=word("next tab"),
        works=_any,
    ),
    Key(id="tab_back", keys=("shift+tab",), help="The tab before.", label=word("tab"), works=_any, quiet=True),
    Key(
        id="signal",
        keys=("right_square_bracket",),
        help="Shapes: the next signal.",
        label=word("signal"),
        works=_on("shapes"),
    ),
    Key(
        id="signal_back",
        keys=("left_square_bracket",),
        help="Shapes: the signal before.",
        label=word("signal"),
        works=_on("shapes"),
        quiet=True,
    ),
    Key(
        id="before",
        keys=("d",),
        help="Settings: against the round before, or against the defaults.",
        label=lambda state: "to defaults" if state.before else "to round before",
        works=lambda state: _on("settings")(state) and state.chosen is not None and state.chosen.round > 0,
    ),
    Key(id="samples", keys=("enter",), help="The samples of this round.", label=word("samples"), works=_any),
    Key(
        id="thresholds",
        keys=("t",),
        help="The cuts, on the Thresholds screen.",
        label=word("cuts"),
        works=lambda state: state.chosen is not None and not state.chosen.closing,
    ),
    Key(
        id="export",
        keys=("x",),
        help="Write a dataset to a file (asks which format).",
        label=word("export"),
        works=_any,
    ),
    Key(
        id="page_down",
        keys=("pagedown", "ctrl+d"),
        help="More of what is below.",
        label=word("more"),
        works=lambda state: state.scrolls,
        quiet=True,
    ),
    Key(
        id="page_up",
        keys=("pageup", "ctrl+u"),
        help="Back up in what is below.",
        label=word("up"),
        works=lambda state: state.scrolls,
        quiet=True,
    ),
)
