"""Curves in braille dots, two by four to a cell, for charts of any size.

Series are told apart by how they are drawn as well as by colour: the first is a whole line, the second is dashed, the
next ones are dotted more and more widely.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

from middo_tui.widgets.lines import Line, Run

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
BLANK = 0x2800
ACROSS, DOWN = 2, 4
SERIES_MARKS = ("━", "╌", "┈", "·")
"""What stands for each series in a legend."""
PATTERNS = ((1,), (1, 1, 1, 1, 0, 0), (1, 0, 0), (1, 0, 0, 0, 0, 0))
"""Which dot columns of a series are drawn, repeated."""

HELD = 10
"""Dot columns for which an area keeps the value of its last point."""

Place = tuple[float, float]
"""The least and greatest x of a picture."""


class Scale(Protocol):
    """Where a value lies."""

    def dot(self, value: float) -> int:
        """Dots from the top."""


def series(at: int) -> int:
    """Which look the series ``at`` has: the last ones share one."""
    return min(at, len(PATTERNS) - 1)


class Canvas:
    """Dots of ``width`` x ``height`` cells, and ``gutter`` cells for text on the right of them. Later drawing lies
    over earlier drawing.
    """

    def __init__(self, width: int, height: int, gutter: int = 0) -> None:
        self.width, self.height, self.gutter = width, height, gutter
        self._bits = [[0] * width for _ in range(height)]
        self._top = [[""] * width for _ in range(height)]
        self._text: dict[tuple[int, int], tuple[str, str]] = {}

    def column(self, x: int, y_from: int, y_to: int, role: str) -> None:
        """A vertical stroke of dots, both ends included; (0, 0) is the upper left dot.

        A cell has one colour: what another role had drawn in it goes, so that a line stays as thin as it is.
        """
        for y in range(min(y_from, y_to), max(y_from, y_to) + 1):
            row, cell = y // DOWN, x // ACROSS
            if self._top[row][cell] != role:
                self._top[row][cell], self._bits[row][cell] = role, 0
            self._bits[row][cell] |= DOTS[y % DOWN][x % ACROSS]

    def label(self, row: int, cell: int, text: str, role: str) -> None:
        """``text`` of one-cell characters over the dots, in the nearest row that has no other label there.

        Nor right beside it, where two numbers would read as one.
        """
        cell = max(0, min(cell, self.width + self.gutter - len(text)))
        for near in sorted(range(self.height), key=lambda y: (abs(y - row), y)):
            places = [(near, cell + at) for at in range(len(text))]
            if not any((near, cell + at) in self._text for at in range(-1, len(text) + 1)):
                self._text |= {place: (character, role) for place, character in zip(places, text, strict=True)}
                return

    def row(self, y: int) -> Line:
        """Row ``y``, neighbouring cells of one role as one run."""
        dots = zip(self._bits[y], self._top[y], strict=True)
        cells = [(chr(BLANK | bits) if bits else " ", role) for bits, role in dots] + [(" ", "")] * self.gutter
        cells = [self._text.get((y, at), cell) for at, cell in enumerate(cells)]
        return tuple(
            Run("".join(character for character, _ in group), role)
            for role, group in groupby(cells, key=lambda cell: cell[1])
        )


def columns(
    points: Sequence[tuple[int, float, float]], width: int, x_max: float, x_min: float = 0
) -> list[tuple[int, float, float]]:
    """(dot column, lowest, highest) of every dot column that has a point within [``x_min``, ``x_max``]."""
    out: list[tuple[int, float, float]] = []
    scale = (width - 1) / max(1, x_max - x_min)
    for x, low, high in points:
        if not x_min <= x <= x_max:
            continue
        at = min(width - 1, int((x - x_min) * scale))
        if out and out[-1][0] == at:
            out[-1] = (at, min(out[-1][1], low), max(out[-1][2], high))
        else:
            out.append((at, low, high))
    return out


def draw_curve(
    canvas: Canvas, points: Sequence[tuple[int, float]], window: Place, scale: Scale, at: int, role: str
) -> tuple[int, int] | None:
    """A line through the points, as series ``at`` is drawn: a stroke per dot column, joined to the one before so that
    it has no holes of its own. Returns the dot where it ends; None: no point of it is in the picture.
    """
    pattern = PATTERNS[series(at)]

    def stroke(x: int, y_from: int, y_to: int) -> None:
        if pattern[x % len(pattern)]:
            canvas.column(x, y_from, y_to, role)

    before: tuple[int, int] | None = None
    dots = canvas.width * ACROSS
    for x, low, high in columns([(step, value, value) for step, value in points], dots, window[1], window[0]):
        y = scale.dot((low + high) / 2)
        if before is None:
            stroke(x, y, y)
        else:
            x0, y0 = before
            for between in range(x0 + 1, x):
                middle = round(y0 + (y - y0) * (between - x0) / (x - x0))
                stroke(between, middle, middle)
            near = y0 if x - x0 == 1 else y
            stroke(x, y if near == y else near + (1 if y > near else -1), y)
        before = (x, y)
    return before


def draw_area(canvas: Canvas, points: Sequence[tuple[int, float]], window: Place, scale: Scale, role: str) -> None:
    """Every dot below the points. A value holds until the next one, over at most ``HELD`` dot columns."""
    dots = [(step, value, value) for step, value in points]
    held: tuple[int, float] | None = None
    for x, _, high in columns(dots, canvas.width * ACROSS, window[1], window[0]):
        if held is not None and x - held[0] <= HELD:
            for between in range(held[0] + 1, x):
                canvas.column(between, scale.dot(held[1]), canvas.height * DOWN - 1, role)
        canvas.column(x, scale.dot(high), canvas.height * DOWN - 1, role)
        held = (x, high)
