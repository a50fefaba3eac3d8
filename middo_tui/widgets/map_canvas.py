"""The embedding map in braille: a colour or a mark per cell for the class that stands out in it, a cursor, arrows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

from msgspec import Struct
from textual.message import Message

from middo_tui.feed.map_cells import ACROSS, DOTS, DOWN, MapCell, MapWindow
from middo_tui.feed.map_classes import MapClass
from middo_tui.feed.map_places import Point
from middo_tui.widgets.lines import Line, Lines, Run

BLANK = 0x2800
ARROWS = "→↗↑↖←↙↓↘"
"""By direction, counted from the right against the clock."""
MOST_ARROWS = 120
FEW = 8
"""Samples of a cell whose dots can be told apart: each of them may give it its colour."""
CHANCE = 2.0
"""Standard deviations."""
MIXED = MapClass("~", "mixed: none stands out", "series-1", 0)
SEEN_ON_A_GAP = ("cursor",)
"""Roles with a background."""
Glyphs = dict[tuple[int, int], tuple[str, str]]
"""(text, role) by (row, column)."""


class MapPicture(Struct, frozen=True):
    """What is drawn. ``glyphs``: of ``window``, see ``glyphs_of`` and ``arrows``; ``corner``: where a rectangle to the
    cursor begins; ``empty``: what is said where there is nothing.
    """

    window: MapWindow | None = None
    glyphs: Mapping[tuple[int, int], tuple[str, str]] = {}
    cursor: tuple[int, int] = (0, 0)
    corner: tuple[int, int] | None = None
    empty: str = ""


def standing_out(cell: MapCell, classes: Sequence[MapClass]) -> int | None:
    """The class that stands out in a cell: the largest share of all its samples lies there; of equals the last.

    The most frequent one would hide what is rare everywhere. In a crowded cell it must be more than chance brings there
    (two standard deviations); else it is the one of more than half of the samples, or (None) none.
    """
    total, everybody = cell.total, sum(one.count for one in classes)
    found = [(count / classes[kind].count, kind) for kind, count in cell.counts]
    if total > FEW:
        expected = {kind: total * classes[kind].count / everybody for kind, _ in cell.counts}
        beyond = {kind for kind, count in cell.counts if count > expected[kind] + CHANCE * math.sqrt(expected[kind])}
        found = [one for one in found if one[1] in beyond]
        if not found:
            return next((kind for kind, count in cell.counts if count * 2 > total), None)
    return max(found)[1]


def glyphs_of(cells: Mapping[tuple[int, int], MapCell], classes: Sequence[MapClass], marks: bool) -> Glyphs:
    """Every cell in the colour of the class that stands out, as dots or (``marks``) as its letter. Without classes:
    dots alone.
    """
    out: Glyphs = {}
    for at, cell in cells.items():
        dots = chr(BLANK | cell.bits)
        kind = standing_out(cell, classes) if classes else None
        role = "series-1" if kind is None else classes[kind].role
        mark = MIXED.mark if kind is None else classes[kind].mark
        out[at] = mark if marks and classes else dots, role
    return out


def map_lines(picture: MapPicture, width: int, height: int, plain: Sequence[Line] = ()) -> list[Line]:
    """The whole picture, ``height`` rows. ``plain``: the same without cursor and rectangle, where that is at hand."""
    window = picture.window
    if window is None or not picture.glyphs:
        return [(Run(f" {picture.empty}", "dim"),)]
    lines = list(plain or plain_lines(picture.glyphs, window, width, height))
    row, column = picture.cursor
    border = {} if picture.corner is None else _border(picture.corner, picture.cursor)
    glyphs = {**picture.glyphs, **border}
    glyphs[row, column] = glyphs.get((row, column), (" ", ""))[0], "cursor"
    glyphs[row, column - 1], glyphs[row, column + 1] = ("▸", "key"), ("◂", "key")
    for y in {row, *(y for y, _ in border)}:
        if 0 <= y < len(lines):
            lines[y] = _row(glyphs, y, min(width, window.width))
    return lines


def plain_lines(glyphs: Mapping[tuple[int, int], tuple[str, str]], window: MapWindow, w: int, h: int) -> list[Line]:
    """The map alone, ``w`` x ``h`` cells."""
    return [_row(glyphs, y, min(w, window.width)) for y in range(min(h, window.height))]


def _row(glyphs: Mapping[tuple[int, int], tuple[str, str]], y: int, width: int) -> Line:
    """A gap has the look of what is before it: it is not seen, and every change of it is 20 bytes on the line."""
    found, before = [], ""
    for x in range(width):
        text, role = glyphs.get((y, x), (" ", before))
        found.append((text, role))
        before = role if role not in SEEN_ON_A_GAP else ""
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


class CanvasResized(Message):
    """There is another number of cells: the terminal's size has changed, or the legend needs more rows."""


class MapCanvas(Lines[MapPicture]):
    """``map_lines`` as a widget; fills what it is given."""

    DEFAULT_CSS = """
    MapCanvas { height: 1fr; }
    """

    _plain: tuple[object, int, int, list[Line]] = (None, 0, 0, [])

    def draw(self, data: MapPicture, width: int, height: int) -> list[Line]:
        """The whole picture. A cursor that moves makes only its own rows anew."""
        glyphs, wide, high, plain = self._plain
        if data.window is not None and (glyphs is not data.glyphs or (wide, high) != (width, height)):
            plain = plain_lines(data.glyphs, data.window, width, height)
            self._plain = data.glyphs, width, height, plain
        return map_lines(data, width, height, plain)

    def on_resize(self) -> None:
        """Say so: what is drawn depends on the number of cells."""
        self.post_message(CanvasResized())
