"""A table of any length: the order of all ids, and only the rows that are looked at.

A row source gives the ids in order (eight bytes each, from a thread) and rows by id (a page of them, from a thread);
what lies outside the view costs nothing. Half a million rows begin within the time of one page, a jump to 73 % is a
jump. The order stands still while the rows' values change, until a new order is asked for.

Few bytes per key: a row is one run of one style (a few coloured cells where a column says so), a cursor move paints two
rows, and at the edge the view moves by half a page. A move into rows that are not there yet waits for them with the old
view, so nothing is painted twice; holding a key down meanwhile only moves the aim.
"""

from __future__ import annotations

from typing import TypeVar

from textual import events

from middo_tui.widgets.columns import Column as Column
from middo_tui.widgets.row_pages import PAGE as PAGE
from middo_tui.widgets.vtable_messages import Moved as Moved
from middo_tui.widgets.vtable_messages import Ordered as Ordered
from middo_tui.widgets.vtable_messages import Viewport
from middo_tui.widgets.vtable_rows import TableRows

WHEEL_ROWS = 3

R = TypeVar("R")


class VTable(TableRows[R]):
    """The table. The first of its lines is the header. It has no keys of its own: a screen calls its methods."""

    DEFAULT_CSS = """
    VTable { height: 1fr; width: 1fr; }
    """

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
        aim = Viewport(top, at)
        if aim == self._aim and aim == self._shown:
            return
        before, self._aim = self._aim.at, aim
        if self._anchor is not None:
            self._mark_range(before)
        self._arrive()
        self._tell()

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

    @property
    def marking(self) -> bool:
        """Whether a range is being marked."""
        return self._anchor is not None

    # ------------------------------------------------------------------------------------------------- mouse

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
