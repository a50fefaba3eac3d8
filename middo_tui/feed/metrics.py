"""Training curves of any length in bounded memory: buckets of 2^n steps that hold the least and the greatest value.

A bucket's place depends on the step alone, so the curve is the same whenever and however often it was read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from middo_tui.feed.view import Curve, Series, Training

MOST_BUCKETS = 2048
FEW_BUCKETS = 512
"""Of what is not the loss: it is seldom drawn large."""
FIGURES = ("grad_norm", "learning_rate", "tokens_per_s")
"""What is logged beside the loss; columns of ``metric`` and fields of ``Training``."""


class Buckets:
    """Values by step; halves its resolution when it would hold more than ``most`` buckets."""

    def __init__(self, most: int = MOST_BUCKETS) -> None:
        self.most = most
        self.stride = 1
        self._held: dict[int, tuple[float, float]] = {}

    def add(self, step: int, value: float) -> None:
        """One logged step, in any order."""
        self._merge(step // self.stride, value, value)
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
    """The curves of one round, read on from where they were."""

    def __init__(self, round: int) -> None:
        self.round = round
        self._begin()
        self.loss = Curve(round, (), 0)
        self.figures: dict[str, Curve] = {}

    def _begin(self) -> None:
        self.last: Training | None = None
        self._buckets = Buckets()
        self._others = {name: Buckets(FEW_BUCKETS) for name in FIGURES}

    def read(self, db: sqlite3.Connection, epochs: float, total: int) -> Curve:
        """The loss as it is now; the same object while nothing was logged. ``total``: steps the training will have.

        ``figures`` are then as new.
        """
        newest = db.execute("SELECT max(step) FROM metric WHERE round=?", (self.round,)).fetchone()[0]
        seen = self.last.step if self.last else -1
        if newest is not None and newest < seen:  # a resumed training took back what lay beyond its checkpoint
            self._begin()
            seen = -1
        if newest is not None and newest > seen:
            self._extend(db, seen, epochs)
        last_step = max(total, newest or 0)
        if newest != (seen if seen >= 0 else None) or last_step != self.loss.last_step:
            self.loss = Curve(self.round, self._buckets.points(), last_step)
            others = self._others.items()
            self.figures = {name: Curve(self.round, held.points(), last_step) for name, held in others}
        return self.loss

    def _extend(self, db: sqlite3.Connection, after: int, epochs: float) -> None:
        found = db.execute(
            "SELECT step, epoch, loss, learning_rate, grad_norm, tokens_per_s FROM metric"
            " WHERE round=? AND step>? ORDER BY step",
            (self.round, after),
        )
        for row in found:
            if row["loss"] is not None:
                self._buckets.add(row["step"], row["loss"])
            for name, held in self._others.items():
                if row[name] is not None:
                    held.add(row["step"], row[name])
            step, epoch, loss, rate, norm, speed = row
            self.last = Training(step, epoch, epochs, loss, rate, norm, speed)


def figures(rounds: Iterable[RoundCurve]) -> tuple[Series, ...]:
    """What is logged beside the loss, those figures that any of the rounds has."""
    read = [one.figures for one in rounds]
    found = ((name, tuple(own[name] for own in read if name in own and own[name].points)) for name in FIGURES)
    return tuple(Series(name, curves) for name, curves in found if curves)
