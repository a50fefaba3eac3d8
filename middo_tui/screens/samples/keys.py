"""The Samples screen's keys: moving, sorting, filtering, searching, marking, and where to go from a sample."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from middo_tui.keys.tables import Key, always, word


class SamplesKeyState(Struct, frozen=True):
    """What the keys depend on. ``clears``: what escape would clear, empty when it goes back. ``reading``: there
    is no list yet. ``flag``: "flagged" as a possible prompt injection, "unflagged" by a person, or neither.
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
    flag: str = ""


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
    Key("filter", ("f",), "Filter the samples, for example: quality<4 axis:C born:1.", word("filter"), always),
    Key("flagged", ("i",), "List the samples that are flagged as possible prompt injection.", word("injections"),
        always, quiet=True),
    Key(
        id="unflag",
        keys=("u",),
        help="Say that this sample is no prompt injection, or take that back; for all marked ones if there are any.",
        label=lambda state: "flag again" if state.flag == "unflagged" and not state.marked else "unflag",
        works=lambda state: bool(state.flag or state.marked),
    ),
    Key("search", ("slash",), "Search the texts.", word("search"), _some_soon),
    Key("next_found", ("n",), "Go to the next match.", word("next"), _found),
    Key("previous_found", ("N",), "Go to the previous match.", word("previous"), _found, quiet=True),
    Key("sort", ("o",), "Sort by a signal, worst first.", word("sort"), _some_soon),
    Key("columns", ("c",), "Show or hide a column.", word("columns"), _some, quiet=True),
    Key("reverse", ("O",), "Reverse the order.", word("reverse"), _some, quiet=True),
    Key(
        id="pane",
        keys=("enter", "tab"),
        help="Show or hide the sample under the cursor.",
        label=lambda state: "hide" if state.pane else "show",
        works=_some,
    ),
    Key("review", ("r",), "Go to this sample's rewrite.", word("review"), _some_and(lambda state: state.rewritten)),
    Key("lineage", ("l",), "Show all versions of this sample.", word("lineage"), _some),
    Key(
        id="override",
        keys=("d",),
        help="Drop or protect this sample, or request a rewrite; for all marked ones if there are any.",
        label=lambda state: f"override {state.marked:,}" if state.marked else "override",
        works=lambda state: state.total > 0 and state.round == state.last_round,
    ),
    Key("map", ("m",), "Show this sample on the map.", word("map"), _some, quiet=True),
    Key("label", ("L",), "Label samples by hand, to see how far the signals can be trusted.", word("label"), always,
        quiet=True),
    Key(
        id="export",
        keys=("x",),
        help="Export the marked samples, or all listed ones, to a file in the project.",
        label=lambda state: f"export {state.marked:,}" if state.marked else "export",
        works=_some,
    ),
    Key("older", ("left_square_bracket",), "Show the previous round's dataset.", word("prev round"),
        lambda state: state.round > 0),
    Key("newer", ("right_square_bracket",), "Show the next round's dataset.", word("next round"),
        lambda state: state.round < state.last_round),
    Key("back", ("escape",), "Clear the search, marks and filter, one at a time; then go back.",
        lambda state: f"clear {state.clears}" if state.clears else "back", always),
    Key("down", ("j", "down"), "Go to the next row.", word("down"), _some, quiet=True),
    Key("up", ("k", "up"), "Go to the previous row.", word("up"), _some, quiet=True),
    Key("half_down", ("ctrl+d", "pagedown"), "Move half a page down.", word("down"), _some, quiet=True),
    Key("half_up", ("ctrl+u", "pageup"), "Move half a page up.", word("up"), _some, quiet=True),
    Key("first", ("g", "home"), "Go to the first row.", word("first"), _some, quiet=True),
    Key("last", ("G", "end"), "Go to the last row.", word("last"), _some, quiet=True),
    Key("jump", ("colon",), "Jump to a row (120), a percentage (73%) or a sample (#120).", word("jump"),
        _some_soon, quiet=True),
    Key("mark", ("space",), "Mark or unmark this row.", word("mark"), _some, quiet=True),
    Key("range", ("v",), "Mark a range: move, then press again to end it.", word("range"), _some, quiet=True),
    Key("pane_down", ("J",), "Scroll the sample text down.", word("scroll"), _paned, quiet=True),
    Key("pane_up", ("K",), "Scroll the sample text up.", word("scroll"), _paned, quiet=True),
)  # fmt: skip
