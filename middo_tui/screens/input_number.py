"""A number typed at the foot of the screen. Takes all keys while it is there: digits do not change the screen then."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from middo_tui.text.notice import Notice
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.paragraph import Paragraph

ALLOWED = frozenset("0123456789.-")
MOST = 12
CURSOR = "▏"


def number(text: str) -> float | None:
    """What was typed; None when it is no number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class TypeNumber(ModalScreen[float | None]):
    """Asks for a number; dismisses with it on enter, with None on escape. ``check`` says what is wrong with one."""

    DEFAULT_CSS = """
    TypeNumber { align: left bottom; background: transparent; }
    TypeNumber #entry { height: auto; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "apply", show=False),
        Binding("escape", "dismiss(None)", "back", show=False),
        Binding("backspace", "shorten", "delete", show=False),
    ]

    def __init__(self, question: str, check: Callable[[float], str]) -> None:
        super().__init__()
        self._question = question
        self._typed = ""
        self._check = check

    def compose(self) -> ComposeResult:
        """A rule, the question with what was typed, the keys."""
        with Vertical(id="entry"):
            yield Divider()
            yield Paragraph(self._question_line())
            yield KeyBar((("enter", "apply"), ("backspace", "delete"), ("esc", "back")))

    def _question_line(self, wrong: str = "") -> Notice:
        return Notice(f"{self._question} {self._typed}{CURSOR}  {wrong}".rstrip(), "bad" if wrong else "decide")

    def on_key(self, event: events.Key) -> None:
        """A digit, a point or a sign."""
        if event.character in ALLOWED:
            event.stop()
            self._typed = (self._typed + (event.character or ""))[:MOST]
            self.query_one(Paragraph).show(self._question_line())

    def action_shorten(self) -> None:
        """Take the last character back."""
        self._typed = self._typed[:-1]
        self.query_one(Paragraph).show(self._question_line())

    def action_take(self) -> None:
        """Close with the number, or say what is wrong with it."""
        value = number(self._typed)
        wrong = "Type a number such as 0.8." if value is None else self._check(value)
        if wrong:
            self.query_one(Paragraph).show(self._question_line(wrong))
        else:
            self.dismiss(value)
