"""A table of any length: the order of all ids, and only the rows that are looked at.

A row source gives the ids in order (eight bytes each, from a thread) and rows by id (a page of them, from a thread);
what lies outside the view costs nothing. Half a million rows begin within the time of one page, a jump to 73 % is a
jump. The order stands still while the rows' values change, until a new order is asked for.

Few bytes per key: a row is one run of one style (a few coloured cells where a column says so), a cursor move paints two
rows, and at the edge the view moves by half a page. A move into rows that are not there yet waits for them with the old
view, so nothing is painted twice; holding a key down meanwhile only moves the aim.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from rich.segment import Segment
from textual import events, on
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.errors import MiddoError
from middo_tui import guard
from middo_tui.theme import ROLES
from middo_tui.widgets.columns import Column as Column
from middo_tui.widgets.columns import cells, header
from middo_tui.widgets.row_pages import PAGE as PAGE
from middo_tui.widgets.row_pages import RowPages
from middo_tui.widgets.vtable_messages import Block, Page, Place, Source
from middo_tui.widgets.vtable_messages import Moved as Moved
from middo_tui.widgets.vtable_messages import Ordered as Ordered

STRIPS_KEPT = 512
WHEEL_ROWS = 3
CURSOR, MARK, FOUND = "▸", "●", "·"

R = TypeVar("R")


class VTable(Widget, Generic[R]):
    """The table. The first of its lines is the header. It has no keys of its own: a screen calls its methods."""

    DEFAULT_CSS = """
    VTable { height: 1fr; width: 1fr; }
    """

    def __init__(self, columns: Sequence[Column[R]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.marks: set[int] = set()
        self._found: frozenset[int] = frozenset()
        self._source: Source[R] | None = None
        self._ids: array[int] = array("q")
        self._coming: array[int] = self._ids  # an order on its way; once shown, the same as the ids
        self._whole = False
        self._turn = 0  # of the order that is shown or waited for; what comes of an older one is dropped
        self._keep: int | None = None  # the id that the cursor stays on when the order comes
        self._rows: RowPages[R] = RowPages()
        self._shown = Place(0, 0)
        self._aim = Place(0, 0)
        self._anchor: int | None = None
        self._strips: OrderedDict[tuple[int, str, int], Strip] = OrderedDict()

    # ----------------------------------------------------------------------------------------- what is shown

    def show(self, source: Source[R], keep: bool = False) -> None:
        """Order anew by ``source``. The old rows stay until the new ones are there.

        ``keep``: the cursor stays on its row if that is in the new order; else it goes to the first.
        """
        self._keep = self.cursor_id if keep else None
        self._source = source
        self._whole = False
        self._turn += 1
        self.run_worker(partial(self._read_order, source, self._turn), group="order", thread=True, exit_on_error=False)

    def set_columns(self, columns: Sequence[Column[R]]) -> None:
        """Other columns for the same rows."""
        self.columns = tuple(columns)
        self._strips.clear()
        self.refresh()

    def stale(self) -> None:
        """The rows may have changed: read those in view again, and paint those that have. The order stays."""
        view = self._view_pages(self._shown)
        self._rows.keep_only(view)
        if self._ids:
            self._read([page for page in view if page * PAGE < len(self._ids)])

    def highlight(self, found: frozenset[int]) -> None:
        """Rows to point out (what a search found)."""
        if found != self._found:
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

    @property
    def marking(self) -> bool:
        """Whether a range is being marked."""
        return self._anchor is not None

    # ------------------------------------------------------------------------------------------------- moves

    def move(self, by: int) -> None:
        """The cursor ``by`` rows; at an edge of the view the view moves by half a page."""
        self.go_to(self._aim.at + by)

    def page(self, halves: int) -> None:
        """View and cursor by so many half pages."""
        step = halves * max(1, self._rows_high // 2)
        self._go(self._aim.top + step, self._aim.at + step)

    def go_to(self, at: int) -> None:
        """The cursor to a position."""
        high = self._rows_high
        at = min(max(0, at), max(0, len(self._ids) - 1))
        top = self._aim.top
        if at < top or at >= top + high:
            near = top - high <= at < top + 2 * high
            half = max(1, high // 2)
            top = (at - half + 1 if at < top else at - high + half) if near else at - half
        self._go(top, at)

    def go_to_id(self, id: int) -> bool:
        """The cursor to a row; False when it is not in the order."""
        try:
            self.go_to(self._ids.index(id))
        except ValueError:
            return False
        return True

    def go_to_share(self, percent: float) -> None:
        """The cursor to ``percent`` of the way."""
        self.go_to(round((len(self._ids) - 1) * min(100.0, max(0.0, percent)) / 100))

    def _go(self, top: int, at: int) -> None:
        last = len(self._ids) - 1
        at = min(max(0, at), max(0, last))
        top = min(max(0, top), max(0, last - self._rows_high + 1))
        aim = Place(top, at)
        if aim == self._aim and aim == self._shown:
            return
        before, self._aim = self._aim.at, aim
        if self._anchor is not None:
            self._mark_range(before)
        self._arrive()
        self._tell()

    def _arrive(self) -> None:
        """Show what is aimed at, if its rows are there; ask for them otherwise, and for those beyond the edges."""
        needed = self._view_pages(self._aim)
        self._ask([*needed, needed[0] - 1, needed[-1] + 1])
        if not self._rows.cover(needed, self._aim.top + self._rows_high):
            return
        old, self._shown = self._shown, self._aim
        if old.top != self._shown.top:
            self.refresh(Region(0, 1, self.content_size.width, self._rows_high))
        else:
            self._paint_rows({old.at, self._shown.at})

    def _tell(self) -> None:
        self.post_message(Moved(self, self.cursor_id, self._aim.at, len(self._ids)))

    # ------------------------------------------------------------------------------------------------- marks

    def toggle_mark(self) -> None:
        """Mark the row under the cursor, or take its mark away; ends a range."""
        id = self.cursor_id
        if id is None:
            return
        if self._anchor is not None:
            self._anchor = None
        else:
            self.marks ^= {id}
        self._paint_rows({self._aim.at})

    def toggle_range(self) -> None:
        """Begin to mark every row that the cursor passes, or end it."""
        self._anchor = self._aim.at if self._anchor is None and self._ids else None
        if self._anchor is not None:
            self.marks.add(self._ids[self._anchor])
            self._paint_rows({self._anchor})

    def clear_marks(self) -> None:
        """No marks."""
        self._anchor = None
        if self.marks:
            self.marks.clear()
            self.refresh()

    def _mark_range(self, before: int) -> None:
        """Mark from the anchor to the cursor; rows that the cursor has left again are not in the range."""
        anchor = self._anchor or 0
        marked = range(min(anchor, self._aim.at), max(anchor, self._aim.at) + 1)
        passed = range(min(before, self._aim.at), max(before, self._aim.at) + 1)
        self.marks.difference_update(self._ids[i] for i in passed if i not in marked)
        self.marks.update(self._ids[i] for i in passed if i in marked)
        seen = range(max(passed.start, self._shown.top), min(passed.stop, self._shown.top + self._rows_high))
        self._paint_rows(seen)

    # ----------------------------------------------------------------------------------------------- reading

    def _read_order(self, source: Source[R], turn: int) -> None:
        """In a thread."""
        begins = True
        try:
            for block in source.order():
                if turn != self._turn:
                    return
                seen = min(PAGE, self._rows_high) if self.content_size.height else PAGE  # no more, to be there at once
                rows = source.rows(block[:seen]) if begins and self._keep is None else {}
                self.post_message(Block(turn, block, rows, begins))
                begins = False
            self.post_message(Block(turn, array("q"), {}, begins, whole=True))
        except (MiddoError, sqlite3.Error, OSError) as error:
            self.post_message(Block(turn, array("q"), {}, True, True, guard.clean(str(error)).text))

    @on(Block)
    def _ordered(self, message: Block) -> None:
        """A part of an order. An order that keeps the cursor is shown when it is whole, others with their beginning."""
        message.stop()
        if message.turn != self._turn:
            return
        if message.begins:
            self._coming = array("q")
        self._coming.extend(message.ids)
        self._whole = message.whole
        if message.whole if self._keep is not None else message.begins:
            self._ids = self._coming
            self._begin(message.rows)
        elif message.whole:
            self._arrive()
        if message.begins or message.whole:
            self._tell()
            self.post_message(Ordered(self, len(self._ids), message.whole, message.problem))
        if message.whole:
            self._keep = None

    def _begin(self, rows: Mapping[int, Any]) -> None:
        """A new order: nothing that was read holds for its positions."""
        self._rows.begin(rows)
        self._anchor = None
        at = 0
        if self._keep is not None and self._keep in self._ids:
            at = self._ids.index(self._keep)
        high = self._rows_high
        top = min(max(0, at - high // 2), max(0, len(self._ids) - high))
        self._aim = Place(top, at)
        self._strips.clear()
        self._shown = Place(-1, -1)
        if self._ids:
            self._arrive()
            if self._rows.begun < PAGE:
                self._read([0])  # the rest of it
        else:
            self.refresh()

    def _view_pages(self, place: Place) -> range:
        last = max(place.top, min(place.top + self._rows_high, len(self._ids)) - 1)
        return range(max(0, place.top) // PAGE, max(0, last) // PAGE + 1)

    def _ask(self, pages: Iterable[int]) -> None:
        """Have pages read that are there and neither known nor asked for."""
        most = (len(self._ids) - 1) // PAGE
        wanted = [page for page in pages if 0 <= page <= most and self._rows.lacks(page)]
        if wanted:
            self._read(wanted)

    def _read(self, pages: Sequence[int]) -> None:
        if self._source is None:
            return
        self._rows.asked.update(pages)
        ids = [id for page in pages for id in self._ids[page * PAGE : (page + 1) * PAGE]]
        work = partial(self._read_pages, self._source, self._turn, tuple(pages), ids)
        self.run_worker(work, group="pages", thread=True, exit_on_error=False)

    def _read_pages(self, source: Source[R], turn: int, pages: Sequence[int], ids: Sequence[int]) -> None:
        """In a thread."""
        try:
            self.post_message(Page(turn, pages, source.rows(ids)))
        except (MiddoError, sqlite3.Error, OSError) as error:
            self.post_message(Page(turn, pages, {}, guard.clean(str(error)).text))

    @on(Page)
    def _paged(self, message: Page) -> None:
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
            self._aim = Place(min(top, max(0, len(self._ids) - self._rows_high)), self._aim.at)
            self._shown = Place(-1, -1)
            self._arrive()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves the cursor, as everything does."""
        self.move(WHEEL_ROWS)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Up again."""
        self.move(-WHEEL_ROWS)

    def on_click(self, event: events.Click) -> None:
        """The cursor to the row that was clicked."""
        if event.y >= 1:
            self.go_to(self._shown.top + event.y - 1)

    def _paint_rows(self, positions: Iterable[int]) -> None:
        for at in positions:
            y = at - self._shown.top + 1
            if 1 <= y < self.content_size.height:
                self.refresh(Region(0, y, self.content_size.width, 1))

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
        return self._strip(id, row, at == self._shown.at, width)

    def _strip(self, id: int, row: R, under_cursor: bool, width: int) -> Strip:
        sign = MARK if id in self.marks else FOUND if id in self._found else " "
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
