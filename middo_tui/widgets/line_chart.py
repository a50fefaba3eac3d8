"""A line chart in braille dots, two by four to a cell: this round's curve over the earlier ones.

Down-sampling is the minimum and the maximum of each dot column, a pure function of the points: the same data always
gives the same picture (random sampling makes curves jump). Rows that did not change are not repainted; 2.5 KB/s at 2
Hz where a sparkline costs 18 and plotext 11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from middo_tui import figures
from middo_tui.feed.view import Curve
from middo_tui.widgets.lines import Line, Lines, Run

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
BLANK = 0x2800
ACROSS, DOWN = 2, 4
SERIES_MARKS = ("━", "─", "┈", "┈")
LABEL_GAP = 2
CELLS_PER_X_LABEL = 12


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. ``curves``: the present one first, then earlier ones."""

    title: str
    curves: tuple[Curve, ...]
    x_label: str = "step"
    empty: str = ""


class Canvas:
    """Dots of ``width`` x ``height`` cells. Later drawing lies over earlier drawing."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [[0] * width for _ in range(height)]
        self._top = [[""] * width for _ in range(height)]

    def column(self, x: int, y_from: int, y_to: int, role: str) -> None:
        """A vertical stroke of dots, both ends included; (0, 0) is the upper left dot."""
        for y in range(min(y_from, y_to), max(y_from, y_to) + 1):
            self._bits[y // DOWN][x // ACROSS] |= DOTS[y % DOWN][x % ACROSS]
            self._top[y // DOWN][x // ACROSS] = role

    def row(self, y: int) -> Line:
        """Row ``y``, neighbouring cells of one role as one run."""
        cells = zip(self._top[y], self._bits[y], strict=True)
        return tuple(
            Run("".join(chr(BLANK | bits) if bits else " " for _, bits in group), role)
            for role, group in groupby(cells, key=lambda cell: cell[0])
        )


def columns(points: Sequence[tuple[int, float, float]], width: int, x_max: int) -> list[tuple[int, float, float]]:
    """(dot column, lowest, highest) of every dot column that has a point."""
    out: list[tuple[int, float, float]] = []
    scale = (width - 1) / max(1, x_max)
    for x, low, high in points:
        at = min(width - 1, int(x * scale))
        if out and out[-1][0] == at:
            out[-1] = (at, min(out[-1][1], low), max(out[-1][2], high))
        else:
            out.append((at, low, high))
    return out


def draw_curve(canvas: Canvas, curve: Curve, x_max: int, low: float, high: float, role: str) -> None:
    """One curve: a stroke per dot column, joined to the one before so that the line has no holes."""
    bottom = canvas.height * DOWN - 1
    scale = bottom / (high - low)

    def dot(value: float) -> int:
        return min(bottom, max(0, round((high - value) * scale)))

    before: tuple[int, int, int] | None = None
    for x, least, most in columns(curve.points, canvas.width * ACROSS, x_max):
        top, foot = dot(most), dot(least)
        if before is not None:
            x0, top0, foot0 = before
            middle0, middle = (top0 + foot0) / 2, (top + foot) / 2
            for between in range(x0 + 1, x):
                y = round(middle0 + (middle - middle0) * (between - x0) / (x - x0))
                canvas.column(between, y, y, role)
            if x - x0 == 1:
                top, foot = min(top, foot0), max(foot, top0)
        canvas.column(x, top, foot, role)
        before = (x, dot(most), dot(least))


def nice_step(span: float, most: int) -> float:
    """The smallest 1, 2 or 5 times a power of ten that cuts ``span`` into at most ``most`` parts."""
    raw = span / max(1, most)
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    return next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))


def bounds(curves: Sequence[Curve], rows: int) -> tuple[float, float, float]:
    """(lowest, highest, label step) of the y axis: quarter steps around the data, so that it moves seldom."""
    low = min(point[1] for curve in curves for point in curve.points)
    high = max(point[2] for curve in curves for point in curve.points)
    step = nice_step(max(high - low, abs(high) * 0.01, 1e-6), max(2, rows // 2))
    part = step / 4
    low, high = math.floor(low / part) * part, math.ceil(high / part + 1e-9) * part
    if math.floor(high / step + 1e-9) < math.ceil(low / step - 1e-9):  # no label would fall inside
        high = math.ceil(high / step) * step
    return low, high, step


def y_labels(low: float, high: float, step: float, rows: int) -> dict[int, str]:
    """Row -> label, at most every second row; rows count from the top."""
    digits = max(0, -math.floor(math.log10(step)))
    labels: dict[int, str] = {}
    for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        row = min(rows - 1, int((high - index * step) / (high - low) * rows))
        if row not in labels and row + 1 not in labels:
            labels[row] = f"{index * step:.{digits}f}"
    return labels


def x_axis(width: int, x_max: int, label: str) -> str:
    """Step numbers under the plot, each beginning under its dot, and what they count at the end."""
    cells = [" "] * width
    step = nice_step(max(1, x_max), max(1, width // CELLS_PER_X_LABEL))
    limit = width - len(label) - 1
    for index in range(int(x_max / step) + 1):
        text = figures.short(index * step)
        at = int(index * step * (width - 1) / max(1, x_max))
        if at + len(text) < limit:
            cells[at : at + len(text)] = text
    cells[width - len(label) :] = label
    return "".join(cells)


def legend(chart: Chart) -> Line:
    """Title and the curves' names with the line that stands for each."""
    runs = [Run(f" {chart.title}", "strong")]
    for at, curve in enumerate(chart.curves[:3]):
        runs.append(Run(f"  round {curve.round} {SERIES_MARKS[at]}", f"series-{at}"))
    return tuple(runs)


def line_chart(chart: Chart, width: int, height: int) -> list[Line]:
    """Legend, ``height`` - 2 rows of plot with labels on the left, and the x axis."""
    curves = [curve for curve in chart.curves if curve.points]
    rows = height - 2
    if rows < 1 or width < 20:
        return []
    if not curves:
        return [legend(chart), (Run(f" {chart.empty}", "dim"),)]
    low, high, step = bounds(curves, rows)
    labels = y_labels(low, high, step, rows)
    margin = max(len(text) for text in labels.values()) + 1
    canvas = Canvas(width - margin - LABEL_GAP, rows)
    x_max = max(curve.last_step for curve in curves)
    for at in reversed(range(len(curves))):
        draw_curve(canvas, curves[at], x_max, low, high, f"series-{min(at, 3)}")
    plot = [(_label(labels.get(y, ""), margin), *canvas.row(y)) for y in range(rows)]
    axis = Run(" " * (margin + LABEL_GAP) + x_axis(canvas.width, x_max, chart.x_label), "dim")
    return [legend(chart), *plot, (axis,)]


def _label(text: str, margin: int) -> Run:
    return Run(f"{text:>{margin}} {'┤' if text else '│'}", "dim")


class LineChart(Lines[Chart]):
    """``line_chart`` as a widget; fills what it is given."""

    DEFAULT_CSS = """
    LineChart { height: 1fr; }
    """

    def draw(self, data: Chart, width: int, height: int) -> list[Line]:
        """The whole chart."""
        return line_chart(data, width, height)
