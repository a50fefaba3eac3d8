"""A short list with a letter for each entry, so that a choice is two keys: the one that opens it, and the letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.paragraph import Paragraph


class LetterChoice(NamedTuple):
    """One entry: what choosing it gives, its letter, its words, and a remark beside them."""

    value: str
    letter: str
    words: str
    remark: str = ""


class LetterMenu(ModalScreen[str | None]):
    """Dismisses with the ``value`` of the chosen entry, with None on escape."""

    DEFAULT_CSS = """
    LetterMenu { align: left bottom; background: transparent; }
    LetterMenu #choices { height: auto; background: $background; }
    LetterMenu Choices { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "choose", show=False),
        Binding("escape", "dismiss(None)", "back", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("up,k", "move(-1)", show=False),
    ]

    def __init__(
        self, question: str, choices: Sequence[LetterChoice], verb: str, at: int = 0, column: int = 26
    ) -> None:
        """``verb``: what enter does; ``at``: the entry under the cursor; ``column``: cells of the words."""
        super().__init__()
        self._question, self._choices, self._verb = question, tuple(choices), verb
        items = tuple(Item(one.words, one.remark, mark=one.letter) for one in choices)
        self._menu = Menu(items, at=at, column=column)

    def compose(self) -> ComposeResult:
        """A rule, the question, the entries, the keys."""
        with Vertical(id="choices"):
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
        self.dismiss(self._choices[self._menu.at].value)

    def on_key(self, event: events.Key) -> None:
        """A letter chooses at once."""
        found = next((one.value for one in self._choices if one.letter == event.character), None)
        if found is not None:
            event.stop()
            self.dismiss(found)
