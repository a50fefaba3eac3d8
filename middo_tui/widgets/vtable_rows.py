"""What a virtual table shows: the order and the pages of rows that its threads read, and the lines painted of them.

Where the cursor goes and what is marked is ``vtable``'s.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from threading import Event
from typing import Any, Generic, TypeVar

from rich.segment import Segment
from textual import events, on
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.errors import MiddoError
from middo_tui.look.theme import ROLES
from middo_tui.terminal import guard
from middo_tui.widgets.columns import Column as Column
from middo_tui.widgets.columns import cells, header
from middo_tui.widgets.row_pages import PAGE as PAGE
from middo_tui.widgets.row_pages import RowPages
from middo_tui.widgets.vtable_messages import Moved as Moved
from middo_tui.widgets.vtable_messages import Ordered as Ordered
from middo_tui.widgets.vtable_messages import OrderedIds, RowSource, RowsRead, Viewport

STRIPS_KEPT = 512
PAINT_S = 0.2
"""So long a thread waits for what it read to be painted; a table out of sight is not painted at all."""
CURSOR, MARK, FOUND = "▸", "●", "·"

R = TypeVar("R")


class TableRows(Widget, Generic[R]):
    """The order, the rows of it that are looked at, and how they are painted."""

    def __init__(self, columns: Sequence[Column[R]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.columns = tuple(columns)
        self._columns_next = self.columns
        self.marks: set[int] = set()
        self._found: Container[int] = ()
        self._source: RowSource[R] | None = None
        self._ids: array[int] = array("q")
        self._coming: array[int] = self._ids  # an order on its way; once shown, the same as the ids
        self._whole = False
        self._turn = 0  # of the order that is shown or waited for; what comes of an older one is dropped
        self._painted = Event()  # the beginning of that order
        self._once_painted: list[Callable[[], object]] = []  # what is seen comes before what may be seen next
        self._keep: int | None = None  # the id that the cursor stays on when the order comes
        self._rows: RowPages[R] = RowPages()
        self._shown = Viewport(0, 0)
        self._aim = Viewport(0, 0)
        self._anchor: int | None = None
        self._strips: OrderedDict[tuple[int, str, int], Strip] = OrderedDict()

    # ----------------------------------------------------------------------------------------- what is shown

    def show(self, source: RowSource[R], keep: bool = False, columns: Sequence[Column[R]] | None = None) -> None:
        """Order anew by ``source``. The old rows, and the old columns, stay until the new ones are there.

        ``keep``: the cursor stays on its row if that is in the new order; else it goes to the first.
        """
        self._keep = self.cursor_id if keep else None
        self._source = source
        self._columns_next = self.columns if columns is None else tuple(columns)
        self._whole = False
        self._turn += 1
        self._painted = Event()
        work = partial(self._read_order, source, self._turn, self._painted)
        self.run_worker(work, group="order", description="order", thread=True, exit_on_error=False)

    def stale(self) -> None:
        """The rows may have changed: read those in view again, and paint those that have. The order stays."""
        view = self._view_pages(self._shown)
        self._rows.keep_only(view)
        if self._ids:
            self._read([page for page in view if page * PAGE < len(self._ids)])

    def highlight(self, found: Container[int]) -> None:
        """Places of the present order to point out (what a search found); forgotten with the order."""
        if found is not self._found:
            self._found = found
            self.refresh()

    @property
    def ids(self) -> array[int]:
        """All ids in order, as far as they are known."""
        return self._ids

    @property
    def whole(self) -> bool:
        """Whether the order is complete."""
        return self._whole

    @property
    def is_old(self) -> bool:
        """Whether the order before is still shown, as the one that was asked for is not there."""
        return self._ids is not self._coming

    @property
    def at(self) -> int:
        """The cursor's position in the order (where it is going, if rows are still waited for)."""
        return self._aim.at

    @property
    def cursor_id(self) -> int | None:
        """The id under the cursor; None in an empty table."""
        return self._ids[self._aim.at] if self._aim.at < len(self._ids) else None

    def row(self, id: int | None) -> R | None:
        """A row that has been read and not yet been dropped."""
        return None if id is None else self._rows.find(id)

    # ----------------------------------------------------------------------------------------------- reading

    def _arrive(self) -> None:
        """Show what is aimed at, if its rows are there; ask for them otherwise, and for those beyond the edges."""
        needed = self._view_pages(self._aim)
        if not self._rows.cover(needed, self._aim.top + self._rows_high):
            self._ask_around()
            return
        if self._lacking(self._around(self._aim)):
            self._once_painted.append(self._ask_around)
        old, self._shown = self._shown, self._aim
        if old.top != self._shown.top:
            self.refresh(Region(0, 1, self.content_size.width, self._rows_high))
        else:
            self._paint_rows({old.at, self._shown.at})

    def _tell(self) -> None:
        self.post_message(Moved(self, self.cursor_id, self._aim.at, len(self._ids)))

    def _read_order(self, source: RowSource[R], turn: int, painted: Event) -> None:
        """In a thread. It lets the beginning be painted before it reads on: two threads of Python get in each other's
        way, and half a million ids are a tenth of a second.
        """
        begins = True
        try:
            for block in source.order():
                if turn != self._turn:
                    return
                seen = min(PAGE, self._rows_high) if self.content_size.height else PAGE  # no more, to be there at once
                rows = source.rows(block[:seen]) if begins and self._keep is None else {}
                self.post_message(OrderedIds(turn, block, rows, begins))
                if begins and self._keep is None:
                    painted.wait(PAINT_S)
                begins = False
            self.post_message(OrderedIds(turn, array("q"), {}, begins, whole=True))
        except (MiddoError, sqlite3.Error, OSError) as error:
            self.post_message(OrderedIds(turn, array("q"), {}, True, True, guard.clean(str(error)).text))

    @on(OrderedIds)
    def _ordered(self, message: OrderedIds) -> None:
        """A part of an order. An order that keeps the cursor is shown when it is whole, others with their beginning."""
        message.stop()
        if message.turn != self._turn:
            return
        if message.begins:
            self._coming = array("q")
        self._coming.extend(message.ids)
        self._whole = message.whole
        if message.whole and self._source is not None:
            old, self._coming = self.is_old, self._source.held(self._coming)
            self._ids = self._ids if old else self._coming
        if message.whole if self._keep is not None else message.begins:
            self._ids = self._coming
            self._begin(message.rows)
        elif message.whole:
            self._arrive()
        if message.begins:
            self._once_painted.append(self._painted.set)
        if message.begins or message.whole:
            self.post_message(Ordered(self, len(self._ids), message.whole, message.problem))
            self._tell()
        if message.whole:
            self._keep = None

    def _begin(self, rows: Mapping[int, Any]) -> None:
        """A new order: nothing that was read holds for its positions."""
        self._rows.begin(rows)
        self._anchor, self._found = None, ()
        at = 0
        if self._keep is not None and self._keep in self._ids:
            at = self._ids.index(self._keep)
        high = self._rows_high
        top = min(max(0, at - high // 2), max(0, len(self._ids) - high))
        self._aim = Viewport(top, at)
        self._strips.clear()
        self._shown = Viewport(-1, -1)
        if self.columns != self._columns_next or not self._ids:
            self.columns = self._columns_next
            self.refresh()
        if self._ids:
            self._arrive()
            if self._rows.begun < PAGE:
                self._once_painted.append(self._read_rest)

    def _read_rest(self) -> None:
        """What of the first page was not seen at once."""
        if self._rows.begun < PAGE:
            self._read([0])

    def _around(self, place: Viewport) -> list[int]:
        """The pages in view, and one more on both sides."""
        view = self._view_pages(place)
        return [*view, view[0] - 1, view[-1] + 1]

    def _view_pages(self, place: Viewport) -> range:
        last = max(place.top, min(place.top + self._rows_high, len(self._ids)) - 1)
        return range(max(0, place.top) // PAGE, max(0, last) // PAGE + 1)

    def _lacking(self, pages: Iterable[int]) -> list[int]:
        """Those that are there and neither known nor asked for."""
        most = (len(self._ids) - 1) // PAGE
        return [page for page in pages if 0 <= page <= most and self._rows.lacks(page)]

    def _ask_around(self) -> None:
        """Have those read that are lacking where the cursor is going."""
        if wanted := self._lacking(self._around(self._aim)):
            self._read(wanted)

    def _read(self, pages: Sequence[int]) -> None:
        if self._source is None:
            return
        self._rows.asked.update(pages)
        ids = [id for page in pages for id in self._ids[page * PAGE : (page + 1) * PAGE]]
        work = partial(self._read_pages, self._source, self._turn, tuple(pages), ids)
        self.run_worker(work, group="pages", description="pages", thread=True, exit_on_error=False)

    def _read_pages(self, source: RowSource[R], turn: int, pages: Sequence[int], ids: Sequence[int]) -> None:
        """In a thread."""
        try:
            self.post_message(RowsRead(turn, pages, source.rows(ids)))
        except (MiddoError, sqlite3.Error, OSError) as error:
            self.post_message(RowsRead(turn, pages, {}, guard.clean(str(error)).text))

    @on(RowsRead)
    def _paged(self, message: RowsRead) -> None:
        """Rows have come."""
        message.stop()
        if message.turn != self._turn:
            return
        self._rows.asked.difference_update(message.pages)
        if message.problem:
            self.post_message(Ordered(self, len(self._ids), self._whole, message.problem))
            return
        changed: set[int] = set()
        for page in message.pages:
            changed |= self._rows.take(page, self._ids[page * PAGE : (page + 1) * PAGE], message.rows)
        if changed:
            self._strips.clear()
            self._paint_rows(changed)
            self._tell()
        if self._shown != self._aim:
            self._arrive()

    # ---------------------------------------------------------------------------------------------- painting

    def notify_style_update(self) -> None:
        """Another theme: nothing painted before is of use."""
        self._strips.clear()
        super().notify_style_update()

    @property
    def _rows_high(self) -> int:
        return max(1, self.content_size.height - 1)

    def on_resize(self, event: events.Resize) -> None:
        """The cursor stays in view."""
        self._strips.clear()
        if self._ids:
            top = min(self._aim.top, self._aim.at)
            top = max(top, self._aim.at - self._rows_high + 1)
            self._aim = Viewport(min(top, max(0, len(self._ids) - self._rows_high)), self._aim.at)
            self._shown = Viewport(-1, -1)
            self._arrive()

    def _paint_rows(self, positions: Iterable[int]) -> None:
        for at in positions:
            y = at - self._shown.top + 1
            if 1 <= y < self.content_size.height:
                self.refresh(Region(0, y, self.content_size.width, 1))

    def render_lines(self, crop: Region) -> list[Strip]:
        """Lines for the terminal, which has them before anything is done that was put off until then."""
        then, self._once_painted = self._once_painted, []
        for done in then:
            self.call_later(done)
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """The header, or a row."""
        width = self.content_size.width
        if y == 0:
            return header(self.columns, width, self.rich_style)
        at = self._shown.top + y - 1
        if not 0 <= at < len(self._ids):
            return Strip.blank(width, self.rich_style)
        id = self._ids[at]
        row = self._rows.get(at // PAGE, id)
        if row is None:
            return Strip.blank(width, self.rich_style)
        return self._strip(id, at, row, width)

    def _strip(self, id: int, at: int, row: R, width: int) -> Strip:
        under_cursor = at == self._shown.at
        sign = MARK if id in self.marks else FOUND if at in self._found else " "
        key = (id, (CURSOR if under_cursor else " ") + sign, width)
        strip = self._strips.get(key)
        if strip is None:
            runs = cells(row, self.columns, width - 2, key[1])
            base = self.rich_style + ROLES["cursor"] if under_cursor else self.rich_style
            segments = [Segment(text, base + ROLES[role]) for text, role in runs]
            strip = Strip(segments).adjust_cell_length(width, base)
            self._strips[key] = strip
            if len(self._strips) > STRIPS_KEPT:
                self._strips.popitem(last=False)
        return strip
