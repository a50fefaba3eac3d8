"""A wall clock that is set while a run goes on, or a machine that sleeps: said once, and not taken for a stall."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from engine.store.connect import transaction
from engine.store.lock_wait import lasting, outlasting

LEAST_S = 5.0
"""The wall clock drifts and is corrected by less than this."""


class WallClock:
    """Tells when the wall clock moved on otherwise than time did. Both clocks are in seconds."""

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._wall, self._steady = wall, steady
        self._ahead = wall() - steady()

    def jumped(self) -> float:
        """By how much it was set forward since the last call (negative: back); 0 for less than ``LEAST_S``."""
        ahead = self._wall() - self._steady()
        by = ahead - self._ahead
        if abs(by) < LEAST_S:
            return 0.0
        self._ahead = ahead
        return by


def jump_text(by: float) -> str:
    """A line for the log. A sleeping machine looks the same: the steady clock stands still meanwhile."""
    if by > 0:
        return f"the clock jumped {lasting(by)} forward: it was set, or the machine slept"
    return f"the clock was set back by {lasting(-by)}"


@outlasting
def follow(db: sqlite3.Connection, by: float, now: float) -> None:
    """Move the times at which running jobs moved on as the clock was, so that it counts as no time without progress.

    Those that were written since the jump (``now``: wall time, after it), which is seconds ago, stay.
    """
    with transaction(db):
        for round, stage, text in db.execute("SELECT round, stage, moved FROM job WHERE state='running'").fetchall():
            times = [at if now - LEAST_S / 2 <= at <= now else at + by for at in json.loads(text)]
            db.execute("UPDATE job SET moved=? WHERE round=? AND stage=?", (json.dumps(times), round, stage))
