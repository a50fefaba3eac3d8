"""Charts as inline SVG: lines by round, told apart by their dashes as well as by colour. Colours are the page's CSS."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from middo_tui.report.html import Markup, tag
from middo_tui.text import number_format

WIDTH, NARROW, HEIGHT = 720, 420, 260
"""Sizes of a picture in its own pixels, which scale with the page: two narrow ones stand beside each other."""
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 12, 40
"""Room around the plot, in pixels, for the labels of the axes."""
STYLES = 6
"""Kinds of lines that the page's CSS has; more rounds share them."""
POINTS = 360
SMOOTH = 0.15
"""Weight of a new point in the running mean of a curve."""

Point = tuple[float, float]


class Line(Struct, frozen=True):
    """A named line. ``errors``: half the length of each point's error bar; empty: none, and no points are drawn."""

    name: str
    points: tuple[Point, ...]
    errors: tuple[float, ...] = ()


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers in [low, high], ``about`` so many."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    size = 10.0 ** math.floor(math.log10(span / about))
    step = next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= about)
    first = math.ceil(low / step - 1e-9)
    return [round((first + at) * step, 12) for at in range(math.floor(high / step + 1e-9) - first + 1)]


def smoothed(points: Sequence[Point]) -> tuple[Point, ...]:
    """The running mean of a curve, thinned to ``POINTS``."""
    out: list[Point] = []
    mean = points[0][1] if points else 0.0
    for x, y in points:
        mean += SMOOTH * (y - mean)
        out.append((x, mean))
    every = math.ceil(len(out) / POINTS) or 1
    return tuple(out[::every] + ([out[-1]] if len(out) % every != 1 and every > 1 else []))


def chart(lines: Sequence[Line], x_label: str, y_label: str, whole: bool = False, width: int = WIDTH) -> Markup:
    """The lines over one another, with axes and a legend. ``whole``: x counts something, and has no fractions."""
    drawn = [line for line in lines if line.points]
    if not drawn:
        return tag("p", "Nothing was measured.", class_="dim")
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y + sign * e for line in drawn for (_, y), e in _with_errors(line) for sign in (-1, 1)]
    frame = _Frame(min(xs), max(xs), min(ys), max(ys), width)
    axes = _axes(frame, x_label, y_label, whole)
    body = [shape for at, line in enumerate(drawn) for shape in _line(frame, line, at % STYLES)]
    size = f"0 0 {width} {HEIGHT}"
    picture = tag("svg", *axes, *body, viewBox=size, role="img", aria_label=f"{y_label} by {x_label}")
    if len(drawn) == 1:
        return tag("figure", picture)
    keys = (tag("li", _sample(at % STYLES), line.name) for at, line in enumerate(drawn))
    return tag("figure", picture, tag("ul", *keys, class_="legend"))


class _Frame:
    """Where a value lies in the picture."""

    def __init__(self, left: float, right: float, low: float, high: float, width: int) -> None:
        self.end = width - RIGHT
        gap = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        self.left, self.right = (left, right) if right > left else (left - 0.5, right + 0.5)
        self.low, self.high = low - gap, high + gap

    def x(self, value: float) -> float:
        return LEFT + (value - self.left) / (self.right - self.left) * (self.end - LEFT)

    def y(self, value: float) -> float:
        return TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def _with_errors(line: Line) -> zip[tuple[Point, float]]:
    return zip(line.points, line.errors or (0.0,) * len(line.points), strict=True)


def _axes(frame: _Frame, x_label: str, y_label: str, whole: bool) -> list[Markup]:
    out = []
    for value in ticks(frame.low, frame.high):
        y = frame.y(value)
        out.append(tag("line", x1=LEFT, x2=frame.end, y1=y, y2=y, class_="grid"))
        out.append(tag("text", number_format.short(value), x=LEFT - 8, y=y + 4, class_="tick end"))
    for value in ticks(frame.left, frame.right, 8):
        if not whole or value == int(value):
            x, y = frame.x(value), HEIGHT - BOTTOM + 18
            out.append(tag("text", number_format.short(value), x=x, y=y, class_="tick mid"))
    out.append(tag("text", x_label, x=(LEFT + frame.end) / 2, y=HEIGHT - 4, class_="tick mid"))
    out.append(tag("text", y_label, x=LEFT, y=TOP - 1, class_="tick"))
    return out


def _line(frame: _Frame, line: Line, style: int) -> list[Markup]:
    places = [(frame.x(x), frame.y(y)) for x, y in line.points]
    out = [tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_=f"line c{style}")]
    if not line.errors:
        return out
    for (x, y), error in _with_errors(line):
        low, high = frame.y(y - error), frame.y(y + error)
        out.append(tag("line", x1=frame.x(x), x2=frame.x(x), y1=low, y2=high, class_=f"bar c{style}"))
        out.append(tag("circle", cx=frame.x(x), cy=frame.y(y), r=4, class_=f"dot c{style}"))
    return out


def _sample(style: int) -> Markup:
    """A piece of a line for the legend."""
    line = tag("line", x1=0, x2=28, y1=5, y2=5, class_=f"line c{style}")
    return tag("svg", line, viewBox="0 0 28 10", class_="key", aria_hidden="true")
