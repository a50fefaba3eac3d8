"""A line typed at the foot of the screen: a filter, words to search for, a row to jump to."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from engine.errors import MiddoError
from middo_tui.terminal.guard import clean
from middo_tui.text.notice import Notice
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.paragraph import Paragraph
from middo_tui.widgets.text_input import TextInput


class TypeLine(ModalScreen[str | None]):
    """Asks for a line; dismisses with it on enter, with None on escape.

    ``check`` raises a ``MiddoError`` that says what is wrong with a line; it is shown and the line stays.
    """

    DEFAULT_CSS = """
    TypeLine { align: left bottom; background: transparent; }
    TypeLine #entry { height: auto; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "back", show=False)]

    def __init__(self, question: str, typed: str = "", check: Callable[[str], object] | None = None) -> None:
        super().__init__()
        self._question = question
        self._entry = TextInput(typed)
        self._check = check

    def compose(self) -> ComposeResult:
        """A rule, the question, the line, the keys."""
        with Vertical(id="entry"):
            yield Divider()
            yield Paragraph(Notice(self._question, "decide"))
            yield self._entry
            yield KeyBar((("enter", "apply"), ("esc", "back")))

    def on_mount(self) -> None:
        """Keys go to the line."""
        self._entry.focus()

    @on(Input.Submitted)
    def _submitted(self, message: Input.Submitted) -> None:
        message.stop()
        try:
            if self._check is not None:
                self._check(message.value)
        except MiddoError as error:
            self.query_one(Paragraph).show(Notice(clean(str(error)).text, "bad"))
        else:
            self.dismiss(message.value)
