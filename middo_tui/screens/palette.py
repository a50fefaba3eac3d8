"""Every command that works now, by name. Made from the key tables, so that it cannot disagree with keys and footer.

Textual's own palette stays off: it knows nothing of what works in which state, and its widgets repaint whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple, Protocol

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from middo_tui.keys import tables
from middo_tui.keys.tables import Key
from middo_tui.look import theme
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.text_input import TextInput

LEFT_OUT = frozenset({"palette", "back"})
MOVES = frozenset(["back", "down", "up", "left", "right", "tab", "next_axis", "next_found", "older", "newer", "signal"])
"""Rows of other screens that mean nothing without looking at them."""
FOOT = (("enter", "run"), ("↑↓", "choose"), ("esc", "back"))


class Command(NamedTuple):
    """``action`` is run on the screen called ``screen``, or is a theme to wear when there is none."""

    name: str
    text: str
    key: str
    screen: str
    action: str


class Screenlike(Protocol):
    """What the palette needs of a screen."""

    NAME: ClassVar[str]

    def shown_keys(self) -> tuple[Key[Any], ...]:
        """Its key table."""

    def state(self) -> Any:
        """What the table's rows are asked with."""


def commands(here: Screenlike, loop: Screenlike, view: Any) -> list[Command]:
    """What works now: here, everywhere, on the Loop screen; what the other screens are for; the themes."""
    found = list(_of(here.NAME, here.shown_keys(), here.state()))
    found += _of("app", tuple(row for row in tables.EVERYWHERE if row.id not in LEFT_OUT), view, here.NAME)
    if loop is not here:
        found += [
            command._replace(name=f"run: {command.name}", key="") for command in _of(loop.NAME, loop.shown_keys(), view)
        ]
    # Rounds first: of two exports, the one of the dataset, which asks before it writes
    for screen in sorted((*tables.SCREENS, *tables.UNNUMBERED), key=lambda name: name != "rounds"):
        if screen not in (here.NAME, loop.NAME):
            found += _elsewhere(screen)
    return [*found, *(Command(f"theme {name}", text, "", "", name) for name, text in theme.ABOUT.items())]


def _of(screen: str, table: tuple[Key[Any], ...], state: Any, on: str = "") -> Iterable[Command]:
    for row in tables.remapped(table, screen):
        if row.works(state):
            yield Command(row.label(state), row.help, tables.name(row.keys[0]), on or screen, row.id)


def _elsewhere(screen: str) -> Iterable[Command]:
    """What the screen called ``screen`` is for. Whether it works is only known there."""
    for row in tables.of_screen(screen):
        if not row.quiet and "(" not in row.id and row.id not in MOVES:
            yield Command(f"{screen}: {row.id.replace('_', ' ')}", row.help, "", screen, row.id)


def match(command: Command, typed: str) -> int | None:
    """How well a command fits what was typed (0 is best), None when it does not: all words must be found."""
    worst = 0
    for word in typed.lower().split():
        found = _fit(word, command.name.lower(), command.text.lower())
        if found is None:
            return None
        worst = max(worst, found)
    return worst


def _fit(word: str, name: str, text: str) -> int | None:
    tests: tuple[Callable[[], bool], ...] = (
        lambda: name.startswith(word),
        lambda: f" {word}" in name,
        lambda: word in name,
        lambda: f" {word}" in f" {text}",
        lambda: word in text,
        lambda: _in_order(word, name),
    )
    return next((at for at, test in enumerate(tests) if test()), None)


def _in_order(letters: str, text: str) -> bool:
    rest = iter(text)
    return all(letter in rest for letter in letters)


def filtered(found: list[Command], typed: str) -> list[Command]:
    """The fitting commands, best first, otherwise in their order."""
    ranked = [(fit, at, command) for at, command in enumerate(found) if (fit := match(command, typed)) is not None]
    return [command for _, _, command in sorted(ranked, key=lambda item: item[:2])]


def menu(found: list[Command]) -> Menu:
    """The commands as rows."""
    items = tuple(Item(command.name, command.text, command.key) for command in found)
    return Menu(items, column=22, empty="No available command matches. Press esc to go back.")


class Palette(ModalScreen[Command | None]):
    """Dismisses with the chosen command, or None."""

    AUTO_FOCUS = "TextInput"
    DEFAULT_CSS = """
    Palette { align: left bottom; background: transparent; }
    Palette #commands { height: 14; background: $background; }
    Palette Choices { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+p", "dismiss(None)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("pagedown", "move(10)", show=False),
        Binding("pageup", "move(-10)", show=False),
    ]

    def __init__(self, found: list[Command]) -> None:
        super().__init__()
        self._all = found
        self._found = found

    def compose(self) -> ComposeResult:
        """A rule, the line to type in, the commands, the keys."""
        with Vertical(id="commands"):
            yield Divider()
            yield TextInput(placeholder="type to find a command")
            yield Choices(menu(self._found))
            yield KeyBar(FOOT)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._found = filtered(self._all, event.value)
        self.query_one(Choices).show(menu(self._found))

    @on(Input.Submitted)
    def _chosen(self) -> None:
        at = self.query_one(Choices).data.at
        self.dismiss(self._found[at] if self._found else None)

    def action_move(self, by: int) -> None:
        """Another command."""
        choices = self.query_one(Choices)
        choices.show(choices.data.moved(by))
