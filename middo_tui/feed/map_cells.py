"""A window of a map as cells of the terminal: which dots of each are lit, which classes lie in it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from operator import add

from msgspec import Struct

from engine.files.embedding_map_file import STEPS, Box
from middo_tui.feed.map_places import PlacedSamples

ACROSS, DOWN = 2, 4
"""Braille dots of a cell."""
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
DEEPEST = 2_000
"""How far one can zoom in: this part of the whole axis."""

FIGURES = 6
"""Figures of an edge of a rectangle: the samples in it are those that the list will show."""


class MapCell(Struct, frozen=True):
    """A cell with samples. ``bits``: its lit braille dots; ``counts``: (class, samples), by class."""

    bits: int
    counts: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        """Samples in it."""
        return sum(count for _, count in self.counts)


class MapWindow(Struct, frozen=True):
    """A rectangle of the map, ``width`` x ``height`` cells."""

    box: Box
    width: int
    height: int

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of a cell, in units of the map."""
        left, lower, right, upper = self.box
        return (right - left) / self.width, (upper - lower) / self.height

    def moved(self, across: float, up: float) -> MapWindow:
        """So many cells to the right and up."""
        left, lower, right, upper = self.box
        x, y = self.cell[0] * across, self.cell[1] * up
        return MapWindow((left + x, lower + y, right + x, upper + y), self.width, self.height)

    def zoomed(self, factor: float, row: int, column: int) -> MapWindow:
        """The cell stays where it is, all else comes nearer by ``factor``."""
        x, y = self.center(row, column)
        left, lower, right, upper = self.box
        box = x - (x - left) / factor, y - (y - lower) / factor, x + (right - x) / factor, y + (upper - y) / factor
        return MapWindow(box, self.width, self.height)

    def kept_on(self, frame: Box) -> MapWindow:
        """Shifted to show no more beside ``frame`` than it must; ``frame`` in the middle of what is larger."""
        left, right = _kept_on(self.box[0], self.box[2], frame[0], frame[2])
        lower, upper = _kept_on(self.box[1], self.box[3], frame[1], frame[3])
        return MapWindow((left, lower, right, upper), self.width, self.height)

    def center(self, row: int, column: int) -> tuple[float, float]:
        """The middle of a cell."""
        x, y = self.cell
        return self.box[0] + (column + 0.5) * x, self.box[3] - (row + 0.5) * y

    def area(self, one: tuple[int, int], other: tuple[int, int]) -> Box:
        """The rectangle between two cells (row, column), both included."""
        x, y = self.cell
        (top, bottom), (first, last) = (sorted(pair) for pair in zip(one, other, strict=True))
        left, upper = self.box[0], self.box[3]
        return left + first * x, upper - (bottom + 1) * y, left + (last + 1) * x, upper - top * y

    def place(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of a point, which may be outside."""
        wide, high = self.cell
        return math.floor((self.box[3] - y) / high), math.floor((x - self.box[0]) / wide)


def _kept_on(low: float, high: float, least: float, greatest: float) -> tuple[float, float]:
    """A range shifted into another one, or around its middle where it is the longer one."""
    longer = high - low > greatest - least
    by = (least + greatest - low - high) / 2 if longer else max(least - low, 0.0) + min(greatest - high, 0.0)
    return low + by, high + by


def cells(
    placed: PlacedSamples, codes: bytes, window: MapWindow, only: int | None = None, every: int = 1
) -> dict[tuple[int, int], MapCell]:
    """The cells of ``window`` that hold samples. ``codes``: the class of every place; ``only``: no other is looked at.
    ``every``: of so many places that follow one another only the first is looked at, and counts for all.

    Of a crowded cell fewer dots are lit than have samples in them, those of the most: as many as the logarithm of its
    samples is of the most crowded cell's. A braille cell would else be full long before it is crowded.
    """
    left, lower, right, upper = window.box
    kinds = max(codes, default=0) + 1
    dots = window.height * DOWN
    rows = placed.rows([lower + (upper - lower) * part / dots for part in range(dots + 1)])
    keys = [row * kinds if row >= 0 else -kinds for row in rows]
    across = window.width * ACROSS
    edges = [placed.span(left, left + (right - left) * part / across)[1] for part in range(across + 1)]
    lit: dict[tuple[int, int], dict[int, int]] = {}
    classes: dict[tuple[int, int], dict[int, int]] = {}
    for x, (begin, end) in enumerate(pairwise(edges)):
        if begin == end:
            continue
        some = slice(begin + -begin % every, end, every)
        for key, found in Counter(map(add, map(keys.__getitem__, placed.y[some]), codes[some])).items():
            row, kind = divmod(key, kinds)
            if row < 0 or only not in (None, kind):
                continue
            count = found * every
            at, dot = (row // DOWN, x // ACROSS), DOTS[row % DOWN][x % ACROSS]
            if at not in lit:
                lit[at], classes[at] = {}, {}
            lit[at][dot] = lit[at].get(dot, 0) + count
            classes[at][kind] = classes[at].get(kind, 0) + count
    most = math.log1p(max((sum(found.values()) for found in classes.values()), default=1))
    return {at: _cell(lit[at], classes[at], most) for at in lit}


def _cell(lit: Mapping[int, int], classes: Mapping[int, int], most: float) -> MapCell:
    room = math.ceil(ACROSS * DOWN * math.log1p(sum(classes.values())) / most)
    brightest = sorted(lit, key=lambda dot: (-lit[dot], dot))[:room]
    return MapCell(sum(brightest), tuple(sorted(classes.items())))


def whole(placed: PlacedSamples, width: int, height: int) -> MapWindow:
    """The window that one begins with: nearly all samples."""
    return MapWindow(placed.head.frame, width, height)


def magnification(placed: PlacedSamples, window: MapWindow) -> float:
    """How much nearer than at the beginning."""
    frame = placed.head.frame
    return (frame[2] - frame[0]) / (window.box[2] - window.box[0])


def may_zoom(placed: PlacedSamples, window: MapWindow, factor: float) -> bool:
    """Whether another ``factor`` nearer (or, under 1, further) still shows something."""
    return 0.3 <= magnification(placed, window) * factor <= STEPS / DEEPEST * 10


def filter_of(area: Box) -> str:
    """The Samples screen's filter for a rectangle."""
    return "map:" + ",".join(f"{edge:.{FIGURES}g}" for edge in area)


def rounded(area: Box) -> Box:
    """The edges as ``filter_of`` writes them."""
    left, lower, right, upper = (float(f"{edge:.{FIGURES}g}") for edge in area)
    return left, lower, right, upper
