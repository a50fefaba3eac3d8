"""A line chart in braille dots, two by four to a cell: this round's curve over the earlier ones.

A batch's loss says as much about the batch as about the model, so a curve is its running mean, and only the present
one's single losses lie faintly behind it: minimum and maximum of each dot column. Both are pure functions of the
points, and what was drawn stays where it is as the curve grows. Rows that did not change are not repainted; 2.5 KB/s
at 2 Hz where a sparkline costs 18 and plotext 11.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from middo_tui.feed.view import Curve
from middo_tui.text import number_format
from middo_tui.widgets.braille import ACROSS, DOWN, SERIES_MARKS, Canvas, Place, columns, draw_curve, series
from middo_tui.widgets.chart_view import SMOOTHINGS, AxisScale, ChartView
from middo_tui.widgets.lines import Line, Lines, Run, width_of

LABEL_GAP = 2
CELLS_PER_X_LABEL = 12
ROWS_PER_LABEL = 2
OUTLIERS = 50
"""One in so many single losses may lie outside the picture, above and below: one spike must not flatten the curve."""
TO_AXIS: dict[AxisScale, Callable[[float], float]] = {"linear": float, "log": math.log10, "sqrt": math.sqrt}
FROM_AXIS: dict[AxisScale, Callable[[float], float]] = {
    "linear": float,
    "log": lambda value: 10.0**value,
    "sqrt": lambda value: value * abs(value),
}


class Chart(Struct, frozen=True):
    """What is drawn. ``curves``: the present one first, then earlier ones. The x axis counts from ``zero`` in units of
    ``per`` steps. ``roles``: the curves' colours, where they are not those of rounds. ``bounds``: of a linear y axis.
    """

    title: str
    curves: tuple[Curve, ...]
    x_label: str = "step"
    empty: str = ""
    view: ChartView = ChartView()
    zero: int = 0
    per: float = 1.0
    roles: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None

    def role(self, at: int) -> str:
        """The colour of curve ``at``."""
        return self.roles[at] if at < len(self.roles) else f"series-{series(at)}"

    @property
    def scale(self) -> AxisScale:
        """The y axis: linear where a value has no logarithm or root."""
        least = min((low for curve in self.curves for _, low, _ in curve.points), default=0.0)
        possible = least > 0 if self.view.scale == "log" else least >= 0
        return self.view.scale if possible else "linear"

    @property
    def last(self) -> int:
        """The last step of all curves."""
        return max((curve.last_step for curve in self.curves), default=0)

    @property
    def newest(self) -> int:
        """The newest step that the present curve has."""
        return next((curve.points[-1][0] for curve in self.curves if curve.points), 0)

    def moved(self, cells: int, width: int) -> ChartView:
        """With the cursor ``cells`` further right, in a chart that is ``width`` cells wide."""
        longest = max((curve.points[-1][0] for curve in self.curves if curve.points), default=0)
        return self.view.moved(cells, width, self.last, self.newest, longest)

    def zoomed(self, by: int) -> ChartView:
        """Nearer or further."""
        return self.view.zoomed(by, self.last, self.newest)


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


def draw_range(canvas: Canvas, curve: Curve, window: Place, scale: YAxis, role: str) -> None:
    """Single values as dots; where a dot column holds several, the least and the greatest of them."""
    for x, low, high in columns(curve.points, canvas.width * ACROSS, window[1], window[0]):
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
    step = nice_step(max(high - low, abs(high) * 0.01, 1e-6) if high or low else 1.0, max(2, rows // 2))
    part = step / 4
    low, high = math.floor(low / part) * part, math.ceil(high / part + 1e-9) * part
    if math.floor(high / step + 1e-9) < math.ceil(low / step - 1e-9):  # no label would fall inside
        high = math.ceil(high / step) * step
    return YAxis(low, high, step, rows * DOWN)


def y_labels(low: float, high: float, step: float, rows: int, scale: AxisScale = "linear") -> dict[int, str]:
    """Row -> label, at most every second row; rows count from the top. ``scale``: what the axis' values stand for."""
    to = TO_AXIS[scale]
    found = _multiples(low, high, step) if scale == "linear" else _round_values(low, high, rows, scale)
    labels: dict[int, str] = {}
    for value, text in found:
        row = max(0, min(rows - 1, int((high - to(value)) / (high - low) * rows)))
        if row not in labels and row + 1 not in labels:
            labels[row] = text
    return labels


def _multiples(low: float, high: float, step: float) -> list[tuple[float, str]]:
    """Every multiple of ``step`` between two values, and how it is written."""
    digits = max(0, -math.floor(math.log10(step)))
    indexes = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(index * step, f"{index * step:,.{digits}f}") for index in indexes]


def _round_values(low: float, high: float, rows: int, scale: AxisScale) -> list[tuple[float, str]]:
    """Round values for an axis that is not linear, ``low`` and ``high`` in the axis' own units.

    A logarithmic one has 1, 2 and 5 times the powers of ten, or as few powers as there is room for; where its range is
    narrow, and on an axis of square roots, they are multiples of a round step.
    """
    if scale == "log":
        apart = max(1, math.ceil(ROWS_PER_LABEL * (high - low) / rows))  # powers of ten from label to label
        near = (high - low) * ROWS_PER_LABEL <= math.log10(2) * rows
        powers = range(math.floor(low), math.ceil(high) + 1)
        found = [by * 10.0**power for power in powers if power % apart == 0 for by in ((1, 2, 5) if near else (1,))]
        found = [value for value in found if low - 1e-9 <= math.log10(value) <= high + 1e-9]
        if len(found) > 1:
            return [(value, f"{value:.3g}") for value in found]
    least, greatest = FROM_AXIS[scale](low), FROM_AXIS[scale](high)
    steps = (nice_step(greatest - least, most) for most in (max(2, rows // ROWS_PER_LABEL), 10))
    return next(filter(None, (_multiples(max(least, 0.0), greatest, step) for step in steps)), [])


def x_axis(width: int, window: Place, label: str, zero: int = 0, per: float = 1.0) -> str:
    """Step numbers under the plot, each beginning under its dot, and what they count at the end."""
    cells = [" "] * width
    low, high = ((x - zero) / per for x in window)
    span = max(1, high - low)
    step = max(1, nice_step(span, max(1, width // CELLS_PER_X_LABEL)))
    limit = width - len(label) - 1
    for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        text = number_format.short(index * step).replace("-", "−")
        at = int((index * step - low) * (width - 1) / span)
        if at + len(text) < limit:
            cells[at : at + len(text)] = text
    cells[width - len(label) :] = label
    return "".join(cells)


def value_at(line: Sequence[tuple[int, float]], step: int) -> float | None:
    """What a line shows at a step; None before it begins and after it ends."""
    at = bisect_right(line, step, key=lambda point: point[0])
    return line[at - 1][1] if line and line[0][0] <= step <= line[-1][0] else None


def legend(chart: Chart, width: int, lines: Sequence[Sequence[tuple[int, float]]] = ()) -> Line:
    """Title and the curves' names with the line that stands for each; with a cursor its step, and their values there.

    In fewer words where they would not fit.
    """
    cursor = chart.view.cursor
    values = ["" if cursor is None else f" {_value(line, cursor)}" for line in lines] or [""] * len(chart.curves)
    named = list(zip(chart.curves, values, strict=False))
    place = "" if cursor is None else number_format.short((cursor - chart.zero) / chart.per).replace("-", "−")
    step = "" if cursor is None else f"  {chart.x_label} {place}"
    title = [Run(f" {chart.title}", "strong"), *([Run(step)] if step else [])]
    roles = [chart.role(at) for at in range(len(named))]
    marks = [SERIES_MARKS[series(at)] for at in range(len(named))]
    alone = len(named) == 1 and bool(named[0][0].name)
    long = [
        f"  {'' if alone else f'{name_of(c)} '}{mark}{value}" for (c, value), mark in zip(named, marks, strict=True)
    ]
    short = [f"  {mark_of(c)}{mark}{value.strip()}" for (c, value), mark in zip(named, marks, strict=True)]
    how, briefly = _how(chart, False), _how(chart, True)
    shorter = (
        (title, long, how),
        (title, short, how),
        (title, short, briefly),
        (title, short, ""),
        (title[:1], short, ""),
    )
    for begin, names, said in (*shorter, (title[:1], short[:1], "")):
        runs = [*begin, *map(Run, names, roles), *([Run(f"  {said}", "dim")] if said else [])]
        if width_of(tuple(runs)) <= width:
            break
    return tuple(runs)


def name_of(curve: Curve) -> str:
    """``round 2``, or the curve's own name."""
    return curve.name or f"round {curve.round}"


def mark_of(curve: Curve) -> str:
    """``2``, or the curve's own letter: what stands at its end."""
    return curve.mark or str(curve.round)


def _value(line: Sequence[tuple[int, float]], cursor: int) -> str:
    value = value_at(line, cursor)
    return number_format.NONE if value is None else number_format.short(value)


def _how(chart: Chart, briefly: bool) -> str:
    """What is unusual about the picture."""
    smooth = chart.view.smooth
    said: list[str] = [chart.scale] if chart.scale != "linear" else []
    if smooth != SMOOTHINGS[0]:
        words = f"mean over 1/{smooth}" if smooth else "not smoothed"
        said.append((f"1/{smooth}" if smooth else "raw") if briefly else words)
    return ", ".join([*said, *([f"×{2**chart.view.zoom}"] if chart.view.zoom else [])])


def _scaled(curve: Curve, scale: AxisScale) -> Curve:
    to = TO_AXIS[scale]
    return replace(curve, points=tuple((step, to(low), to(high)) for step, low, high in curve.points))


def line_chart(chart: Chart, width: int, height: int) -> list[Line]:
    """Legend, ``height`` - 2 rows of plot with labels on the left, and the x axis."""
    curves = [curve for curve in chart.curves if curve.points]
    chart, rows = replace(chart, curves=tuple(curves)), height - 2
    if rows < 1 or width < 20:
        return []
    if not curves:
        return [legend(chart, width), (Run(f" {chart.empty}", "dim"),)]
    lines = [smoothed(curve, chart.view.smooth) for curve in curves]
    head, to = legend(chart, width, lines), TO_AXIS[chart.scale]
    lines = [[(step, to(value)) for step, value in line] for line in lines]  # the mean is of the values themselves
    first, window = _scaled(curves[0], chart.scale), chart.view.window(chart.last)
    if chart.bounds is not None and chart.scale == "linear":
        span = chart.bounds[1] - chart.bounds[0]
        scale = YAxis(*chart.bounds, nice_step(span, max(2, rows // 2)), rows * DOWN)
    else:
        scale = scale_within(lines, first.points, window, rows)
    labels = y_labels(scale.low, scale.high, scale.step, rows, chart.scale)
    margin = max((len(text) for text in labels.values()), default=0) + 1
    gutter = max(len(mark_of(curve)) for curve in curves) + 1 if len(curves) > 1 else 0
    canvas = Canvas(width - margin - LABEL_GAP - gutter, rows, gutter)
    draw_range(canvas, first, window, scale, "faint")
    _draw_cursor(canvas, chart.view.cursor, window)
    indexes = range(len(curves))
    drawn = {at: draw_curve(canvas, lines[at], window, scale, at, chart.role(at)) for at in reversed(indexes)}
    for at in indexes if gutter else ():  # the present one's label takes its place first
        if (end := drawn[at]) is not None:
            canvas.label(end[1] // DOWN, end[0] // ACROSS + 1, mark_of(curves[at]), chart.role(at))
    plot = [(_label(labels.get(y, ""), margin), *canvas.row(y)) for y in range(rows)]
    axis = x_axis(canvas.width, window, chart.x_label, chart.zero, chart.per)
    return [head, *plot, (Run(" " * (margin + LABEL_GAP) + axis, "dim"),)]


def scale_within(
    lines: Sequence[Sequence[tuple[int, float]]], single: Sequence[tuple[int, float, float]], window: Place, rows: int
) -> YAxis:
    """The axis for what lies in the window; for all of it where nothing does. It moves seldom: less is repainted."""
    near = [[(step, value) for step, value in line if window[0] <= step <= window[1]] for line in lines]
    beside = [value for step, *both in single if window[0] <= step <= window[1] for value in both]
    if not any(near):
        near, beside = [list(line) for line in lines], []
    return scale_for(near, beside, rows)


def _draw_cursor(canvas: Canvas, cursor: int | None, window: Place) -> None:
    """A vertical line behind the curves."""
    if cursor is not None:
        for x, _, _ in columns([(cursor, 0.0, 0.0)], canvas.width * ACROSS, window[1], window[0]):
            canvas.column(x, 0, canvas.height * DOWN - 1, "strong")


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
