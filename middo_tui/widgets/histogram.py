"""A histogram with a cut line in it: how a signal is distributed, and which side of the cut is selected.

The selected side is told by its pattern as well as by the axis' colour: full bars in eighths there, thin dotted bars on
the side that is kept. Moving the line repaints only the rows' cells up to it, and a row of few runs is few bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate, groupby, pairwise

from msgspec import Struct
from textual import events
from textual.message import Message

from middo_tui.feed.bins import Bins as Bins
from middo_tui.feed.bins import Side as Side
from middo_tui.text import number_format
from middo_tui.widgets.chart_view import AxisScale
from middo_tui.widgets.line_chart import nice_step
from middo_tui.widgets.lines import Line, Lines, Run, width_of

FULL = " ▁▂▃▄▅▆▇█"
THIN = (" ", "⡀", "⡀", "⡄", "⡄", "⡆", "⡆", "⡇", "⡇")
CONTOUR = ("⣀", "⣀", "⠤", "⠤", "⠒", "⠒", "⠉", "⠉")
EIGHTHS = 8
LINE = "▏│▕"
FLOOR = "┊"
BEYOND = ("◂", "▸")
CELLS_PER_LABEL = 10
LEAST_WIDTH = 12
MOST_MARGIN = 6
"""Cells of a count and the axis."""
POINTS = 60
"""Parts of the range that a cursor goes over."""
LABELLED_ROWS = 4
"""Rows from which the middle of the axis has a count too."""


def next_point(cursor: int | None, by: int) -> int:
    """Where a histogram's cursor is after a step; it begins in the middle."""
    return POINTS // 2 if cursor is None else max(0, min(POINTS - 1, cursor + by))


class Cutting(Struct, frozen=True):
    """What is drawn. ``side`` of the cut is selected, and only what is beyond ``floor`` too; no cut selects nothing.

    ``role``: the axis' colour. ``earlier``: an earlier round's values, faint, over the same range. ``heading``: a row
    above it; ``empty``: what is said in place of a picture when there are no values. ``counts``: the axis of the
    heights, with its numbers on the left; None: no axis. ``cursor``: the one of ``POINTS`` parts of the range that the
    heading is about.
    """

    bins: Bins | None
    side: Side
    role: str
    cut: float | None = None
    floor: float | None = None
    earlier: Bins | None = None
    heading: Line = ()
    empty: str = ""
    counts: AxisScale | None = None
    cursor: int | None = None

    @property
    def limit(self) -> float | None:
        """What a value must be strictly beyond: the stricter of cut and floor."""
        if self.cut is None or self.floor is None:
            return self.cut
        return max(self.cut, self.floor) if self.side == "above" else min(self.cut, self.floor)


@lru_cache(maxsize=8)
def _running(counts: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(accumulate(counts, initial=0.0))


def resample(counts: tuple[float, ...], width: int) -> list[float]:
    """The same values over ``width`` cells; a part that two cells share is divided between them."""
    total, parts = _running(counts), len(counts)
    marks = []
    for cell in range(width + 1):
        at = cell * parts / width
        whole = min(int(at), parts - 1)
        marks.append(total[whole] + (at - whole) * counts[whole])
    return [b - a for a, b in pairwise(marks)]


def levels(values: Sequence[float], top: float, rows: int, scale: AxisScale = "linear") -> list[int]:
    """Heights in eighths of a row, ``rows`` rows high; what is there at all has at least one eighth."""
    most, to = rows * EIGHTHS, HEIGHTS[scale]
    return [min(most, max(1, round(to(v) / to(top) * most))) if v > 1e-9 and top > 0 else 0 for v in values]


HEIGHTS: dict[AxisScale, Callable[[float], float]] = {"linear": float, "log": math.log1p, "sqrt": math.sqrt}
"""How high a count is drawn. The logarithm is of one more than the count: nothing is below the axis."""
COUNTS: dict[AxisScale, Callable[[float], float]] = {"linear": float, "log": math.expm1, "sqrt": lambda v: v * v}
"""The inverse."""


def count_labels(top: float, rows: int, scale: AxisScale) -> dict[int, str]:
    """Row -> the count of a bar up to its upper edge: at the top, and in the middle where there is room."""
    to, back = HEIGHTS[scale], COUNTS[scale]
    places = (0, rows // 2) if rows >= LABELLED_ROWS else (0,)
    counts = {row: round(back(to(top) * (rows - row) / rows)) for row in places}
    return {row: number_format.short(count) for row, count in counts.items() if row == 0 or 0 < count < round(top)}


class ValueScale(Struct, frozen=True):
    """Values over ``width`` cells."""

    low: float
    high: float
    width: int

    def at(self, value: float) -> float:
        """Cells from the left edge; below 0 or beyond ``width`` when it lies outside."""
        span = self.high - self.low
        return (value - self.low) / span * self.width if span > 0 else self.width / 2

    def value(self, cell: float) -> float:
        """The inverse of ``at``."""
        return self.low + (self.high - self.low) * cell / self.width


def column_of(value: float | None, scale: ValueScale) -> tuple[int, str] | None:
    """The cell of a vertical line at ``value`` and its character: a third of a cell is told. None: no line."""
    if value is None or not math.isfinite(value):
        return None
    at = scale.at(value)
    if at < 0:
        return 0, BEYOND[0]
    if at > scale.width:
        return scale.width - 1, BEYOND[1]
    cell = min(int(at), scale.width - 1)
    return cell, LINE[min(2, int((at - cell) * 3))]


def selected_cells(data: Cutting, scale: ValueScale) -> range:
    """The cells that are wholly or mostly on the selected side."""
    limit = data.limit
    if limit is None or math.isnan(limit):
        return range(0)
    place = min(float(scale.width), max(0.0, scale.at(limit))) if math.isfinite(limit) else None
    if place is None:  # nothing lies beyond an infinite cut on its own side, all on the other one's
        everything = (limit > 0) == (data.side == "below")
        return range(scale.width) if everything else range(0)
    middle = round(place)
    return range(middle, scale.width) if data.side == "above" else range(middle)


def axis_row(scale: ValueScale) -> Line:
    """Round numbers on a faint line, each centred under its place."""
    cells: list[tuple[str, str]] = [("─", "faint")] * scale.width
    span = scale.high - scale.low
    if span <= 0:
        text = f" {scale.low:.4g} "
        at = max(0, (scale.width - len(text)) // 2)
        cells[at : at + len(text)] = [(c, "dim") for c in text]
        return merged(cells[: scale.width])
    step = nice_step(span, max(1, scale.width // CELLS_PER_LABEL))
    digits = max(0, -math.floor(math.log10(step)))
    for index in range(math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9) + 1):
        text = f" {index * step:.{digits}f} ".replace("-", "−")
        at = round(scale.at(index * step)) - len(text) // 2
        if 0 <= at <= scale.width - len(text):
            cells[at : at + len(text)] = [(c, "dim") for c in text]
    return merged(cells)


def merged(cells: Sequence[tuple[str, str]]) -> Line:
    """Cells (character, role) as runs."""
    return tuple(
        Run("".join(character for character, _ in group), role)
        for role, group in groupby(cells, key=lambda cell: cell[1])
    )


def histogram(data: Cutting, width: int, height: int) -> list[Line]:
    """The heading if there is one, the bars, and the numbers below them; ``height`` rows in all."""
    above = [data.heading] if data.heading else []
    rows = height - 1 - len(above)
    if rows < 1 or width < LEAST_WIDTH:
        return above[:height]
    if data.bins is None or not data.bins.counts:
        return [*above, (Run(f" {data.empty}", "dim"),)]
    if data.cursor is not None and above:
        above = [_under_cursor(data, data.bins, data.cursor, width)]
    margin = margin_of(data, width)
    scale = ValueScale(data.bins.low, data.bins.high, width - margin)
    bars = _bars(data, data.bins, scale, rows)
    if not margin or data.counts is None:
        return [*above, *bars, axis_row(scale)]
    labels = count_labels(max(resample(data.bins.counts, scale.width)), rows, data.counts)
    sides = [Run(f"{labels.get(row, ''):>{margin - 1}}{'┤' if row in labels else '│'}", "dim") for row in range(rows)]
    foot = data.counts if data.counts != "linear" and len(data.counts) < margin else ""
    body = [(side, *bar) for side, bar in zip(sides, bars, strict=True)]
    return [*above, *body, (Run(f"{foot:>{margin - 1}} ", "dim"), *axis_row(scale))]


def margin_of(data: Cutting, width: int) -> int:
    """Cells on the left that the counts take; 0 where there is no axis, or no room for one."""
    if data.counts is None or data.bins is None or width < LEAST_WIDTH + MOST_MARGIN:
        return 0
    return MOST_MARGIN


def _under_cursor(data: Cutting, bins: Bins, cursor: int, width: int) -> Line:
    """``base loss  1.25 to 1.31: 12 of 120 (10.0 %)``, and the share of the earlier round, where it fits."""
    part = (bins.high - bins.low) / POINTS
    low, total = bins.low + cursor * part, sum(bins.counts)
    count = resample(bins.counts, POINTS)[cursor]
    runs = [*data.heading[:1], Run(f"  {low:.3f} to {low + part:.3f}: {count:,.0f}", "strong")]
    runs.append(Run(f" of {total:,.0f} ({_share(count, total)})"))
    if data.earlier:
        was = _share(resample(data.earlier.counts, POINTS)[cursor], sum(data.earlier.counts))
        runs.append(Run(f"  round before {was}", "dim"))
    while len(runs) > 2 and width_of(tuple(runs)) > width:
        runs.pop()
    return tuple(runs)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else number_format.NONE


def _bars(data: Cutting, bins: Bins, scale: ValueScale, rows: int) -> list[Line]:
    values, how = resample(bins.counts, scale.width), data.counts or "linear"
    top = max(values)
    now = levels(values, top, rows, how)
    before = levels(resample(data.earlier.counts, scale.width), top, rows, how) if data.earlier else [0] * scale.width
    chosen = selected_cells(data, scale)
    line, floor = column_of(data.cut, scale), column_of(data.floor, scale)
    pointed = _pointed(data, scale)
    out = []
    for row in range(rows):
        base = (rows - 1 - row) * EIGHTHS  # eighths below this row
        cells = []
        for x in range(scale.width):
            if line is not None and x == line[0] and (line[1] in LINE or not base):
                cells.append((line[1], "strong"))
            elif floor is not None and x == floor[0] and floor[1] in LINE:
                cells.append((FLOOR, "dim"))
            else:
                cells.append(_cell(now[x] - base, before[x] - base, data.role if x in chosen else ""))
            if x in pointed:
                cells[-1] = (cells[-1][0], "cursor")
        out.append(merged(cells))
    return out


def _pointed(data: Cutting, scale: ValueScale) -> range:
    """The cells of the part that the cursor is on; at least one."""
    if data.cursor is None:
        return range(0)
    first = data.cursor * scale.width // POINTS
    return range(first, max(first + 1, (data.cursor + 1) * scale.width // POINTS))


def _cell(height: int, earlier: int, role: str) -> tuple[str, str]:
    """One cell of a bar that is ``height`` eighths high from the cell's foot on. ``role``: selected.

    Blank cells have their neighbours' role: fewer runs are fewer bytes.
    """
    if height <= 0 < earlier <= EIGHTHS:
        return CONTOUR[earlier - 1], "faint"
    inside = max(0, min(height, EIGHTHS))
    return (FULL[inside], role) if role else (THIN[inside], "dim")


def changed_cells(old: Line, new: Line) -> tuple[int, int] | None:
    """The cells [start, end) in which two rows of one-cell characters differ, None when they are the same."""
    if old == new:
        return None
    a = [(c, run.role) for run in old for c in run.text]
    b = [(c, run.role) for run in new for c in run.text]
    if len(a) != len(b):
        return 0, max(len(a), len(b))
    differs = [x for x in range(len(a)) if a[x] != b[x]]
    return (differs[0], differs[-1] + 1) if differs else None


class Histogram(Lines[Cutting]):
    """``histogram`` as a widget; fills what it is given. Text in it must be of one-cell characters."""

    DEFAULT_CSS = """
    Histogram { height: 1fr; }
    """

    class Dragged(Message):
        """The mouse asks for the cut to be at ``value``."""

        def __init__(self, histogram: Histogram, value: float) -> None:
            super().__init__()
            self.histogram = histogram
            self.value = value

        @property
        def control(self) -> Histogram:
            """Where it was asked."""
            return self.histogram

    def draw(self, data: Cutting, width: int, height: int) -> list[Line]:
        """The whole picture."""
        return histogram(data, width, height)

    def span(self, old: Line, new: Line) -> tuple[int, int] | None:
        """To the cell: a run of bars may be as wide as the screen."""
        return changed_cells(old, new)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take hold of the line."""
        self.capture_mouse()
        self._drag(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag it."""
        if event.button:
            self._drag(event.x)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Let go."""
        self.release_mouse()

    def _drag(self, x: int) -> None:
        bins, width = self.data.bins, self.content_size.width
        if bins is not None and width:
            margin = margin_of(self.data, width)
            scale = ValueScale(bins.low, bins.high, width - margin)
            value = scale.value(min(scale.width, max(0, x - margin + 0.5)))
            self.post_message(self.Dragged(self, value))
