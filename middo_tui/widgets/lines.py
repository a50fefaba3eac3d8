"""Rows of styled text that repaint only what changed: the base of every widget on the Loop screen.

A widget is a pure function from data to lines, testable without a terminal. Stock widgets repaint themselves whole at
every change, which on a dashboard is 10 to 50 KB/s; comparing the new rows with the old and marking only the runs that
differ keeps two updates a second within 3 KB/s. Keep what changes often in runs of its own: a run is the unit of
repainting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from middo_tui.look.theme import ROLES

T = TypeVar("T")


class Run(NamedTuple):
    """Clean text in one style. ``role`` is a key of ``theme.ROLES``."""

    text: str
    role: str = ""


Line = tuple[Run, ...]


def width_of(line: Line) -> int:
    """Cells of a line."""
    return sum(cell_len(run.text) for run in line)


def plain(lines: Sequence[Line]) -> str:
    """The lines as text, for tests and for pipes."""
    return "\n".join("".join(run.text for run in line).rstrip() for line in lines)


def justified(left: Line, right: Line, width: int) -> Line:
    """``left`` and ``right`` at the two ends of a row; when both do not fit, the right one goes."""
    gap = width - width_of(left) - width_of(right)
    return (*left, Run(" " * gap), *right) if gap > 0 else left


def window(rows: Sequence[Line], top: int, height: int, further: str = "") -> list[Line]:
    """The rows from ``top`` on that ``height`` has room for (0: all); the last one says how many more there are.

    ``further``: what to press for them, said after it.
    """
    shown = list(rows[top : top + height]) if height else list(rows)
    left = len(rows) - top - len(shown)
    if left > 0 and shown:
        shown[-1] = (Run(f" … {left + 1:,} more rows{further}", "dim"),)
    return shown


def beside(blocks: Sequence[Sequence[Line]], each: int, height: int, gap: int) -> list[Line]:
    """Blocks of rows next to each other: each ``each`` cells wide, ``gap`` cells between them."""
    rows = []
    for y in range(height):
        cells: list[Run] = []
        for at, block in enumerate(blocks):
            line = block[y] if y < len(block) else ()
            fill = each - width_of(line) + (gap if at < len(blocks) - 1 else 0)
            cells += [*line, *([Run(" " * fill)] if fill > 0 else [])]
        rows.append(tuple(cells))
    return rows


def changed_span(old: Line, new: Line) -> tuple[int, int] | None:
    """The cells [start, end) in which two rows differ, in whole runs; None when they are the same."""
    if old == new:
        return None
    first = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = width_of(new[:first])
    old_end, new_end = width_of(old), width_of(new)
    if old_end != new_end:
        return start, max(old_end, new_end)
    end = new_end
    for a, b in zip(reversed(old[first:]), reversed(new[first:]), strict=False):
        if a != b:
            break
        end -= cell_len(a.text)
    return start, end


class Lines(Widget, Generic[T]):
    """A widget that paints ``draw(data, width, height)``. Sizes itself to its rows where its height is auto."""

    DEFAULT_CSS = """
    Lines { height: 1; width: 1fr; }
    """

    def __init__(self, data: T, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._data = data
        self._lines: list[Line] = []
        self._drawn_for = Size(0, 0)
        self._needed = 0
        self._base: Style | None = None

    def draw(self, data: T, width: int, height: int) -> list[Line]:
        """The rows for ``data`` in ``width`` x ``height`` cells. Pure."""
        raise NotImplementedError(f"{type(self).__name__} draws nothing")

    def span(self, old: Line, new: Line) -> tuple[int, int] | None:
        """The cells [start, end) of a row to paint again; None: none."""
        return changed_span(old, new)

    @property
    def data(self) -> T:
        """What is shown."""
        return self._data

    def show(self, data: T) -> None:
        """Show ``data``; rows that stay the same are not painted again."""
        same, self._data = data == self._data, data  # of two that are equal the newer: who gave it holds that one
        if same:
            return
        if self.size:
            self._redraw()
            return
        self._drawn_for = Size(0, 0)  # hidden: drawn anew when it is seen again, also at the same size
        if self.styles.is_auto_height:  # or there was nothing to show yet, and no room for it
            self.refresh(layout=True)

    def _redraw(self) -> None:
        old = self._lines
        self._draw_now()
        if self.styles.is_auto_height:
            needed = len(self.draw(self._data, self.content_size.width, 0))
            if needed != self._needed:  # drawn into the height it has, it may look as high as before
                self._needed = needed
                self.refresh(layout=True)
                return
        for y in range(max(len(old), len(self._lines))):
            span = self.span(old[y] if y < len(old) else (), self._lines[y] if y < len(self._lines) else ())
            if span is not None:
                self.refresh(Region(span[0], y, span[1] - span[0], 1))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as the data needs."""
        self._needed = len(self.draw(self._data, width, 0))
        return self._needed

    def _draw_now(self) -> None:
        self._drawn_for = self.content_size
        self._lines = self.draw(self._data, *self._drawn_for)

    def render_lines(self, crop: Region) -> list[Strip]:
        """All rows in one style, which is found once: a tenth of a millisecond."""
        self._base = self.rich_style
        try:
            return super().render_lines(crop)
        finally:
            self._base = None

    def render_line(self, y: int) -> Strip:
        """One row, cut and padded to the widget's width."""
        if self._drawn_for != self.content_size:  # a new size is painted whole, row by row, from here
            self._draw_now()
        base = self.rich_style if self._base is None else self._base
        if y >= len(self._lines):
            return Strip.blank(self.content_size.width, base)
        strip = Strip([Segment(text, base + ROLES[role]) for text, role in self._lines[y] if text])
        return strip.adjust_cell_length(self.content_size.width, base)
