"""Loss curves of any length in bounded memory: buckets of 2^n steps that hold the least and the greatest loss.

A bucket's place depends on the step alone, so the curve is the same whenever and however often it was read.
"""

from __future__ import annotations

import sqlite3

from middo_tui.feed.view import Curve, Training

MOST_BUCKETS = 2048


class Buckets:
    """Losses by step; halves its resolution when it would hold more than ``most`` buckets."""

    def __init__(self, most: int = MOST_BUCKETS) -> None:
        self.most = most
        self.stride = 1
        self._held: dict[int, tuple[float, float]] = {}

    def add(self, step: int, loss: float) -> None:
        """One logged step, in any order."""
        self._merge(step // self.stride, loss, loss)
        while len(self._held) > self.most:
            self.stride *= 2
            old, self._held = self._held, {}
            for bucket, (low, high) in old.items():
                self._merge(bucket // 2, low, high)

    def _merge(self, bucket: int, low: float, high: float) -> None:
        if (there := self._held.get(bucket)) is not None:
            low, high = min(low, there[0]), max(high, there[1])
        self._held[bucket] = (low, high)

    def points(self) -> tuple[tuple[int, float, float], ...]:
        """(first step of the bucket, lowest, highest), by step."""
        return tuple((bucket * self.stride, low, high) for bucket, (low, high) in sorted(self._held.items()))


class RoundCurve:
    """The curve of one round, read on from where it was."""

    def __init__(self, round: int) -> None:
        self.round = round
        self.last: Training | None = None
        self._buckets = Buckets()
        self._curve = Curve(round, (), 0)

    def read(self, db: sqlite3.Connection, epochs: float, total: int) -> Curve:
        """The curve as it is now; the same object while nothing was logged. ``total``: steps the training will have."""
        newest = db.execute("SELECT max(step) FROM metric WHERE round=?", (self.round,)).fetchone()[0]
        seen = self.last.step if self.last else -1
        if newest is not None and newest < seen:  # a resumed training took back what lay beyond its checkpoint
            self._buckets, self.last, seen = Buckets(), None, -1
        if newest is not None and newest > seen:
            self._extend(db, seen, epochs)
        last_step = max(total, newest or 0)
        if newest != (seen if seen >= 0 else None) or last_step != self._curve.last_step:
            self._curve = Curve(self.round, self._buckets.points(), last_step)
        return self._curve

    def _extend(self, db: sqlite3.Connection, after: int, epochs: float) -> None:
        found = db.execute(
            "SELECT step, epoch, loss, learning_rate, grad_norm, tokens_per_s FROM metric"
            " WHERE round=? AND step>? ORDER BY step",
            (self.round, after),
        )
        for row in found:
            if row["loss"] is not None:
                self._buckets.add(row["step"], row["loss"])
            step, epoch, loss, rate, norm, speed = row
            self.last = Training(step, epoch, epochs, loss, rate, norm, speed)
