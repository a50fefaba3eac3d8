"""The help page, made from the key tables, so that it cannot disagree with what the keys do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from middo_tui.feed.view import MARKS
from middo_tui.keys.tables import EVERYWHERE, SCREENS, Key, name, numbers, remapped
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.lines import Line, Lines, Run
from middo_tui.widgets.paragraph import wrap

LEGEND = " ".join(f"{mark} {state}" for state, mark in MARKS.items() if state != "interrupted")
NUMBERED = " ".join(f"{number} {screen}" for number, screen in enumerate(SCREENS, start=1))
ABOUT = (
    "The run is a process of its own: quitting the app never stops it.",
    "Axes: C complexity (loss), D diversity (neighbours), Q quality (ratings).",
    LEGEND,
)


COLUMN = 14
MOST_ROWS = 4


def help_lines(screen: str, table: Sequence[Key[Any]], width: int = 80) -> list[Line]:
    """The keys of the screen and of all screens, then what the signs mean."""
    rows: list[Line] = [(Run(f" {screen.capitalize()} keys", "strong"),)]
    everywhere = remapped(EVERYWHERE, "app")[len(SCREENS) :]
    column = max(COLUMN, *(len(_names(key)) + 1 for key in (*table, *everywhere)))
    rows += [row for key in table for row in _rows(key, column, width)]
    rows += [(), (Run(" Keys on every screen", "strong"),), (Run(f"  {numbers():<{column}}", "key"), Run(NUMBERED))]
    rows += [row for key in everywhere for row in _rows(key, column, width)]
    return [*rows, (), *((Run(f" {text}", "dim"),) for text in ABOUT)]


def _names(key: Key[Any]) -> str:
    return " ".join(name(k) for k in key.keys)


def _rows(key: Key[Any], column: int, width: int) -> list[Line]:
    """The key, and beside it what it is for, in as many rows as that takes."""
    texts = wrap(key.help, max(20, width - column - 2), MOST_ROWS)
    return [(Run(f"  {'' if at else _names(key):<{column}}", "key"), Run(text)) for at, text in enumerate(texts)]


class HelpPage(Lines[tuple[str, tuple[Key[Any], ...]]]):
    """``help_lines`` of a screen and its table as a widget, as high as the page."""

    DEFAULT_CSS = """
    HelpPage { height: auto; }
    """

    def draw(self, data: tuple[str, tuple[Key[Any], ...]], width: int, height: int) -> list[Line]:
        """The page."""
        return help_lines(*data, width)


class Help(ModalScreen[None]):
    """Covers the screen until a key closes it; a long page scrolls."""

    DEFAULT_CSS = """
    Help { background: $background; }
    Help #page { height: 1fr; scrollbar-size: 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark,f1", "dismiss", "back", show=False),
        Binding("down,j", "scroll('down')", show=False),
        Binding("up,k", "scroll('up')", show=False),
        Binding("pagedown,space,ctrl+d", "scroll('page_down')", show=False),
        Binding("pageup,ctrl+u", "scroll('page_up')", show=False),
        Binding("home,g", "scroll('home')", show=False),
        Binding("end,G", "scroll('end')", show=False),
    ]

    def __init__(self, screen: str, table: Sequence[Key[Any]]) -> None:
        super().__init__()
        self._page = (screen, tuple(table))

    def compose(self) -> ComposeResult:
        """The page and the way back."""
        with VerticalScroll(id="page"):
            yield HelpPage(self._page)
        yield KeyBar((("j/k", "scroll"), ("space", "page"), ("esc", "back")))

    def action_scroll(self, where: str) -> None:
        """Move the page: a line, a screenful, or to an end of it."""
        page = self.query_one("#page", VerticalScroll)
        moves = {
            "down": page.scroll_down,
            "up": page.scroll_up,
            "page_down": page.scroll_page_down,
            "page_up": page.scroll_page_up,
            "home": page.scroll_home,
            "end": page.scroll_end,
        }
        moves[where](animate=False)
