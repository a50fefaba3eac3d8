"""Client-side rate limits: requests and tokens per minute, the pauses that providers ask for, and backoff."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from email.utils import mktime_tz, parsedate_tz

MINUTE = 60.0
BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 8.0


class Bucket:
    """A token bucket, filled evenly at ``per_minute`` units and holding at most ``burst_s`` seconds' worth.

    The balance may go negative; the next caller then waits until the debt is repaid. 0 per minute: no limit.
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
        """Return ``units`` that were taken but not used (negative: more were used than taken)."""
        if self.per_s:
            self._there = min(self._most, self._there + units)

    async def take(self, units: float) -> None:
        """Take ``units``, waiting until they are available."""
        if wait := self.wait_s(units):
            await asyncio.sleep(wait)


class Gate:
    """Holds back all calls while a provider has asked for a pause: one 429 stops the calls behind it as well."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._opens, self._clock = 0.0, clock

    def shut(self, seconds: float) -> None:
        """Hold back all calls for at least ``seconds``; a shorter request never opens it earlier."""
        self._opens = max(self._opens, self._clock() + seconds)

    async def passed(self) -> None:
        """Wait until it is open. Calls that waited go out spread over a tenth of the wait, not all at once."""
        while (wait := self._opens - self._clock()) > 0:
            await asyncio.sleep(wait * (1 + random.random() / 10))


def told_s(headers: Mapping[str, str]) -> float | None:
    """The seconds that a reply asks to wait: Retry-After-Ms, or Retry-After in seconds or as a date. None: it does not
    ask, or its dates cannot be read.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    until, sent = (parsedate_tz(headers.get(name, "")) for name in ("retry-after", "date"))
    if until is None:
        return None
    try:  # by the server's clock where it tells it: ours may be wrong
        return max(0.0, mktime_tz(until) - (time.time() if sent is None else mktime_tz(sent)))
    except (ValueError, OverflowError):
        return None


def backoff_s(tries: int) -> float:
    """Seconds to wait before the next try where the server names none: exponential backoff with jitter."""
    return min(LONGEST_BACKOFF_S, BACKOFF_S * 2.0 ** (tries - 1)) * (0.75 + random.random() / 4)
