"""Small charts side by side under one range of steps: gradient norm, learning rate, speed, and what the machine does.

Each has a line of words (the newest value, or the one under the cursor) and a few rows of dots; no axis but the least
and the greatest value at the end of the words, where there is room.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from middo_tui.feed.view import Series
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.widgets.braille import ACROSS, DOWN, SERIES_MARKS, Canvas, Place, draw_area, draw_curve, series
from middo_tui.widgets.chart_view import ChartView
from middo_tui.widgets.line_chart import YAxis, mark_of, scale_within, smoothed, value_at
from middo_tui.widgets.lines import Line, Lines, Run, beside, justified, width_of

TITLES = {
    "grad_norm": "grad norm",
    "learning_rate": "learning rate",
    "tokens_per_s": "tokens/s",
    "use": "use %",
    "memory": "mem %",
}
MACHINE = frozenset({"use", "memory"})
"""What lies over time and between 0 and 100 %."""
NOISY = frozenset({"grad_norm", "tokens_per_s"})
"""What is smoothed as the loss is."""
LEAST, MOST = 24, 60
"""Cells of one chart."""
GAP = 2


class Multiples(Struct, frozen=True):
    """``view``: how the steps are looked at; the machine's time has no zoom and no cursor here. ``live``: it is of now,
    not of the last run.
    """

    series: tuple[Series, ...] = ()
    view: ChartView = ChartView()
    live: bool = True


def title_of(one: Series, live: bool = True) -> str:
    """What it is called; the machine's by its device where there is one. ``live``: it is of now."""
    title = TITLES.get(one.name, one.name)
    if one.name not in MACHINE:
        return title
    device = " ".join(one.curves[0].name.split()[:2]) if len(one.curves) == 1 else "GPU"  # without the model
    title = "RAM %" if device == "CPU" and one.name == "memory" else f"{device} {title}"
    return title if live else f"last run: {title}"


def multiples(data: Multiples, width: int, height: int) -> list[Line]:
    """As many charts as there is room for, the most important first."""
    several = min(len(data.series), max(1, (width + GAP) // (LEAST + GAP)))
    if height < 2 or not data.series:
        return []
    each = min(MOST, (width - 1 - GAP * (several - 1)) // several)
    charts = [_chart(one, data, each, height) for one in data.series[:several]]
    return [(Run(" "), *row) for row in beside(charts, each, height, GAP)]


def _chart(one: Series, data: Multiples, width: int, height: int) -> list[Line]:
    machine, view = one.name in MACHINE, data.view
    lines = [smoothed(curve, view.smooth if one.name in NOISY else 0) for curve in one.curves]
    window = _window(one, view, width)
    scale = YAxis(0.0, 100.0, 1.0, (height - 1) * DOWN) if machine else scale_within(lines, (), window, height - 1)
    canvas = Canvas(width, height - 1)
    if machine and len(lines) == 1:
        draw_area(canvas, lines[0], window, scale, "series-0")
    else:
        for at in reversed(range(len(lines))):
            draw_curve(canvas, lines[at], window, scale, at, f"series-{series(at)}")
    cursor = None if machine else view.cursor
    return [_words(one, title_of(one, data.live), lines, cursor, width), *map(canvas.row, range(height - 1))]


def _window(one: Series, view: ChartView, width: int) -> Place:
    last = max(curve.last_step for curve in one.curves)
    if one.name not in MACHINE:
        return view.window(last)
    return max(0, last - width * ACROSS + 1), last  # a part of time is one dot wide: the picture moves by whole dots


def _words(
    one: Series, title: str, lines: Sequence[Sequence[tuple[int, float]]], cursor: int | None, width: int
) -> Line:
    """``grad norm 0.81``; under a cursor, and for several devices, each curve with its mark; then its range."""
    shown = [line[-1][1] if cursor is None else value_at(line, cursor) for line in lines]
    marked = len(lines) > 1 and (cursor is not None or one.name in MACHINE)
    left = [Run(guard.fit(title, width).rstrip(), "dim")]
    for at, (curve, value) in enumerate(zip(one.curves, shown, strict=True)):
        if value is not None and (marked or at == 0):
            mark = f"{mark_of(curve)}{SERIES_MARKS[series(at)]}" if marked else ""
            left.append(Run(f" {mark}{_figure(value)}", f"series-{series(at)}" if marked else ""))
    while width_of(tuple(left)) > width and len(left) > 1:
        left.pop()
    if one.name in MACHINE:
        return tuple(left)
    values = [value for line in lines for _, value in line]
    return justified(tuple(left), (Run(f"{_figure(min(values))}–{_figure(max(values))}", "dim"),), width)


def _figure(value: float) -> str:
    return f"{value:.1e}".replace("e-0", "e-") if 0 < abs(value) < 0.001 else number_format.short(value)


class SmallMultiples(Lines[Multiples]):
    """``multiples`` as a widget."""

    DEFAULT_CSS = """
    SmallMultiples { height: 6; }
    """

    def draw(self, data: Multiples, width: int, height: int) -> list[Line]:
        """A row of charts."""
        return multiples(data, width, height)
