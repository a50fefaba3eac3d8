"""The Samples screen's keys: moving, sorting, filtering, searching, marking, and where to go from a sample."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from middo_tui.keys.tables import Key, always, word


class SamplesKeyState(Struct, frozen=True):
    """What the keys depend on. ``clears``: what escape would clear, empty when it goes back. ``reading``: there
    is no list yet.
    """

    total: int = 0
    round: int = 0
    last_round: int = 0
    pane: bool = False
    found: int = 0
    marked: int = 0
    rewritten: bool = False
    clears: str = ""
    problem: bool = False
    reading: bool = False


def _some(state: SamplesKeyState) -> bool:
    return state.total > 0


def _some_soon(state: SamplesKeyState) -> bool:
    """Also while the list is being read: what is typed ahead must not become other keys."""
    return state.total > 0 or state.reading


def _paned(state: SamplesKeyState) -> bool:
    return state.pane and state.total > 0


def _found(state: SamplesKeyState) -> bool:
    return state.found > 0


def _some_and(test: Callable[[SamplesKeyState], bool]) -> Callable[[SamplesKeyState], bool]:
    return lambda state: state.total > 0 and test(state)


KEYS: tuple[Key[SamplesKeyState], ...] = (
    Key("filter", ("f",), "Filter, for example: quality<4 axis:C born:1.", word("filter"), always),
    Key("search", ("slash",), "Search the texts for words.", word("search"), _some_soon),
    Key("next_found", ("n",), "To the next row that was found.", word("next"), _found),
    Key("previous_found", ("N",), "To the one before.", word("before"), _found, quiet=True),
    Key("sort", ("o",), "Sort by a signal, worst first.", word("sort"), _some_soon),
    Key("turn", ("O",), "Turn the order round.", word("turn"), _some, quiet=True),
    Key(
        id="pane",
        keys=("enter", "tab"),
        help="Show the sample under the cursor, or hide it.",
        label=lambda state: "hide" if state.pane else "show",
        works=_some,
    ),
    Key("review", ("r",), "The rewrite of this sample.", word("review"), _some_and(lambda state: state.rewritten)),
    Key("lineage", ("l",), "All versions of this sample.", word("lineage"), _some),
    Key(
        id="export",
        keys=("x",),
        help="Write what is marked, or all that is listed, to a file in the project.",
        label=lambda state: f"export {state.marked:,}" if state.marked else "export",
        works=_some,
    ),
    Key("older", ("left_square_bracket",), "The dataset of the round before.", word("round before"),
        lambda state: state.round > 0),
    Key("newer", ("right_square_bracket",), "The dataset of the round after.", word("round after"),
        lambda state: state.round < state.last_round),
    Key("back", ("escape",), "Clear the search, the marks, the filter; then back to the screen before.",
        lambda state: f"clear {state.clears}" if state.clears else "back", always),
    Key("down", ("j", "down"), "The next row.", word("down"), _some, quiet=True),
    Key("up", ("k", "up"), "The row before.", word("up"), _some, quiet=True),
    Key("half_down", ("ctrl+d", "pagedown"), "Half a page down.", word("down"), _some, quiet=True),
    Key("half_up", ("ctrl+u", "pageup"), "Half a page up.", word("up"), _some, quiet=True),
    Key("first", ("g", "home"), "The first row.", word("first"), _some, quiet=True),
    Key("last", ("G", "end"), "The last row.", word("last"), _some, quiet=True),
    Key("jump", ("colon",), "To a row (120), a share of the way (73%) or a sample (#120).", word("jump"),
        _some_soon, quiet=True),
    Key("mark", ("space",), "Mark this row, or take the mark away.", word("mark"), _some, quiet=True),
    Key("range", ("v",), "Mark every row from here on; again, or space: end.", word("range"), _some, quiet=True),
    Key("pane_down", ("J",), "Scroll the shown sample down.", word("scroll"), _paned, quiet=True),
    Key("pane_up", ("K",), "Scroll it up.", word("scroll"), _paned, quiet=True),
)  # fmt: skip
