"""A list at the bottom of the screen that a person chooses from: a rule, a question, the entries, the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.paragraph import Paragraph

T = TypeVar("T")


class BottomMenu(ModalScreen[T | None], Generic[T]):
    """Dismisses with the value of the chosen entry, with None on escape."""

    DEFAULT_CSS = """
    BottomMenu { align: left bottom; background: transparent; }
    BottomMenu #entries { height: auto; background: $background; }
    BottomMenu Choices { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "choose", show=False),
        Binding("escape", "dismiss(None)", "back", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("up,k", "move(-1)", show=False),
    ]

    def __init__(self, question: str, menu: Menu, values: Sequence[T | None], verb: str) -> None:
        """``values``: what each row of ``menu`` gives, None for a heading; ``verb``: what enter does."""
        super().__init__()
        self._question, self._menu, self._values, self._verb = question, menu, tuple(values), verb

    def compose(self) -> ComposeResult:
        """A rule, the question, the entries, the keys."""
        with Vertical(id="entries"):
            yield Divider()
            yield Paragraph(Notice(self._question, "decide"))
            yield Choices(self._menu)
            yield KeyBar((("j/k", "move"), ("enter", self._verb), ("esc", "back")))

    def action_move(self, by: int) -> None:
        """Another entry."""
        self._menu = self._menu.moved(by)
        self.query_one(Choices).show(self._menu)

    def action_take(self) -> None:
        """This one."""
        self.dismiss(self._values[self._menu.at])
