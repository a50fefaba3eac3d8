"""The Rounds screen's keys: move over rounds and columns, look closer at one, go on to its samples, take it out."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from middo_tui.feed.rounds import RoundDetail
from middo_tui.keys.tables import Key, word


class RoundsKeyState(Struct, frozen=True):
    """What the keys depend on. ``tab``: what is shown of the round; ``scrolls``: more of it than fits;
    ``columns``: the table has more columns than fit; ``before``: settings are held against the round before;
    ``more``: there are more curves than fit; ``overlaid``: projects that are laid over this one.
    """

    rounds: int = 0
    chosen: RoundDetail | None = None
    tab: str = ""
    columns: bool = False
    scrolls: bool = False
    before: bool = False
    more: bool = False
    overlaid: int = 0


def _any(state: RoundsKeyState) -> bool:
    return state.chosen is not None


def _several(state: RoundsKeyState) -> bool:
    return state.rounds > 1


def _on(tab: str) -> Callable[[RoundsKeyState], bool]:
    return lambda state: _any(state) and state.tab == tab


KEYS: tuple[Key[RoundsKeyState], ...] = (
    Key(id="down", keys=("j", "down"), help="Go to the next round.", label=word("round"), works=_several),
    Key(id="up", keys=("k", "up"), help="Go to the previous round.", label=word("up"), works=_several, quiet=True),
    Key(id="first", keys=("g", "home"), help="Go to the first round.", label=word("first"), works=_several, quiet=True),
    Key(id="last", keys=("G", "end"), help="Go to the newest round.", label=word("newest"), works=_several, quiet=True),
    Key(
        id="right",
        keys=("l", "right"),
        help="Scroll the columns right.",
        label=word("columns"),
        works=lambda state: state.columns,
    ),
    Key(
        id="left",
        keys=("h", "left"),
        help="Scroll the columns left.",
        label=word("columns"),
        works=lambda state: state.columns,
        quiet=True,
    ),
    Key(
        id="tab",
        keys=("tab",),
        help="Next tab: scores, curves, shapes, clusters, time, settings.",
        label=word("next tab"),
        works=_any,
    ),
    Key(id="tab_back", keys=("shift+tab",), help="Previous tab.", label=word("tab"), works=_any, quiet=True),
    Key(
        id="signal",
        keys=("right_square_bracket",),
        help="Shapes: next signal.",
        label=word("signal"),
        works=_on("shapes"),
    ),
    Key(
        id="signal_back",
        keys=("left_square_bracket",),
        help="Shapes: previous signal.",
        label=word("signal"),
        works=_on("shapes"),
        quiet=True,
    ),
    Key(
        id="figures",
        keys=("right_square_bracket",),
        help="Curves: next figure.",
        label=word("more curves"),
        works=lambda state: state.more,
    ),
    Key(
        id="figures_back",
        keys=("left_square_bracket",),
        help="Curves: previous figure.",
        label=word("curves"),
        works=lambda state: state.more,
        quiet=True,
    ),
    Key(
        id="cursor_right",
        keys=("greater_than_sign",),
        help="Shapes: move the cursor right; it shows the count there.",
        label=word("cursor"),
        works=_on("shapes"),
    ),
    Key(
        id="cursor_left",
        keys=("less_than_sign",),
        help="Shapes: move the cursor left.",
        label=word("cursor"),
        works=_on("shapes"),
        quiet=True,
    ),
    Key(
        id="axis",
        keys=("y",),
        help="Curves and shapes: linear, logarithmic or square-root axis.",
        label=word("axis"),
        works=lambda state: _on("curves")(state) or _on("shapes")(state),
    ),
    Key(
        id="overlay",
        keys=("o",),
        help="Curves: lay another project over this one, or take it away.",
        label=lambda state: f"projects ({state.overlaid})" if state.overlaid else "other project",
        works=_any,
        quiet=True,
    ),
    Key(
        id="before",
        keys=("d",),
        help="Settings: compare with the previous round, or with the defaults.",
        label=lambda state: "vs defaults" if state.before else "vs previous round",
        works=lambda state: _on("settings")(state) and state.chosen is not None and state.chosen.round > 0,
    ),
    Key(id="samples", keys=("enter",), help="Show the samples of this round.", label=word("samples"), works=_any),
    Key(id="map", keys=("m",), help="Show the map of this round.", label=word("map"), works=_any, quiet=True),
    Key(
        id="thresholds",
        keys=("t",),
        help="Show the thresholds of this round.",
        label=word("thresholds"),
        works=lambda state: state.chosen is not None and not state.chosen.closing,
    ),
    Key(
        id="flips",
        keys=("f",),
        help="Show which held-out questions flipped since the round before, with both replies.",
        label=word("flips"),
        works=lambda state: state.chosen is not None and state.chosen.round > 0 and bool(state.chosen.scores),
    ),
    Key(
        id="export",
        keys=("x",),
        help="Export a dataset to a file (asks for the format).",
        label=word("export"),
        works=_any,
    ),
    Key(
        id="page_down",
        keys=("pagedown", "ctrl+d"),
        help="Scroll the tab down.",
        label=word("more"),
        works=lambda state: state.scrolls,
        quiet=True,
    ),
    Key(
        id="page_up",
        keys=("pageup", "ctrl+u"),
        help="Scroll the tab up.",
        label=word("up"),
        works=lambda state: state.scrolls,
        quiet=True,
    ),
)
