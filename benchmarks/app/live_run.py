"""What the app writes by itself: nothing while idle, little while a run is live; and keys on a slow line meanwhile."""

from __future__ import annotations

from pathlib import Path

from benchmarks.app.samples_screen import LOOP_IS_THERE, SETTLE_S, Listed, latency
from benchmarks.app.target_table import Row
from benchmarks.app.timed_terminal import Timed, p50, p95
from benchmarks.world.live_training import Training
from middo_tui.widgets.vtable_rows import CURSOR

LIVE_BYTES_S, TRAINING_CURSOR_MS, LINK_MS = 3_000, 20, 250
LINK_BYTES_S = 16_000
LIVE = "tok/s"
QUESTION, ANSWERED = "Cancel the running stage?", "pause"
AUTO = ("Auto-review is on", "Auto-review is off")


def idle(project: Path, what: Listed, seconds: float) -> list[Row]:
    """Bytes while nobody types and nothing runs."""
    terminal = Timed(project)
    terminal.wait_for(LOOP_IS_THERE)
    terminal.settle(2 * SETTLE_S)
    on_loop = terminal.watch(seconds)
    terminal.press(b"2", what.first["seq"], 2 * SETTLE_S)
    on_samples = terminal.watch(seconds)
    terminal.leave()
    return [
        Row(
            f"idle bytes over {seconds:.0f} s: Loop, Samples",
            "0",
            f"{on_loop}, {on_samples} B",
            on_loop == on_samples == 0,
        )
    ]


def live(project: Path, what: Listed, seconds: float, keys: int, link_keys: int) -> list[Row]:
    """While a run writes ten times a second. ``project`` is changed by it."""
    with Training(project):
        return [
            _dashboard(project, seconds),
            _cursor(project, what, keys),
            *_slow_line(project, what, link_keys),
        ]


def _dashboard(project: Path, seconds: float) -> Row:
    """The Loop screen while nobody types."""
    terminal = Timed(project)
    terminal.wait_for(LIVE)
    terminal.watch(2 * SETTLE_S)
    asked = terminal.answered
    found = terminal.watch(seconds) / seconds
    frames = (terminal.answered - asked) / seconds
    terminal.leave()
    return Row(
        f"live dashboard, bytes a second over {seconds:.0f} s at 80 x 24",
        f"≤ {LIVE_BYTES_S / 1000:.0f} KB",
        f"{found:,.0f} B",
        found <= LIVE_BYTES_S,
        "Loop screen. A step and the job's progress are written ten times a second, gauges and heartbeat twice, a line"
        f" of the log once; {frames:.1f} frames a second are painted.",
    )


def _cursor(project: Path, what: Listed, keys: int) -> Row:
    """The cursor while the header follows the run."""
    terminal = open_training(project, what)
    moves = [terminal.press(b"j", CURSOR) for _ in range(keys)]
    terminal.leave()
    return latency("cursor key to its first byte, while training: p50, p95", moves, TRAINING_CURSOR_MS)


def open_training(project: Path, what: Listed, bytes_per_s: float | None = None) -> Timed:
    """The Samples screen while a run is live: it never gets quiet."""
    terminal = Timed(project, bytes_per_s)
    terminal.wait_for(LIVE)
    terminal.watch(SETTLE_S)
    terminal.press(b"2", what.first["seq"], 0)
    terminal.watch(2 * SETTLE_S)
    return terminal


def _slow_line(project: Path, what: Listed, keys: int) -> list[Row]:
    """Keys on a line that takes 16 KB a second: a question on the full dashboard, the cursor on Samples."""
    terminal = Timed(project, LINK_BYTES_S)
    terminal.wait_for(LIVE)
    terminal.watch(2 * SETTLE_S)
    asked, done = [], []
    for turn in range(keys):
        done.append(terminal.press(b"a", AUTO[turn % 2], 0).ms)
        terminal.watch(0.7)
    for _ in range(keys):
        asked.append(terminal.press(b"c", QUESTION, 0).ms)
        terminal.watch(0.3)
        terminal.press(b"n", ANSWERED, 0)
        terminal.watch(0.7)
    terminal.leave()
    terminal = open_training(project, what, LINK_BYTES_S)
    moves = []
    for _ in range(keys):
        moves.append(terminal.press(b"j", CURSOR, 0).ms)
        terminal.watch(0.3)
    terminal.leave()
    return [
        Row(
            "16 KB/s line, full dashboard live: key to the sentence that it is done: p50, p95",
            f"≤ {LINK_MS} ms p95",
            f"{p50(done):.0f}, {p95(done):.0f} ms",
            p95(done) <= LINK_MS,
            f"{keys} keys each on a token bucket of {LINK_BYTES_S:,} bytes a second, while the run is live. The key"
            " switches auto-review, which is on disk before it is said.",
        ),
        Row(
            "16 KB/s line, full dashboard live: key to all of the question it opens: p50, p95",
            f"≤ {LINK_MS} ms p95",
            f"{p50(asked):.0f}, {p95(asked):.0f} ms",
            p95(asked) <= LINK_MS,
        ),
        Row(
            "16 KB/s line, Samples, header live: cursor key: p50, p95",
            f"≤ {LINK_MS} ms p95",
            f"{p50(moves):.0f}, {p95(moves):.0f} ms",
            p95(moves) <= LINK_MS,
        ),
    ]
