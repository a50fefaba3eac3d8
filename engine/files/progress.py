"""How far reading or writing much is, for whoever watches: the step, the share that is done, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

EVERY_S = 0.2
Seen = Callable[[float], None]
"""Hears which share of something is done, 0 to 1."""


def ignore(share: float) -> None:
    """For who does not ask."""


class TaskProgress(NamedTuple):
    """``step`` in words; ``share`` of the whole task, 0 to 1; ``left_s`` None until there is something to go by."""

    step: str
    share: float
    left_s: float | None

    def __str__(self) -> str:
        """``reading rows.json: 43 %, 12 s left``."""
        text = f"{self.step}: {self.share:.0%}".replace("%", " %")
        if self.left_s is None:
            return text
        return f"{text}, {self.left_s:.0f} s left" if self.left_s < 90 else f"{text}, {self.left_s / 60:.0f} min left"


class TaskMeter:
    """Puts the steps of a task together, each with its share of the whole, and tells ``say`` of it now and then."""

    def __init__(self, say: Callable[[TaskProgress], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._start = clock()
        self._next = self._start + EVERY_S
        self._done = 0.0

    def step(self, name: str, share: float) -> Seen:
        """The next step, which is ``share`` of the whole: what hears how much of it is done."""
        begin, self._done = self._done, self._done + share

        def seen(part: float) -> None:
            now = self._clock()
            if now >= self._next:
                self._next = now + EVERY_S
                done = begin + share * min(part, 1.0)
                left = (now - self._start) * (1 - done) / done if done > 0.02 else None
                self._say(TaskProgress(name, done, left))

        return seen
