"""The embedding map in braille: a colour or a mark per cell for the class that stands out in it, a cursor, arrows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

from msgspec import Struct

from middo_tui.feed.map_cells import ACROSS, DOTS, DOWN, MapCell, MapWindow
from middo_tui.feed.map_classes import MapClass
from middo_tui.feed.map_places import Point
from middo_tui.widgets.lines import Line, Lines, Run

BLANK = 0x2800
ARROWS = "→↗↑↖←↙↓↘"
"""By direction, counted from the right against the clock."""
MOST_ARROWS = 120
Glyphs = dict[tuple[int, int], tuple[str, str]]
"""(text, role) by (row, column)."""


class MapPicture(Struct, frozen=True):
    """What is drawn. ``cells``: of ``window``; ``classes``: what they are coloured by, none: faint; ``marks``: letters
    in place of dots; ``corner``: where a rectangle to the cursor begins; ``ways``: arrows from where to where.
    """

    window: MapWindow | None = None
    cells: Mapping[tuple[int, int], MapCell] = {}
    classes: tuple[MapClass, ...] = ()
    cursor: tuple[int, int] = (0, 0)
    corner: tuple[int, int] | None = None
    marks: bool = False
    ways: tuple[tuple[Point, Point], ...] = ()
    empty: str = ""


def standing_out(cell: MapCell, classes: Sequence[MapClass]) -> int:
    """The class of which the largest share of all its samples lies in the cell; of equals the last.

    The most frequent one would hide what is rare everywhere.
    """
    return max((count / classes[kind].count, kind) for kind, count in cell.counts)[1]


def map_lines(picture: MapPicture, width: int, height: int) -> list[Line]:
    """The whole picture, ``height`` rows."""
    window = picture.window
    if window is None or not (picture.cells or picture.ways):
        return [(Run(f" {picture.empty}", "dim"),)]
    glyphs = {at: _glyph(picture, cell) for at, cell in picture.cells.items()}
    if picture.ways:
        glyphs.update(arrows(picture.ways, window))
    if picture.corner is not None:
        glyphs.update(_border(picture.corner, picture.cursor))
    row, column = picture.cursor
    glyphs[row, column] = glyphs.get((row, column), (" ", ""))[0], "cursor"
    glyphs[row, column - 1], glyphs[row, column + 1] = ("▸", "key"), ("◂", "key")
    return [_row(glyphs, y, min(width, window.width)) for y in range(min(height, window.height))]


def _glyph(picture: MapPicture, cell: MapCell) -> tuple[str, str]:
    dots = chr(BLANK | cell.bits)
    if not picture.classes or picture.ways:
        return dots, "series-2"
    kind = picture.classes[standing_out(cell, picture.classes)]
    return kind.mark if picture.marks else dots, kind.role


def _row(glyphs: Glyphs, y: int, width: int) -> Line:
    found = (glyphs.get((y, x), (" ", "")) for x in range(width))
    return tuple(Run("".join(text for text, _ in run), role) for role, run in groupby(found, key=lambda one: one[1]))


def _border(one: tuple[int, int], other: tuple[int, int]) -> Glyphs:
    """The rectangle between two cells, which it includes."""
    (top, bottom), (left, right) = (sorted(pair) for pair in zip(one, other, strict=True))
    out: Glyphs = {}
    for x in range(left, right + 1):
        out[top, x] = out[bottom, x] = ("─", "decide")
    for y in range(top, bottom + 1):
        out[y, left] = out[y, right] = ("│", "decide")
    corners = ((top, left, "┌"), (top, right, "┐"), (bottom, left, "└"), (bottom, right, "┘"))
    return out | {(y, x): (sign, "decide") for y, x, sign in corners}


def arrows(ways: Sequence[tuple[Point, Point]], window: MapWindow) -> Glyphs:
    """A line for each cell in which rewritten samples began, to the mean of where they went, with an arrowhead.

    Only cells in the window; where there are many, those with the most samples.
    """
    begun: dict[tuple[int, int], list[tuple[Point, Point]]] = {}
    for way in ways:
        at = window.place(*way[0])
        if 0 <= at[0] < window.height and 0 <= at[1] < window.width:
            begun.setdefault(at, []).append(way)
    most = sorted(begun.items(), key=lambda item: (-len(item[1]), item[0]))[:MOST_ARROWS]
    bits: dict[tuple[int, int], int] = {}
    heads: Glyphs = {}
    for at, group in most:
        (x0, y0), (x1, y1) = (_mean([way[end] for way in group]) for end in (0, 1))
        goal = window.place(x1, y1)
        if goal == at:
            heads.setdefault(at, ("•", "active"))
            continue
        for dot in _line(_dot(window, x0, y0), _dot(window, x1, y1)):
            place = dot[0] // DOWN, dot[1] // ACROSS
            bits[place] = bits.get(place, 0) | DOTS[dot[0] % DOWN][dot[1] % ACROSS]
        down, right = (goal[0] - at[0]) * DOWN, (goal[1] - at[1]) * ACROSS
        heads[goal] = (ARROWS[round(math.atan2(-down, right) / (math.pi / 4)) % 8], "active-strong")
    return {place: (chr(BLANK | found), "active") for place, found in bits.items()} | heads


def _mean(points: Sequence[Point]) -> Point:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _dot(window: MapWindow, x: float, y: float) -> tuple[int, int]:
    """Row and column of a point in dots."""
    wide, high = window.cell
    return math.floor((window.box[3] - y) / high * DOWN), math.floor((x - window.box[0]) / wide * ACROSS)


def _line(begin: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots between two, both included."""
    steps = max(abs(end[0] - begin[0]), abs(end[1] - begin[1]), 1)
    return [
        (round(begin[0] + (end[0] - begin[0]) * at / steps), round(begin[1] + (end[1] - begin[1]) * at / steps))
        for at in range(steps + 1)
    ]


class MapCanvas(Lines[MapPicture]):
    """``map_lines`` as a widget; fills what it is given."""

    DEFAULT_CSS = """
    MapCanvas { height: 1fr; }
    """

    def draw(self, data: MapPicture, width: int, height: int) -> list[Line]:
        """The whole picture."""
        return map_lines(data, width, height)
