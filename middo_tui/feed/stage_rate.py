"""The rate of a stage, from its recent progress.

A stage starts with loading a model, which says nothing about its rate: an average from the start would be wrong for
minutes. So the start counts only until the stage has made progress twice.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 20.0


class StageRate:
    """Units per second of the running stage. Times are seconds of the caller's clock."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self.window_s = window_s
        self._stage: tuple[int, str] | None = None
        self._seen: deque[tuple[float, float]] = deque()
        self._from_start = True

    def rate(self, stage: tuple[int, str], done: float, now: float) -> float | None:
        """Record that ``stage`` is at ``done`` and return its rate; None until progress was seen."""
        back = bool(self._seen) and (done < self._seen[-1][1] or now < self._seen[-1][0])  # rerun, or the clock was set
        if stage != self._stage or back:
            self._stage, self._from_start = stage, True
            self._seen.clear()
        if not self._seen or done != self._seen[-1][1]:
            self._seen.append((now, done))
        if self._from_start and len(self._seen) > 2:
            self._from_start = False
            self._seen.popleft()
        while len(self._seen) > 2 and now - self._seen[1][0] > self.window_s:
            self._seen.popleft()
        first, last = self._seen[0], self._seen[-1]
        return (last[1] - first[1]) / (last[0] - first[0]) if last[0] > first[0] else None
