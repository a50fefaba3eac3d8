"""The Samples screen at a real terminal: ``python benchmarks/samples_screen.py PROJECT`` (see ``make_project.py``).

What a person waits for, from the key to the first byte and to the last; bytes on the wire; memory. CPU time of the app
beside it, because another load on the machine changes the one and not the other.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.tui.terminal import Terminal, open_app

QUIET_S = 0.6
CURSOR = "▸"
MOVES = 200
TICK = os.sysconf("SC_CLK_TCK")
Measure = tuple[float, float, float, int]


def cpu_ms(terminal: Terminal) -> float:
    """CPU time of the app so far."""
    fields = Path(f"/proc/{terminal.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / TICK


def memory_mb(terminal: Terminal) -> float:
    """Resident memory."""
    text = Path(f"/proc/{terminal.pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS"))


def press(terminal: Terminal, keys: bytes, quiet_s: float = QUIET_S) -> Measure:
    """Type ``keys``: ms to the first byte, ms to the last one before ``quiet_s`` of silence, CPU ms, bytes."""
    since, cpu, begun = len(terminal.seen), cpu_ms(terminal), time.perf_counter()
    terminal.send(keys)
    first, last = 0.0, begun
    while True:
        before = len(terminal.seen)
        terminal.pump(quiet_s if first else 10.0)
        if len(terminal.seen) == before:
            break
        last = time.perf_counter()
        first = first or last - begun
    return first * 1000, (last - begun) * 1000, cpu_ms(terminal) - cpu, len(terminal.seen) - since


def answer(terminal: Terminal, key: bytes, question: str, line: bytes, quiet_s: float) -> Measure:
    """Open a question, fill it in, and measure what the answer does. Without the question nothing is typed."""
    since = len(terminal.seen)
    terminal.send(key)
    terminal.wait_for(question, since)
    terminal.settle(QUIET_S)
    if len(line) > 1:
        press(terminal, b"\x15")
        press(terminal, line)
        return press(terminal, b"\r", quiet_s)
    return press(terminal, line, quiet_s)


def report(name: str, found: list[Measure]) -> None:
    """One line: medians and the 95th percentile."""
    first, last, cpu, size = zip(*found, strict=True)

    def p95(values: tuple[float, ...]) -> float:
        return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]

    print(
        f"{name:34} first byte {statistics.median(first):6.0f} ms (p95 {p95(first):6.0f})"
        f"  done {statistics.median(last):6.0f} ms (p95 {p95(last):6.0f})"
        f"  cpu {statistics.median(cpu):5.0f} ms  {statistics.mean(size):6.0f} B"
    )


FILTERS = (b"quality<4", b"axis:C", b"cluster:7", b'text:"common mistakes"', b"loss_after>2 quality<5 axis:C")
SORTS = (("loss after", b"a"), ("quality", b"q"), ("outlier", b"u"), ("change of the loss", b"d"), ("place", b"s"))


def main(project: Path) -> None:
    """All of it."""
    terminal = open_app(project)
    try:
        terminal.wait_for("leave")
        terminal.settle()
        print(f"Loop screen: {memory_mb(terminal):.0f} MB resident")
        since, begun = len(terminal.seen), time.perf_counter()
        terminal.send(b"2")
        terminal.wait_for(CURSOR, since)
        print(f"open samples: first rows after {(time.perf_counter() - begun) * 1000:.0f} ms")
        terminal.settle(4.0)
        report("cursor down", [press(terminal, b"j", 0.15) for _ in range(MOVES)])
        report("half a page", [press(terminal, b"\x04", 0.3) for _ in range(20)])
        report("last row", [press(terminal, b"G")])
        report("first row", [press(terminal, b"g")])
        for name, letter in SORTS:
            report(f"sort by {name}", [answer(terminal, b"o", "Sort by what", letter, 4.0)])
        for line in FILTERS:
            report(f"filter {line.decode()}", [answer(terminal, b"f", "Filter, for", line, 4.0)])
        report("clear the filter", [press(terminal, b"\x1b", 4.0)])
        report("search volcanoes", [answer(terminal, b"/", "Search for", b"volcanoes", 4.0)])
        report("next found", [press(terminal, b"n") for _ in range(20)])
        report("show one", [press(terminal, b"\r")])
        report("cursor down with it", [press(terminal, b"j", 0.3) for _ in range(20)])
        print(f"Samples screen: {memory_mb(terminal):.0f} MB resident")
    finally:
        terminal.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
