"""A line chart in braille dots, two by four to a cell: this round's curve over the earlier ones.

A batch's loss says as much about the batch as about the model, so a curve is its running mean, and only the present
one's single losses lie faintly behind it: minimum and maximum of each dot column. Both are pure functions of the
points, and what was drawn stays where it is as the curve grows. Rows that did not change are not repainted; 2.5 KB/s
at 2 Hz where a sparkline costs 18 and plotext 11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from middo_tui.feed.view import Curve
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
BLANK = 0x2800
ACROSS, DOWN = 2, 4
SERIES_MARKS = ("━", "─", "┈", "┈")
LABEL_GAP = 2
CELLS_PER_X_LABEL = 12
SMOOTHINGS = (40, 10, 0)
"""What ``Chart.smooth`` may be, in the order of the key that changes it."""
OUTLIERS = 50
"""One in so many single losses may lie outside the picture, above and below: one spike must not flatten the curve."""


class Chart(Struct, frozen=True):
    """What is drawn. ``curves``: the present one first, then earlier ones. ``log``: the y axis is logarithmic, if all
    values are above 0. ``smooth``: the running mean reaches back over this part of a curve (40: a 40th); 0: no mean.
    """

    title: str
    curves: tuple[Curve, ...]
    x_label: str = "step"
    empty: str = ""
    log: bool = False
    smooth: int = 40

    @property
    def logarithmic(self) -> bool:
        """Whether the y axis is: every value has a logarithm."""
        return self.log and all(low > 0 for curve in self.curves for _, low, _ in curve.points)


class Canvas:
    """Dots of ``width`` x ``height`` cells. Later drawing lies over earlier drawing."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [[0] * width for _ in range(height)]
        self._top = [[""] * width for _ in range(height)]

    def column(self, x: int, y_from: int, y_to: int, role: str) -> None:
        """A vertical stroke of dots, both ends included; (0, 0) is the upper left dot.

        A cell has one colour: what another role had drawn in it goes, so that a line stays as thin as it is.
        """
        for y in range(min(y_from, y_to), max(y_from, y_to) + 1):
            row, cell = y // DOWN, x // ACROSS
            if self._top[row][cell] != role:
                self._top[row][cell], self._bits[row][cell] = role, 0
            self._bits[row][cell] |= DOTS[y % DOWN][x % ACROSS]

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


def smoothed(curve: Curve, smooth: int = SMOOTHINGS[0]) -> list[tuple[int, float]]:
    """(step, running mean) of a curve: exponential, without the pull to its first value.

    How far it reaches back depends on the length that the curve will have, so what was drawn does not move.
    """
    reach = curve.last_step / smooth if smooth else 0.0
    if reach <= 1:  # so few steps that every one of them can be seen
        return [(step, (low + high) / 2) for step, low, high in curve.points]
    out: list[tuple[int, float]] = []
    mean = weight = 0.0
    before = curve.points[0][0] if curve.points else 0
    for step, low, high in curve.points:
        keep = math.exp(-max(1, step - before) / reach)
        mean = keep * mean + (1 - keep) * (low + high) / 2
        weight = keep * weight + 1 - keep
        out.append((step, mean / weight))
        before = step
    return out


def draw_curve(canvas: Canvas, points: Sequence[tuple[int, float]], x_max: int, scale: YAxis, role: str) -> None:
    """A line through the points: a stroke per dot column, joined to the one before so that it has no holes."""
    before: tuple[int, int] | None = None
    for x, low, high in columns([(step, value, value) for step, value in points], canvas.width * ACROSS, x_max):
        y = scale.dot((low + high) / 2)
        if before is not None:
            x0, y0 = before
            for between in range(x0 + 1, x):
                at = round(y0 + (y - y0) * (between - x0) / (x - x0))
                canvas.column(between, at, at, role)
            near = y0 if x - x0 == 1 else y
            y_from = y if near == y else near + (1 if y > near else -1)
            canvas.column(x, y_from, y, role)
        else:
            canvas.column(x, y, y, role)
        before = (x, y)


def draw_range(canvas: Canvas, curve: Curve, x_max: int, scale: YAxis, role: str) -> None:
    """Single losses as dots; where a dot column holds several, the least and the greatest of them."""
    for x, low, high in columns(curve.points, canvas.width * ACROSS, x_max):
        for value in {low, high}:
            if scale.low <= value <= scale.high:
                y = scale.dot(value)
                canvas.column(x, y, y, role)


def nice_step(span: float, most: int) -> float:
    """The smallest 1, 2 or 5 times a power of ten that cuts ``span`` into at most ``most`` parts."""
    raw = span / max(1, most)
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    return next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))


class YAxis(Struct, frozen=True):
    """The y axis: from ``low`` at the bottom to ``high`` at the top, a label every ``step``, in ``dots`` dots."""

    low: float
    high: float
    step: float
    dots: int = 1

    def dot(self, value: float) -> int:
        """How far from the top ``value`` lies; what is outside lies at the edge."""
        bottom = self.dots - 1
        return min(bottom, max(0, round((self.high - value) * bottom / (self.high - self.low))))


def scale_for(lines: Sequence[Sequence[tuple[int, float]]], single: Sequence[float], rows: int) -> YAxis:
    """Quarter steps around all ``lines`` and nearly all ``single`` values, so that the axis moves seldom."""
    values = [value for line in lines for _, value in line]
    ordered = sorted(single)
    spare = len(ordered) // OUTLIERS
    low = min([*values, *ordered[spare : spare + 1]])
    high = max([*values, *ordered[len(ordered) - 1 - spare : len(ordered) - spare]])
    step = nice_step(max(high - low, abs(high) * 0.01, 1e-6), max(2, rows // 2))
    part = step / 4
    low, high = math.floor(low / part) * part, math.ceil(high / part + 1e-9) * part
    if math.floor(high / step + 1e-9) < math.ceil(low / step - 1e-9):  # no label would fall inside
        high = math.ceil(high / step) * step
    return YAxis(low, high, step, rows * DOWN)


def y_labels(low: float, high: float, step: float, rows: int, log: bool = False) -> dict[int, str]:
    """Row -> label, at most every second row; rows count from the top. ``log``: the axis holds decimal logarithms."""
    digits = max(0, -math.floor(math.log10(step)))
    labels: dict[int, str] = {}
    for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        row = min(rows - 1, int((high - index * step) / (high - low) * rows))
        if row not in labels and row + 1 not in labels:
            labels[row] = f"{10 ** (index * step):.3g}" if log else f"{index * step:.{digits}f}"
    return labels


def x_axis(width: int, x_max: int, label: str) -> str:
    """Step numbers under the plot, each beginning under its dot, and what they count at the end."""
    cells = [" "] * width
    step = nice_step(max(1, x_max), max(1, width // CELLS_PER_X_LABEL))
    limit = width - len(label) - 1
    for index in range(int(x_max / step) + 1):
        text = number_format.short(index * step)
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
    how = [*(["log"] if chart.logarithmic else []), *([] if chart.smooth == SMOOTHINGS[0] else [_smoothing(chart)])]
    return (*runs, *([Run(f"  {', '.join(how)}", "dim")] if how else []))


def _smoothing(chart: Chart) -> str:
    return f"mean over 1/{chart.smooth}" if chart.smooth else "not smoothed"


def _logarithms(curve: Curve) -> Curve:
    return replace(curve, points=tuple((step, math.log10(low), math.log10(high)) for step, low, high in curve.points))


def line_chart(chart: Chart, width: int, height: int) -> list[Line]:
    """Legend, ``height`` - 2 rows of plot with labels on the left, and the x axis."""
    curves = [curve for curve in chart.curves if curve.points]
    rows = height - 2
    if rows < 1 or width < 20:
        return []
    if not curves:
        return [legend(chart), (Run(f" {chart.empty}", "dim"),)]
    lines = [smoothed(curve, chart.smooth) for curve in curves]
    if chart.logarithmic:  # the mean is of the losses themselves
        lines = [[(step, math.log10(value)) for step, value in line] for line in lines]
        curves = [_logarithms(curve) for curve in curves]
    scale = scale_for(lines, [value for _, *both in curves[0].points for value in both], rows)
    labels = y_labels(scale.low, scale.high, scale.step, rows, chart.logarithmic)
    margin = max(len(text) for text in labels.values()) + 1
    canvas = Canvas(width - margin - LABEL_GAP, rows)
    x_max = max(curve.last_step for curve in curves)
    draw_range(canvas, curves[0], x_max, scale, "faint")
    for at in reversed(range(len(curves))):
        draw_curve(canvas, lines[at], x_max, scale, f"series-{min(at, 3)}")
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
