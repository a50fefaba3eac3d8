"""How the lenses of a round are distributed. For threads; every question is answered from an index."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from msgspec import Struct

from engine.store.connect import reader
from middo_tui.feed.bins import Bins
from middo_tui.feed.thresholds import PARTS, counted_bins

LENSES = ("end_of_turn", "ifd", "worst_window")
HIGH = 0.95
"""The share of samples below the line that is drawn."""
TRIM = 0.001
"""Share of the values at each end that the range leaves out, so that one of them does not flatten the rest."""


class LensShape(Struct, frozen=True):
    """A lens of a round: how many samples have it, its values, the median, what ``HIGH`` lie below, the highest."""

    name: str
    count: int
    bins: Bins | None = None
    median: float = 0.0
    high: float = 0.0
    highest: float = 0.0


def load(project: Path, round: int) -> tuple[LensShape, ...]:
    """The lenses of ``round``.

    Raises:
        StoreError: the store cannot be read.
    """
    db = reader(project)
    try:
        return tuple(_shape(db, round, name) for name in LENSES)
    finally:
        db.close()


def _shape(db: sqlite3.Connection, round: int, name: str) -> LensShape:
    among = f"FROM signal WHERE round=? AND {name} IS NOT NULL"
    count = int(db.execute(f"SELECT count(*) {among}", (round,)).fetchone()[0])
    if not count:
        return LensShape(name, 0)

    def at(share: float) -> float:
        sql = f"SELECT {name} {among} ORDER BY {name} LIMIT 1 OFFSET ?"
        return float(db.execute(sql, (round, min(count - 1, int(share * count)))).fetchone()[0])

    low, high = at(TRIM), at(1 - TRIM)
    bins = counted_bins(db, round, name, low, high, PARTS)
    return LensShape(name, count, bins, at(0.5), at(HIGH), at(1.0))
