"""What a screen costs on a line of 16 KB a second, at three sizes: ``python -m benchmarks.app.slow_line [--out FILE]``.

The bytes are exact. The time is from the key to the last byte of the screen, so it is nearly the bytes over the line's
speed; what is more is the app's own, on a busy machine more than on a quiet one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.app.timed_terminal import Timed
from benchmarks.world import project as world

BYTES_PER_S = 16_000
SAMPLES = 2_000
SIZES = ((80, 24), (140, 40), (200, 50))
QUIET_S = 1.2
WALK = (
    ("Samples", "2"),
    ("a cursor move", "j"),
    ("half a page down", "\x04"),
    ("a sample in full, or hidden", "\r"),
    ("Thresholds", "3"),
    ("Review", "4"),
    ("Rounds", "5"),
    ("its next tab", "\t"),
    ("Lineage", "6"),
    ("a family", "\r"),
    ("Settings", ","),
    ("Quarantine", "!"),
    ("the palette", "\x10"),
    ("a letter in it", "s"),
)

PAGE = """# Screens on a slow line

Made by `python -m benchmarks.app.slow_line --out docs/benchmarks/slow-line.md`: the real app on {samples:,} invented
samples at a pseudo terminal that takes {speed:,} bytes a second. Bytes of each screen as the key before it leads there,
and milliseconds from the key to its last byte (load average {load:.1f}).

| | {sizes} |
|---|{rule}|
{rows}
"""


def shown(terminal: Timed, key: str) -> tuple[int, float]:
    """Press ``key``; bytes until the screen is quiet, and ms until the last of them."""
    since, begun = len(terminal.seen), time.perf_counter()
    terminal.press(key.encode(), quiet_s=QUIET_S)
    return len(terminal.seen) - since, terminal.ms_until(len(terminal.seen) - 1, begun)


def walk(project: Path, columns: int, rows: int) -> dict[str, tuple[int, float]]:
    """Every screen at one size."""
    terminal = Timed(project, BYTES_PER_S, columns, rows)
    try:
        terminal.wait_for("your turn")
        terminal.settle(QUIET_S)
        first = len(terminal.seen), terminal.ms_until(len(terminal.seen) - 1, terminal.begun)
        return {"Loop, with the start of the program": first, **{name: shown(terminal, key) for name, key in WALK}}
    finally:
        terminal.end()


def page(found: list[dict[str, tuple[int, float]]]) -> str:
    """The page, in Markdown."""
    cells = {name: [f"{one[name][0]:,} B | {one[name][1]:,.0f} ms" for one in found] for name in found[0]}
    return PAGE.format(
        samples=SAMPLES,
        speed=BYTES_PER_S,
        load=os.getloadavg()[0],
        sizes=" | ".join(f"{columns} × {rows} | " for columns, rows in SIZES),
        rule="|".join(["---:"] * 2 * len(SIZES)),
        rows="\n".join(f"| {name} | {' | '.join(row)} |" for name, row in cells.items()),
    )


def main() -> None:
    """Make the project and walk it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out: Path | None = parser.parse_args().out
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"XDG_CONFIG_HOME": name, "XDG_STATE_HOME": name}
        project = Path(name) / "p"
        world.make(project, SAMPLES)
        text = page([walk(project, *size) for size in SIZES])
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
