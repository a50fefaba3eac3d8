"""A question at the foot of the screen. What cannot be taken back with one key is asked about first."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from middo_tui.text.notice import Notice
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.paragraph import Paragraph


class Confirm(ModalScreen[bool]):
    """Dismisses with True on y alone. Enter, which is often pressed by habit, answers no, as the keys below say."""

    DEFAULT_CSS = """
    Confirm { align: left bottom; background: transparent; }
    Confirm #question { height: auto; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes", show=False),
        Binding("n,enter,escape,q", "answer(False)", "no", show=False),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """A rule, the question, the keys of both answers."""
        with Vertical(id="question"):
            yield Divider()
            yield Paragraph(Notice(self._question, "decide"))
            yield KeyBar((("y", "yes"), ("enter", "no")))

    def action_answer(self, answer: bool) -> None:
        """Close with the answer."""
        self.dismiss(answer)
