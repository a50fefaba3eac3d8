"""The Map screen at a terminal: how soon there is a picture, what a cursor key and a zoom cost, memory."""

from __future__ import annotations

from pathlib import Path

from benchmarks.app.samples_screen import LOOP_IS_THERE, SETTLE_S
from benchmarks.app.target_table import Row
from benchmarks.app.timed_terminal import Timed, p50, p95

DRAWN_MS, CURSOR_MS, MOVE_BYTES, OWN_MB = 150, 12, 1_500, 80
UNDER = "Under the cursor: "


def on_the_map(project: Path, keys: int, zooms: int) -> list[Row]:
    """The picture, the samples under the cursor, moves, zooms and colours."""
    terminal = Timed(project)
    terminal.wait_for(LOOP_IS_THERE)
    terminal.settle(SETTLE_S)
    since, begun = len(terminal.seen), terminal.now
    opened = terminal.press(b"7", UNDER, SETTLE_S)
    drawn = (terminal.came("▸", since) - begun) * 1000
    moves = [terminal.press(b"hkhklljj"[at % 8 : at % 8 + 1], quiet_s=0.3) for at in range(keys)]
    near = [terminal.press(key, quiet_s=0.6) for _ in range(zooms) for key in (b"+", b"-")]
    colours = [terminal.press(b"c", quiet_s=SETTLE_S) for _ in range(4)]
    whole, own = terminal.memory
    terminal.leave()
    sizes = [move.size for move in moves]
    return [
        Row(
            "map, key to the first dots; to the samples under the cursor",
            f"≤ {DRAWN_MS} ms",
            f"{drawn:.0f}, {opened.ms:.0f} ms",
            drawn <= DRAWN_MS,
            "Includes the import of the screen. The dots are painted before it is known whose they are.",
        ),
        Row(
            "map, cursor key to its first byte: p50, p95",
            f"≤ {CURSOR_MS} ms p95",
            f"{p50([move.ms for move in moves]):.0f}, {p95([move.ms for move in moves]):.0f} ms",
            p95([move.ms for move in moves]) <= CURSOR_MS,
        ),
        Row(
            "map, bytes per cursor move, with the prompts under it: median, most",
            f"≤ {MOVE_BYTES / 1000:.1f} KB",
            f"{p50(sizes):,.0f}, {max(sizes):,} B",
            p50(sizes) <= MOVE_BYTES,
        ),
        Row(
            "map, zoom: CPU, bytes of the picture (median)",
            "",
            f"{p50([one.cpu_ms for one in near]):.0f} ms, {p50([one.size for one in near]):,.0f} B",
        ),
        Row(
            "map, another colour: CPU, bytes (median)",
            "",
            f"{p50([one.cpu_ms for one in colours]):.0f} ms, {p50([one.size for one in colours]):,.0f} B",
        ),
        Row(
            "resident memory on the map: all, its own",
            f"≤ {OWN_MB} MB",
            f"{whole:.0f}, {own:.0f} MB",
            whole <= OWN_MB,
        ),
    ]
