"""The Map screen's keys: moving, zooming, colouring, marking a rectangle, rounds."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from middo_tui.keys.tables import Key, always, word


class MapKeyState(Struct, frozen=True):
    """What the keys depend on. ``some``: a map is shown; ``under``: samples under the cursor or in the rectangle;
    ``clears``: what escape would clear; ``earlier``, ``later``: there are maps of other rounds; ``moves``: of the round
    before.
    """

    some: bool = False
    under: int = 0
    clears: str = ""
    marking: bool = False
    marks: bool = False
    moved: bool = False
    moves: bool = False
    earlier: bool = False
    later: bool = False
    zoomed: bool = False
    colour: str = ""


def _some(state: MapKeyState) -> bool:
    return state.some


def _move(name: str, keys: tuple[str, ...], where: str) -> Key[MapKeyState]:
    return Key(name, keys, f"Move the cursor {where}; at the edge, the map.", word("move"), _some, quiet=True)


def _pan(name: str, keys: tuple[str, ...], where: str) -> Key[MapKeyState]:
    return Key(name, keys, f"Move the map half a window {where}.", word("pan"), _some, quiet=True)


def _next(state: MapKeyState) -> str:
    return f"colour: {state.colour}" if state.colour else "colour"


def _and(test: Callable[[MapKeyState], bool]) -> Callable[[MapKeyState], bool]:
    return lambda state: state.some and test(state)


KEYS: tuple[Key[MapKeyState], ...] = (
    Key("colour", ("c",), "Colour by: state, axis, base loss, tuned loss, quality, similarity, flaw, cluster.",
        _next, _some),
    Key("samples", ("enter",), "List the samples under the cursor, or in the rectangle.",
        lambda state: f"list {state.under:,}", _and(lambda state: state.under > 0)),
    Key("range", ("v",), "Mark a rectangle from here to where the cursor goes.",
        lambda state: "no rectangle" if state.marking else "rectangle", _some),
    Key("zoom_in", ("plus", "equals_sign"), "Zoom in at the cursor.", word("zoom"), _some),
    Key("only", ("tab",), "Show only the samples of one class; again for the next class, at last all.",
        word("one class"), _and(lambda state: not state.moved)),
    Key("moved", ("t",), "Show where rewritten samples went since the round before.",
        lambda state: "samples" if state.moved else "moves", _and(lambda state: state.moves)),
    Key("marks", ("m",), "Show each cell's class as a letter instead of a colour, or dots again.",
        lambda state: "dots" if state.marks else "letters", _and(lambda state: not state.moved)),
    Key("reset", ("0",), "Show the whole map.", word("all"), _and(lambda state: state.zoomed)),
    Key("older", ("left_square_bracket",), "Show the map of an earlier round.", word("prev round"),
        lambda state: state.earlier),
    Key("newer", ("right_square_bracket",), "Show the map of a later round.", word("next round"),
        lambda state: state.later),
    Key("zoom_out", ("minus",), "Zoom out.", word("zoom out"), _some, quiet=True),
    Key("colour_back", ("C",), "Colour by what came before.", word("colour"), _some, quiet=True),
    Key("only_back", ("shift+tab",), "Show only the class before.", word("one class"),
        _and(lambda state: not state.moved), quiet=True),
    _move("left", ("h", "left"), "left"),
    _move("down", ("j", "down"), "down"),
    _move("up", ("k", "up"), "up"),
    _move("right", ("l", "right"), "right"),
    _pan("pan_left", ("H", "shift+left"), "to the left"),
    _pan("pan_down", ("J", "shift+down"), "down"),
    _pan("pan_up", ("K", "shift+up"), "up"),
    _pan("pan_right", ("L", "shift+right"), "to the right"),
    Key("back", ("escape",), "Clear the rectangle, the single class and the moves, one at a time; then go back.",
        lambda state: f"clear {state.clears}" if state.clears else "back", always, quiet=True),
    Key("reload", ("r",), "Reload the map.", word("reload"), always, quiet=True),
)  # fmt: skip
