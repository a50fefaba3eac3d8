"""Detects a wall clock that is set during a run, or a machine that sleeps: logged once, and not taken for a stall."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from engine.store.connect import transaction
from engine.store.lock_wait import lasting, outlasting

LEAST_S = 5.0
"""Seconds; drift and its corrections are smaller."""


class WallClock:
    """Compares the wall clock with a monotonic one (``steady``). Both give seconds."""

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._wall, self._steady = wall, steady
        self._ahead = wall() - steady()

    def jumped(self) -> float:
        """Seconds by which it was set forward since the last call (negative: back); 0 for less than ``LEAST_S``."""
        ahead = self._wall() - self._steady()
        by = ahead - self._ahead
        if abs(by) < LEAST_S:
            return 0.0
        self._ahead = ahead
        return by


def jump_text(by: float) -> str:
    """A log line. A machine that slept looks the same, as the monotonic clock stops meanwhile."""
    if by > 0:
        return f"the clock jumped {lasting(by)} forward: it was set, or the machine slept"
    return f"the clock was set back by {lasting(-by)}"


@outlasting
def follow(db: sqlite3.Connection, by: float, now: float) -> None:
    """Shift the recorded progress times of running jobs by ``by`` seconds, so that the jump does not count as a stall.

    Times that were written after the jump, moments before ``now`` (wall time, after it), are left alone.
    """
    with transaction(db):
        for round, stage, text in db.execute("SELECT round, stage, moved FROM job WHERE state='running'").fetchall():
            times = [at if now - LEAST_S / 2 <= at <= now else at + by for at in json.loads(text)]
            db.execute("UPDATE job SET moved=? WHERE round=? AND stage=?", (json.dumps(times), round, stage))
