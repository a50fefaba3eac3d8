"""Where rewritten samples went on the map from one round to the next, less what the model itself moved. For threads.

Each round embeds with its own model, which moves everybody, rewritten or not. What it did to the samples that nobody
touched is fitted (an affine map, least squares) and done to the old places first; what is left is the rewriting.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from statistics import median

from msgspec import Struct

from engine.errors import UsageError
from middo_tui.feed.map_places import PlacedSamples, Point

MOVED = (
    "SELECT id, parent_id FROM sample WHERE born_round=? AND parent_id IS NOT NULL AND coalesce(axis, '')<>'diversity'"
)
UNTOUCHED = 2_000
"""Samples that were not rewritten whose way is looked at."""
LEAST = 8
"""Fewer of them tell nothing about the model."""
FLAT = 1e-12
Way = tuple[Point, Point]


class Moves(Struct, frozen=True):
    """``ways``: of each rewritten sample where its original would lie by now, and where it lies. ``rewritten``: their
    median length; ``model``: the median way of what nobody rewrote; ``noise``: what of that the fit does not explain.
    """

    ways: tuple[Way, ...] = ()
    rewritten: float = 0.0
    model: float = 0.0
    noise: float = 0.0


def moves(db: sqlite3.Connection, before: PlacedSamples, after: PlacedSamples) -> Moves:
    """What the merge before round ``after.round`` moved.

    Raises:
        UsageError: the two maps have different axes.
    """
    if (before.head.space, before.head.basis_round) != (after.head.space, after.head.basis_round):
        raise UsageError(f"The maps of rounds {before.round} and {after.round} have different axes: no way is known.")
    stayed = after.points(after.ids[:: max(1, len(after.ids) // UNTOUCHED)])
    was = before.points(stayed)
    untouched = [(was[id], stayed[id]) for id in was]
    drift = fitted(untouched)
    pairs = [(int(id), int(parent)) for id, parent in db.execute(MOVED, (after.round,))]
    there, came = before.points(parent for _, parent in pairs), after.points(id for id, _ in pairs)
    ways = tuple((drift.of(there[parent]), came[id]) for id, parent in pairs if parent in there and id in came)
    left = [(drift.of(begin), end) for begin, end in untouched]
    return Moves(ways, _middle(ways), _middle(untouched), _middle(left))


class Affine(Struct, frozen=True):
    """``x' = a x + b y + c`` with ``across`` = (a, b, c), and ``up`` alike for y."""

    across: tuple[float, float, float] = (1.0, 0.0, 0.0)
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def of(self, point: Point) -> Point:
        """Where a point goes."""
        (a, b, c), (d, e, f), (x, y) = self.across, self.up, point
        return a * x + b * y + c, d * x + e * y + f


def fitted(ways: Sequence[Way]) -> Affine:
    """The affine map that leaves the least squares between where ``ways`` end and where it takes their beginnings.

    Without enough ways, or with all on a line: nothing moves.
    """
    count = len(ways)
    if count < LEAST:
        return Affine()
    mean_x, mean_y = (sum(begin[axis] for begin, _ in ways) / count for axis in (0, 1))
    centred = [((begin[0] - mean_x, begin[1] - mean_y), end) for begin, end in ways]
    xx = sum(x * x for (x, _), _ in centred)
    xy = sum(x * y for (x, y), _ in centred)
    yy = sum(y * y for (_, y), _ in centred)
    whole = xx * yy - xy * xy
    if whole <= FLAT * max(xx, yy, FLAT) ** 2:
        return Affine()
    found = []
    for axis in (0, 1):
        xg = sum(x * end[axis] for (x, _), end in centred)
        yg = sum(y * end[axis] for (_, y), end in centred)
        a, b = (xg * yy - yg * xy) / whole, (yg * xx - xg * xy) / whole
        middle = sum(end[axis] for _, end in ways) / count
        found.append((a, b, middle - a * mean_x - b * mean_y))
    return Affine(*found)


def _middle(ways: Iterable[Way]) -> float:
    found = [((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5 for (x0, y0), (x1, y1) in ways]
    return median(found) if found else 0.0
