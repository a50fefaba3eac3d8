"""What to sort the samples by: a list with a letter for each, so that a sort is two keys."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from middo_tui.feed.orders import RISING
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.paragraph import Paragraph


class SortColumn(NamedTuple):
    """A column of ``pages.SORTS``: its letter, its name, the head of its column, its decimals, and what it means."""

    name: str
    letter: str
    words: str
    head: str
    digits: int
    means: str = ""


SORTS = (
    SortColumn("seq", "s", "position in the dataset", "#", 0),
    SortColumn("loss_before", "b", "base loss", "base", 2, "before training, "),
    SortColumn("loss_after", "a", "tuned loss", "tuned", 2, "after training, "),
    SortColumn("delta", "d", "loss change", "Δ loss", 2, "tuned − base, "),
    SortColumn("similarity", "n", "similarity", "sim", 2, "to the nearest neighbours, "),
    SortColumn("outlier", "u", "outlier score", "outlier", 2),
    SortColumn("cluster", "c", "cluster", "cluster", 0),
    SortColumn("quality", "q", "quality", "qual", 1, "mean of the six ratings, "),
    SortColumn("prompt_clarity", "1", "prompt clarity", "p.clear", 1),
    SortColumn("prompt_completeness", "2", "prompt completeness", "p.compl", 1),
    SortColumn("prompt_factuality", "3", "prompt factuality", "p.fact", 1),
    SortColumn("response_clarity", "4", "response clarity", "r.clear", 1),
    SortColumn("response_completeness", "5", "response completeness", "r.compl", 1),
    SortColumn("response_factuality", "6", "response factuality", "r.fact", 1),
    SortColumn("tokens", "t", "length in tokens", "tokens", 0),
)
BY_NAME = {sort.name: sort for sort in SORTS}


class SortMenu(ModalScreen[str | None]):
    """Dismisses with a name of ``SORTS``, with None on escape."""

    DEFAULT_CSS = """
    SortMenu { align: left bottom; background: transparent; }
    SortMenu #sorts { height: auto; background: $background; }
    SortMenu Choices { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "sort", show=False),
        Binding("escape", "dismiss(None)", "back", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("up,k", "move(-1)", show=False),
    ]

    def __init__(self, now: str) -> None:
        super().__init__()
        names = [sort.name for sort in SORTS]
        items = (
            Item(sort.words, f"{sort.means}{'low' if sort.name in RISING else 'high'} first", mark=sort.letter)
            for sort in SORTS
        )
        self._menu = Menu(tuple(items), at=names.index(now), column=26)

    def compose(self) -> ComposeResult:
        """A rule, the question, the columns, the keys."""
        with Vertical(id="sorts"):
            yield Divider()
            yield Paragraph(
                Notice("Sort by? Press a letter, or Enter; the current one again reverses the order.", "decide")
            )
            yield Choices(self._menu)
            yield KeyBar((("j/k", "move"), ("enter", "sort"), ("esc", "back")))

    def action_move(self, by: int) -> None:
        """Another column."""
        self._menu = self._menu.moved(by)
        self.query_one(Choices).show(self._menu)

    def action_take(self) -> None:
        """This one."""
        self.dismiss(SORTS[self._menu.at].name)

    def on_key(self, event: events.Key) -> None:
        """A letter chooses at once."""
        found = next((sort.name for sort in SORTS if sort.letter == event.character), None)
        if found is not None:
            event.stop()
            self.dismiss(found)
