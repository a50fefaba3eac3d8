"""What a virtual table is given, what it tells, and what its threads tell it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from textual.message import Message
from textual.widget import Widget

R_co = TypeVar("R_co", covariant=True)


class RowSource(Protocol[R_co]):
    """Where rows come from. ``order`` and ``rows`` are called in threads of the table's; the order of calls is open."""

    def order(self) -> Iterable[array[int]]:
        """All ids in order, in blocks; the first block is painted before the others are there."""

    def held(self, ids: array[int]) -> array[int]:
        """The whole order once it was read: ``ids``, or an equal one that the source holds anyway."""

    def rows(self, ids: Sequence[int]) -> Mapping[int, R_co]:
        """The rows of ``ids``; one that is gone is left out."""


class Viewport(NamedTuple):
    """What is looked at: the first row shown, and the row under the cursor. Positions in the order."""

    top: int
    at: int


class Moved(Message):
    """Another row is under the cursor, or the same one has changed its place. ``id`` is None in an empty table."""

    def __init__(self, table: Widget, id: int | None, at: int, total: int) -> None:
        super().__init__()
        self.table, self.id, self.at, self.total = table, id, at, total

    @property
    def control(self) -> Widget:
        """The table."""
        return self.table

    def can_replace(self, message: Message) -> bool:
        """Only the newest place matters."""
        return isinstance(message, Moved) and message.table is self.table


class Ordered(Message):
    """The order is there: its beginning, or (``whole``) all of it; or it failed, and ``problem`` says why."""

    def __init__(self, table: Widget, total: int, whole: bool, problem: str = "") -> None:
        super().__init__()
        self.table, self.total, self.whole, self.problem = table, total, whole, problem

    @property
    def control(self) -> Widget:
        """The table."""
        return self.table


class OrderedIds(Message):
    """From the ordering thread: more ids, with the first of them (``begins``) their rows, at last that it is whole."""

    def __init__(
        self,
        turn: int,
        ids: array[int],
        rows: Mapping[int, Any],
        begins: bool,
        whole: bool = False,
        problem: str = "",
    ) -> None:
        super().__init__()
        self.turn, self.ids, self.rows = turn, ids, rows
        self.begins, self.whole, self.problem = begins, whole, problem


class RowsRead(Message):
    """From a reading thread: the rows of some pages."""

    def __init__(self, turn: int, pages: Sequence[int], rows: Mapping[int, Any], problem: str = "") -> None:
        super().__init__()
        self.turn, self.pages, self.rows, self.problem = turn, pages, rows, problem
