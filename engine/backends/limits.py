"""How fast calls may go out: requests and tokens per minute, as providers count them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

MINUTE = 60.0


class Bucket:
    """A token bucket: ``per_minute`` units flow in evenly, at most ``burst_s`` seconds' worth are kept.

    A unit that is taken beyond what is there is owed: whoever comes next waits for it. 0 per minute: no limit.
    """

    def __init__(self, per_minute: float, burst_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s = per_minute / MINUTE
        self._most = max(1.0, self.per_s * burst_s)
        self._there = self._most
        self._clock = clock
        self._at = clock()

    def wait_s(self, units: float) -> float:
        """Take ``units`` and return how long to wait before using them."""
        if not self.per_s:
            return 0.0
        now = self._clock()
        self._there = min(self._most, self._there + (now - self._at) * self.per_s)
        self._at = now
        self._there -= units
        return max(0.0, -self._there / self.per_s)

    def give_back(self, units: float) -> None:
        """``units`` were taken but not used (negative: more were used than taken)."""
        if self.per_s:
            self._there = min(self._most, self._there + units)

    async def take(self, units: float) -> None:
        """Take ``units``, when they are there."""
        if wait := self.wait_s(units):
            await asyncio.sleep(wait)
