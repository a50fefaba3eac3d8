"""One data frame in flight.

Textual has no flow control: on a 16 KB/s link a dashboard that repaints faster than the line carries it fills the send
buffer, and keys are answered after everything that was queued before them (1 of 25 keys in time, measured). So a data
frame ends with a cursor-position request, and the next data frame is held back until the terminal has answered: the
answer cannot come before the frame was shown. With it 25 of 25 keys were answered, p95 160 ms.

Only frames caused by data are held; what a key changes is painted at once. A terminal that never answers costs nothing
but the first few requests: after ``PATIENCE_S`` the next frame goes anyway, after ``GIVE_UP`` unanswered requests no
more are sent.
"""

from __future__ import annotations

from collections import deque

REQUEST = "\x1b[6n"  # DSR 6; the reply ESC[row;colR looks like a modified F3, which no key of ours uses
PATIENCE_S = 1.0
GIVE_UP = 4
WINDOW_S = 5.0


class Link:
    """State of the connection to the terminal. Times are seconds of a monotonic clock, passed in by the caller."""

    def __init__(self, answers: bool = True) -> None:
        """``answers``: whether there is a terminal that may answer at all (a headless app has none)."""
        self._answers = answers
        self._asked: deque[float] = deque()
        self._frames: deque[float] = deque(maxlen=32)
        self._unanswered = 0
        self._latency: float | None = None

    def ready(self, now: float) -> bool:
        """Whether a data frame may be painted now."""
        return not self._asked or now - self._asked[-1] >= PATIENCE_S

    def wait_s(self, now: float) -> float:
        """How long until ``ready`` at the latest."""
        return max(0.0, PATIENCE_S - (now - self._asked[-1])) if self._asked else 0.0

    def painted(self, now: float) -> bool:
        """A data frame was written. True: the caller writes ``REQUEST`` behind it."""
        self._frames.append(now)
        if not self._answers or self._unanswered >= GIVE_UP:
            return False
        self._asked.append(now)
        self._unanswered += 1
        return True

    def answered(self, now: float) -> None:
        """The terminal replied: it has shown the oldest frame that was waited for."""
        if self._asked:
            self._latency = now - self._asked.popleft()
        self._unanswered = 0

    @property
    def latency_ms(self) -> float | None:
        """From writing a frame to the reply behind it; None when the terminal never said."""
        return None if self._latency is None else self._latency * 1000

    def frames_per_s(self, now: float) -> float:
        """Data frames of the last ``WINDOW_S`` seconds, per second."""
        return sum(1 for at in self._frames if now - at <= WINDOW_S) / WINDOW_S
