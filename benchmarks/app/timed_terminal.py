"""A terminal with a clock: when each byte of the app came, what it cost, how much memory it holds; a slow line.

The tests' terminal (``tests/support/terminal.py``) counts bytes and never looks at a clock; benchmarks do.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.terminal import CODE, DEADLINE_S, Terminal

PAGE_CACHE = Path("/proc/sys/vm/drop_caches")
BURST_BYTES = 2_048
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


class Answer(NamedTuple):
    """What a key did: ms until what was waited for had come, CPU ms of the app, bytes until it was quiet."""

    ms: float
    cpu_ms: float
    size: int


class Timed(Terminal):
    """A terminal that knows when every byte came. ``bytes_per_s``: it takes no more than that (a token bucket)."""

    def __init__(self, project: Path, bytes_per_s: float | None = None, columns: int = 80, rows: int = 24) -> None:
        self._begin([sys.executable, "-c", CODE, str(project)], bytes_per_s, columns, rows)

    @classmethod
    def of(cls, argv: list[str], columns: int, rows: int) -> Timed:
        """With any program."""
        terminal = cls.__new__(cls)
        terminal._begin(argv, None, columns, rows)
        return terminal

    def _begin(self, argv: list[str], bytes_per_s: float | None, columns: int, rows: int) -> None:
        self.begun = time.perf_counter()
        self.rate = bytes_per_s
        self._tokens, self._filled = float(BURST_BYTES), self.begun
        self._ends: list[int] = []
        self._times: list[float] = []
        super().__init__(argv, columns=columns, rows=rows)

    def pump(self, timeout_s: float) -> bool:
        """As the parent's, at the speed of the line; notes when it was."""
        before = len(self.seen)
        alive = super().pump(timeout_s) if self.rate is None else self._pump_slowly(timeout_s, self.rate)
        if len(self.seen) > before:
            self._ends.append(len(self.seen))
            self._times.append(time.perf_counter())
        return alive

    def _pump_slowly(self, timeout_s: float, rate: float) -> bool:
        """One read of at most what the line has carried since the last one; at least a tenth of a burst at once."""
        self._refill(rate)
        if self._tokens < BURST_BYTES / 10:
            time.sleep(min(timeout_s, (BURST_BYTES / 10 - self._tokens) / rate))
            self._refill(rate)
        if self._tokens < 1:
            return True
        before = len(self.seen)
        self.most = int(self._tokens)
        alive = super().pump(timeout_s)
        self._tokens -= len(self.seen) - before
        return alive

    def _refill(self, rate: float) -> None:
        now = time.perf_counter()
        self._tokens = min(BURST_BYTES, self._tokens + (now - self._filled) * rate)
        self._filled = now

    def when(self, offset: int) -> float:
        """When byte ``offset`` had come."""
        return self._times[bisect_left(self._ends, offset + 1)]

    @property
    def now(self) -> float:
        """The clock that bytes are timed by."""
        return time.perf_counter()

    def ms_until(self, offset: int, begun: float) -> float:
        """Milliseconds from ``begun`` until byte ``offset`` came."""
        return (self.when(offset) - begun) * 1000

    def came(self, marker: str, since: int) -> float:
        """Wait until all of ``marker`` was written after byte ``since``; when that was."""
        self.wait_for(marker, since)
        return self.when(self.seen.index(marker.encode(), since) + len(marker.encode()) - 1)

    def started(self, marker: str) -> float:
        """Milliseconds from the start of the process to ``marker``."""
        return (self.came(marker, 0) - self.begun) * 1000

    def press(self, keys: bytes, marker: str = "", quiet_s: float = 0.15) -> Answer:
        """Type ``keys``; wait for ``marker`` (or any byte), then until nothing came for ``quiet_s``."""
        since, cpu, begun = len(self.seen), self.cpu_ms, time.perf_counter()
        self.send(keys)
        if marker:
            done = self.came(marker, since)
        else:
            while len(self.seen) == since:
                if not self.pump(DEADLINE_S):
                    raise AssertionError(f"the app ended at the key {keys!r}")
            done = self.when(since)
        if quiet_s:
            self.settle(quiet_s)
        return Answer((done - begun) * 1000, self.cpu_ms - cpu, len(self.seen) - since)

    def watch(self, seconds: float) -> int:
        """Bytes that come within ``seconds`` while nobody types."""
        since, end = len(self.seen), time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if not self.pump(left):
                raise AssertionError("the app ended while it was watched")
        return len(self.seen) - since

    @property
    def cpu_ms(self) -> float:
        """CPU time of the app so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_MS

    @property
    def memory(self) -> tuple[float, float]:
        """Resident megabytes: all of it, and what is its own (without mapped files, which are shared)."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        held = dict(line.split(":", 1) for line in text.splitlines())
        return tuple(int(held[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))  # type: ignore[return-value]

    def end(self) -> None:
        """End a program whose keys are not known."""
        os.kill(self.pid, signal.SIGKILL)
        self.hang_up()

    def leave(self) -> None:
        """End the app as a person does; what it still writes is taken at full speed."""
        self.rate = None
        self.send(b"q")
        self.wait()
        os.close(self.fd)


def p50(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def p95(values: Sequence[float]) -> float:
    """The value that 95 % of ``values`` do not exceed."""
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


def drop_page_cache() -> bool:
    """Have the kernel forget every file that it has read; False where that is not permitted."""
    try:
        os.sync()
        PAGE_CACHE.write_text("1", encoding="utf-8")
    except OSError:
        return False
    return True
