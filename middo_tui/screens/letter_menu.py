"""A short list with a letter for each entry, so that a choice is two keys: the one that opens it, and the letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textual import events

from middo_tui.screens.bottom_menu import BottomMenu
from middo_tui.widgets.choices import Item, Menu


class LetterChoice(NamedTuple):
    """One entry: what choosing it gives, its letter, its words, and a remark beside them."""

    value: str
    letter: str
    words: str
    remark: str = ""


class LetterMenu(BottomMenu[str]):
    """Dismisses with the ``value`` of the chosen entry, with None on escape."""

    def __init__(
        self, question: str, choices: Sequence[LetterChoice], verb: str, at: int = 0, column: int = 26
    ) -> None:
        """``verb``: what enter does; ``at``: the entry under the cursor; ``column``: cells of the words."""
        items = tuple(Item(one.words, one.remark, mark=one.letter) for one in choices)
        super().__init__(question, Menu(items, at=at, column=column), [one.value for one in choices], verb)
        self._choices = tuple(choices)

    def on_key(self, event: events.Key) -> None:
        """A letter chooses at once."""
        found = next((one.value for one in self._choices if one.letter == event.character), None)
        if found is not None:
            event.stop()
            self.dismiss(found)
