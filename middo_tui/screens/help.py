"""The help page, made from the key tables, so that it cannot disagree with what the keys do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from middo_tui.feed.view import MARKS
from middo_tui.keys import EVERYWHERE, SCREENS, Key, mine, name, numbers
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.lines import Line, Lines, Run

LEGEND = " ".join(f"{mark} {state}" for state, mark in MARKS.items() if state != "interrupted")
NUMBERED = " ".join(f"{number} {screen}" for number, screen in enumerate(SCREENS, start=1))
ABOUT = (
    "The run lives in its own process: leaving the app never stops it.",
    "Axes: C complexity (loss), D diversity (neighbours), Q quality (ratings).",
    LEGEND,
)


COLUMN = 14


def help_lines(screen: str, table: Sequence[Key[Any]]) -> list[Line]:
    """A row per key of the screen and of all screens, then what the signs mean."""
    rows: list[Line] = [(Run(f" Keys of the {screen.capitalize()} screen", "strong"),), *map(_row, table)]
    rows += [(), (Run(" Keys of every screen", "strong"),), (_numbers(), Run(NUMBERED))]
    rows += [_row(key) for key in mine(EVERYWHERE, "app")[len(SCREENS) :]]
    return [*rows, (), *((Run(f" {text}", "dim"),) for text in ABOUT)]


def _row(key: Key[Any]) -> Line:
    names = " ".join(name(k) for k in key.keys)
    return (Run(f"  {names:<{COLUMN}}", "key"), Run(key.help))


def _numbers() -> Run:
    return Run(f"  {numbers():<{COLUMN}}", "key")


class HelpPage(Lines[tuple[Line, ...]]):
    """``help_lines`` as a widget, as high as the page."""

    DEFAULT_CSS = """
    HelpPage { height: auto; }
    """

    def draw(self, data: tuple[Line, ...], width: int, height: int) -> list[Line]:
        """The page."""
        return list(data)


class Help(ModalScreen[None]):
    """Covers the screen until a key closes it; a long page scrolls."""

    DEFAULT_CSS = """
    Help { background: $background; }
    Help #page { height: 1fr; scrollbar-size: 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark,f1", "dismiss", "back", show=False),
        Binding("down,j", "scroll('scroll_down')", show=False),
        Binding("up,k", "scroll('scroll_up')", show=False),
        Binding("pagedown,space", "scroll('scroll_page_down')", show=False),
        Binding("pageup", "scroll('scroll_page_up')", show=False),
    ]

    def __init__(self, screen: str, table: Sequence[Key[Any]]) -> None:
        super().__init__()
        self._page = tuple(help_lines(screen, table))

    def compose(self) -> ComposeResult:
        """The page and the way back."""
        with VerticalScroll(id="page"):
            yield HelpPage(self._page)
        yield KeyBar((("j/k", "scroll"), ("esc", "back")))

    def action_scroll(self, how: str) -> None:
        """Move the page."""
        getattr(self.query_one("#page"), f"action_{how}")()
