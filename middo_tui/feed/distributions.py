"""How a signal is distributed over a round's dataset, counted by the database: no numpy, and nothing is loaded.

A distribution is kept finely over its own range, so that those of several rounds can be laid over each other whatever
rounds come later.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from msgspec import Struct

from middo_tui.feed.bins import Bins

SIGNALS = ("loss_before", "loss_after", "similarity", "quality")
MADE_BY = {"loss_before": "score", "loss_after": "score", "similarity": "score", "quality": "judge"}
"""The stage after which a signal is complete."""
PARTS = 960
"""How finely a distribution is kept."""
SHOWN = 60
"""Parts of the range that the rounds share."""
QUANTILES = (0.05, 0.5, 0.95)
TAIL = 0.002
"""Share of the values at each end that the shared range may leave out, so that one outlier does not flatten it."""

# A count per part by the index' own order: several times faster than grouping, which sorts all values once more.
COUNT = """
WITH RECURSIVE part(at) AS (VALUES (0) UNION ALL SELECT at + 1 FROM part WHERE at < :last)
SELECT at, (SELECT count(*) FROM signal WHERE round = :round
  AND {signal} >= CASE at WHEN 0 THEN -9e999 ELSE :low + at * :width END
  AND {signal} < CASE at WHEN :last THEN 9e999 ELSE :low + (at + 1) * :width END) FROM part
"""


class Distribution(Struct, frozen=True):
    """One signal over one round's dataset; the quantiles are exact, ``bins`` count ``PARTS`` parts from end to end."""

    count: int
    mean: float
    low: float
    median: float
    high: float
    bins: Bins


def distribution(db: sqlite3.Connection, round: int, signal: str) -> Distribution | None:
    """One signal of one round over an index: four short queries, and one that counts. None: no sample has it."""
    where = f"FROM signal WHERE round=? AND {signal} IS NOT NULL"
    found = db.execute(f"SELECT count(*), avg({signal}), min({signal}), max({signal}) {where}", (round,)).fetchone()
    count, mean, least, most = found
    if not count:
        return None
    at = [min(count - 1, int(share * count)) for share in QUANTILES]
    sorted_ = f"SELECT {signal} {where} ORDER BY {signal} LIMIT 1 OFFSET ?"
    low, median, high = (db.execute(sorted_, (round, offset)).fetchone()[0] for offset in at)
    counts = [0.0] * PARTS
    if most > least:
        width = (most - least) / PARTS
        found = db.execute(
            COUNT.format(signal=signal), {"round": round, "low": least, "width": width, "last": PARTS - 1}
        )
        for part, n in found:
            counts[part] = float(n)
    else:
        counts[0] = float(count)
    return Distribution(count, mean, low, median, high, Bins(least, most, tuple(counts)))


def common(shapes: Mapping[int, Distribution]) -> dict[int, Bins]:
    """One signal in several rounds over ``SHOWN`` parts of one range; what lies outside counts at the ends."""
    if not shapes:
        return {}
    low = min(_tail(shape.bins, TAIL) for shape in shapes.values())
    high = max(_tail(shape.bins, 1 - TAIL) for shape in shapes.values())
    return {round: rebinned(shape.bins, low, high, SHOWN) for round, shape in shapes.items()}


def _tail(bins: Bins, share: float) -> float:
    """The edge of a part beyond which about ``share`` of the values lie (from below)."""
    target, width = sum(bins.counts) * share, (bins.high - bins.low) / len(bins.counts)
    run = 0.0
    for at, count in enumerate(bins.counts):
        run += count
        if run > target:
            return bins.low + (at if share < 0.5 else at + 1) * width
    return bins.high


def rebinned(bins: Bins, low: float, high: float, parts: int) -> Bins:
    """The same values over other parts; those outside of [``low``, ``high``] are counted in the outermost ones.

    A part that two new ones share is divided between them; a part without width (all values are one) is not.
    """
    counts = [0.0] * parts
    scale = parts / (high - low) if high > low else 0.0
    width = (bins.high - bins.low) / len(bins.counts)
    for at, count in enumerate(bins.counts):
        if not count:
            continue
        begin = _place((bins.low + at * width - low) * scale, parts)
        end = _place((bins.low + (at + 1) * width - low) * scale, parts)
        first, last = min(int(begin), parts - 1), min(int(end), parts - 1)
        if last == first or end <= begin:
            counts[first] += count
            continue
        for part in range(first, last + 1):
            counts[part] += count * (min(end, part + 1.0) - max(begin, float(part))) / (end - begin)
    return Bins(low, high, tuple(counts))


def _place(at: float, parts: int) -> float:
    """``at`` within [0, ``parts``]."""
    return max(0.0, min(float(parts), at))
