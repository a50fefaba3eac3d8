"""Key tables: one row per key, from which a screen's bindings, its footer and its help page are made.

A key is shown in the footer only while it works, and works only while it is shown. Each screen has a table of its own
beside it; the keys that work everywhere are here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from textual.binding import Binding, BindingType

from middo_tui.feed.view import LoopView

RUNNING = frozenset({"running", "pausing", "cancelling", "lost"})
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Key(Generic[S]):
    """``id`` names the action (and, with the screen before it, what a remapping refers to).

    ``label`` is the footer's word in a given state; a ``quiet`` key works without a place in the footer.
    """

    id: str
    keys: tuple[str, ...]
    help: str
    label: Callable[[S], str]
    works: Callable[[S], bool]
    quiet: bool = False


def word(text: str) -> Callable[[Any], str]:
    """The same label in every state."""
    return lambda state: text


def always(state: Any) -> bool:
    """A key that works in every state."""
    return True


SCREENS = ("loop", "samples", "thresholds", "review", "rounds", "lineage")
"""By number key: 1 is the Loop screen."""

EVERYWHERE: tuple[Key[LoopView], ...] = (
    *(
        Key(f"go('{name}')", (str(number),), f"The {name.capitalize()} screen.", word(name), always, quiet=True)
        for number, name in enumerate(SCREENS, start=1)
    ),
    Key("back", ("escape",), "Back to the screen before.", word("back"), always, quiet=True),
    Key("help", ("question_mark", "f1"), "This page.", word("help"), always),
    Key(
        id="leave",
        keys=("q", "ctrl+q"),
        help="Leave the app. A run goes on without it.",
        label=lambda view: "leave (the run goes on)" if view.state in RUNNING else "leave",
        works=always,
    ),
)
NAMES = {
    "question_mark": "?",
    "slash": "/",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "esc",
    "down": "↓",
    "up": "↑",
}


def bindings(table: Sequence[Key[Any]], screen: str) -> list[BindingType]:
    """Textual's bindings for every row; the ids (``loop.pause``) let a keymap remap them."""
    return [
        Binding(key, row.id, row.help, id=f"{screen}.{plain_id(row)}", show=False, priority=key == "ctrl+q")
        for row in table
        for key in row.keys
    ]


def plain_id(row: Key[Any]) -> str:
    """``go('samples')`` as ``go-samples``: an id that can be written in a settings file."""
    return row.id.replace("('", "-").removesuffix("')")


def name(key: str) -> str:
    """A key as a person reads it."""
    return NAMES.get(key, key.replace("ctrl+", "ctrl-"))


def footer(table: Sequence[Key[S]], state: S) -> tuple[tuple[str, str], ...]:
    """(key, label) of what works now."""
    return tuple((name(row.keys[0]), row.label(state)) for row in table if not row.quiet and row.works(state))
