"""Key tables: one row per key, from which a screen's bindings, its footer and its help page are made.

A key is shown in the footer only while it works, and works only while it is shown. Each screen has a table of its own
beside it; the keys that work everywhere are here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from textual.binding import Binding, BindingType

RUNNING = frozenset({"running", "pausing", "cancelling", "lost", "locked", "full"})
S = TypeVar("S")


class Key(Struct, Generic[S], frozen=True):
    """``id`` names the action (and, with the screen before it, what a remapping refers to).

    ``label`` is the footer's word in a given state; a ``quiet`` key works without a place in the footer.
    """

    id: str
    keys: tuple[str, ...]
    help: str
    label: Callable[[S], str]
    works: Callable[[S], bool]
    quiet: bool = False


class RunState(Protocol):
    """What the keys that work everywhere ask of a view: the state of the run, in one word."""

    @property
    def state(self) -> str:
        """As of ``feed.view.LoopView``."""


def word(text: str) -> Callable[[Any], str]:
    """The same label in every state."""
    return lambda state: text


def always(state: Any) -> bool:
    """A key that works in every state."""
    return True


SCREENS = ("loop", "samples", "thresholds", "review", "rounds", "lineage")
"""By number key: 1 is the Loop screen."""
UNNUMBERED = ("settings", "quarantine", "label", "flips", "writing", "log", "map")
FOLDERS = frozenset({"samples", "thresholds", "review"})
"""Screens with a folder of their own."""
ALWAYS_LEAVES = "ctrl+q"
"""Whatever is focused or remapped."""

EVERYWHERE: tuple[Key[RunState], ...] = (
    *(
        Key(f"go('{name}')", (str(number),), f"Go to the {name.capitalize()} screen.", word(name), always, quiet=True)
        for number, name in enumerate(SCREENS, start=1)
    ),
    Key(
        "go('map')",
        ("7",),
        "Show the embedding map: which samples are alike, and where.",
        word("map"),
        always,
        quiet=True,
    ),
    Key("back", ("escape",), "Go back to the previous screen.", word("back"), always, quiet=True),
    Key("go('settings')", ("comma",), "Open the settings and the theme.", word("settings"), always, quiet=True),
    Key(
        "go('quarantine')",
        ("exclamation_mark",),
        "Show the rows that could not be imported, and why.",
        word("quarantine"),
        always,
        quiet=True,
    ),
    Key(
        "command_line",
        ("tilde",),
        "Show the command line that does what was just done.",
        word("command line"),
        always,
        quiet=True,
    ),
    Key("palette", ("ctrl+p",), "Open the command palette.", word("commands"), always, quiet=True),
    Key(
        "redraw",
        ("ctrl+l",),
        "Redraw the screen.",
        word("redraw"),
        always,
        quiet=True,
    ),
    Key(
        "suspend",
        ("ctrl+z",),
        "Suspend to the shell; `fg` returns.",
        word("shell"),
        always,
        quiet=True,
    ),
    Key("help", ("question_mark", "f1"), "Show this help.", word("help"), always),
    Key(
        id="quit",
        keys=("q", ALWAYS_LEAVES),
        help="Quit the app. A run continues in the background.",
        label=lambda view: "quit (run continues)" if view.state in RUNNING else "quit",
        works=always,
    ),
)
NAMES = {
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "comma": ",",
    "exclamation_mark": "!",
    "tilde": "~",
    "full_stop": ".",
    "minus": "-",
    "plus": "+",
    "equals_sign": "=",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "escape": "esc",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
    "shift+left": "shift-←",
    "shift+right": "shift-→",
    "shift+down": "shift-↓",
    "shift+up": "shift-↑",
    "shift+tab": "shift-tab",
}


def bindings(table: Sequence[Key[Any]], screen: str) -> list[BindingType]:
    """Textual's bindings for every row; the ids (``loop.pause``) let a keymap remap them."""
    return [
        Binding(key, row.id, row.help, id=f"{screen}.{plain_id(row)}", show=False)
        if key != ALWAYS_LEAVES
        else Binding(key, row.id, row.help, show=False, priority=True)
        for row in table
        for key in row.keys
    ]


def plain_id(row: Key[Any]) -> str:
    """``go('samples')`` as ``go-samples``: an id that can be written in a settings file."""
    return row.id.replace("('", "-").removesuffix("')")


def name(key: str) -> str:
    """A key as a person reads it."""
    return NAMES.get(key, key.replace("ctrl+", "ctrl-"))


_KEYS = {shown: key for key, shown in NAMES.items()}


def key_named(shown: str) -> str:
    """The key that is shown as ``shown`` (``name`` backwards); empty for several keys at once, such as ``1-9``."""
    if shown in _KEYS:
        return _KEYS[shown]
    if len(shown) == 1 or shown.isalnum():
        return shown
    return shown.replace("ctrl-", "ctrl+") if shown.startswith("ctrl-") else ""


_own: dict[str, tuple[str, ...]] = {}


def use_remapped(own: Mapping[str, tuple[str, ...]]) -> None:
    """From now on show these keys (by ``screen.row``) in place of the usual ones; the bindings are the app's matter."""
    _own.clear()
    _own.update(own)


def remapped(table: Sequence[Key[S]], screen: str) -> tuple[Key[S], ...]:
    """The table with the person's own keys, as footer, help page and palette show it."""
    return tuple(_mine(row, _own.get(f"{screen}.{plain_id(row)}")) for row in table) if _own else tuple(table)


def _mine(row: Key[S], own: tuple[str, ...] | None) -> Key[S]:
    if own is None:
        return row
    return replace(row, keys=(*own, *(key for key in row.keys if key == ALWAYS_LEAVES)))


def press(id: str) -> str:
    """The key of ``review.undo`` as it is shown, the person's own if there is one: for sentences that name a key.

    KeyError: there is no such id.
    """
    own = _own.get(id)
    return name(own[0] if own else _usual(id))


@cache
def _usual(id: str) -> str:
    screen, _, row_id = id.partition(".")
    table = EVERYWHERE if screen == "app" else of_screen(screen)
    return {plain_id(row): row.keys[0] for row in table}[row_id]


def of_screen(screen: str) -> tuple[Key[Any], ...]:
    """The key table of a screen. It is imported when it is first asked for.

    ModuleNotFoundError: there is no such screen.
    """
    folder = "middo_tui.screens"
    found: tuple[Key[Any], ...] = import_module(
        f"{folder}.{screen}.keys" if screen in FOLDERS else f"{folder}.{screen}_keys"
    ).KEYS
    return found


def numbers() -> str:
    """The keys that go to the screens and the map: ``1-7``, or one by one when they are not in a row."""
    rows = remapped(EVERYWHERE, "app")[: len(SCREENS) + 1]
    own = [name(row.keys[0]) for row in rows]
    usual = [str(number) for number in range(1, len(rows) + 1)]
    return f"1-{len(rows)}" if own == usual else " ".join(own)


def unavailable(tables: Sequence[tuple[Sequence[Key[Any]], Any]], key: str) -> str:
    """What the key would do if it worked: empty when it does work, or is no key of these (table, state) at all."""
    rows = [(row, state) for table, state in tables for row in table if key in row.keys]
    if not rows or any(row.works(state) for row, state in rows):
        return ""
    return rows[0][0].help


def footer(table: Sequence[Key[S]], state: S) -> tuple[tuple[str, str], ...]:
    """(key, label) of what works now."""
    return tuple((name(row.keys[0]), row.label(state)) for row in table if not row.quiet and row.works(state))
