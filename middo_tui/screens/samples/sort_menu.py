"""What to sort the samples by, and which columns to show: a letter for each, so that a choice is two keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from middo_tui.feed.orders import RISING
from middo_tui.screens.letter_menu import LetterChoice, LetterMenu
from middo_tui.text import number_format


class SortColumn(NamedTuple):
    """A column of ``pages.SORTS``: its letter, its name, the head of its column, its decimals, and what it means.

    ``width``: at least so many cells.
    """

    name: str
    letter: str
    words: str
    head: str
    digits: int
    means: str = ""
    width: int = 6

    def written(self, value: float | None) -> str:
        """A sample's value."""
        return number_format.cluster(value) if self.name == "cluster" else number_format.fixed(value, self.digits)


SORTS = (
    SortColumn("seq", "s", "position in the dataset", "#", 0),
    SortColumn("loss_before", "b", "base loss", "base", 2, "before training, "),
    SortColumn("loss_after", "a", "tuned loss", "tuned", 2, "after training, "),
    SortColumn("delta", "d", "loss change", "Δ loss", 2, "tuned − base, "),
    SortColumn("similarity", "n", "similarity", "sim", 2, "to the nearest neighbours, "),
    SortColumn("outlier", "u", "outlier score", "outlier", 2),
    SortColumn("cluster", "c", "cluster", "cluster", 0, width=len(number_format.UNCLUSTERED)),
    SortColumn("quality", "q", "quality", "qual", 1, "mean of the six ratings, "),
    SortColumn("flaw", "f", "flaw score", "flaw", 2, "rank over all lenses, "),
    SortColumn("end_of_turn", "e", "end of turn", "end", 2, "loss of the answer's last token, "),
    SortColumn("ifd", "i", "IFD", "IFD", 2, "loss with the prompt / without it, "),
    SortColumn("worst_window", "w", "worst window", "window", 2, "highest mean loss of 16 tokens, "),
    SortColumn("prompt_clarity", "1", "prompt clarity", "p.clear", 1),
    SortColumn("prompt_completeness", "2", "prompt completeness", "p.compl", 1),
    SortColumn("prompt_factuality", "3", "prompt factuality", "p.fact", 1),
    SortColumn("response_clarity", "4", "response clarity", "r.clear", 1),
    SortColumn("response_completeness", "5", "response completeness", "r.compl", 1),
    SortColumn("response_factuality", "6", "response factuality", "r.fact", 1),
    SortColumn("tokens", "t", "length in tokens", "tokens", 0),
)
BY_NAME = {sort.name: sort for sort in SORTS}


class SortMenu(LetterMenu):
    """Dismisses with a name of ``SORTS``, with None on escape."""

    def __init__(self, now: str) -> None:
        """``now``: the name that is sorted by."""
        choices = [
            LetterChoice(
                sort.name,
                sort.letter,
                sort.words,
                f"{sort.means}{'low' if sort.name in RISING else 'high'} first",
            )
            for sort in SORTS
        ]
        super().__init__(
            "Sort by? Press a letter, or Enter; the current one again reverses the order.",
            choices,
            "sort",
            [sort.name for sort in SORTS].index(now),
        )


SHOWN = ("loss_before", "loss_after", "similarity", "quality", "flaw")
"""The columns of numbers that are shown at first."""


class ColumnMenu(LetterMenu):
    """Which column to show or hide. Dismisses with a name of ``SORTS``, with None on escape."""

    def __init__(self, shown: Sequence[str]) -> None:
        """``shown``: the names of the columns that are shown."""
        columns = [sort for sort in SORTS if sort.name != "seq"]
        choices = [LetterChoice(c.name, c.letter, c.words, "shown" if c.name in shown else "") for c in columns]
        super().__init__("Show or hide which column? Press its letter, or Enter.", choices, "show or hide")


def toggled(shown: Sequence[str], name: str) -> tuple[str, ...]:
    """The columns without ``name``, or with it, in the menu's order."""
    return tuple(sort.name for sort in SORTS if (sort.name in shown) != (sort.name == name))
