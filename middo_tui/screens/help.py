"""The help page, made from the key table, so that it cannot disagree with what the keys do."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from middo_tui.feed.view import MARKS
from middo_tui.keys import KEYS, name
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.lines import Line, Lines, Run

LEGEND = " ".join(f"{mark} {state}" for state, mark in MARKS.items() if state != "interrupted")
ABOUT = (
    "The run lives in its own process: leaving the app never stops it.",
    "Axes: C complexity (loss), D diversity (neighbours), Q quality (ratings).",
    LEGEND,
)


def help_lines() -> list[Line]:
    """A row per key, then what the signs mean."""
    rows: list[Line] = [(Run(" Keys of the Loop screen", "strong"),), ()]
    for key in KEYS:
        names = " ".join(name(k) for k in key.keys)
        rows.append((Run(f"  {names:<12}", "key"), Run(key.help)))
    return [*rows, (), *((Run(f" {text}", "dim"),) for text in ABOUT)]


class HelpPage(Lines[None]):
    """``help_lines`` as a widget."""

    DEFAULT_CSS = """
    HelpPage { height: 1fr; }
    """

    def draw(self, data: None, width: int, height: int) -> list[Line]:
        """The page."""
        return help_lines()


class Help(ModalScreen[None]):
    """Covers the screen until a key closes it."""

    DEFAULT_CSS = """
    Help { background: $background; padding: 1 0 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,space,question_mark,f1", "dismiss", "back", show=False)
    ]

    def compose(self) -> ComposeResult:
        """The page and the way back."""
        yield HelpPage(None)
        yield KeyBar((("esc", "back"),))
