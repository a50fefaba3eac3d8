"""The app at the sizes that users have: 80 x 24, 120 x 40 and 200 x 50, with 50,000 and 500,000 samples, beside other
terminal apps in the same run.

    python -m benchmarks.app.screens --times 3

The CPU time of a key is the app's own; that of the first opening of Thresholds holds the processes that it starts. The
walk of which memory is measured opens every screen, then lists, filters, sorts and searches Samples, and opens it all
again. Writes docs/benchmarks/screens.md. ``--quick``: small projects, no peers, few keys; to see that it still runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import ROOT, measured, peer_environments
from benchmarks.app import peers, samples_screen
from benchmarks.app.timed_terminal import TICK_MS, Timed, p50, p95
from benchmarks.app.tui import compiled, copied, newest
from benchmarks.world import kept_signals
from benchmarks.world import project as world
from engine.store.rows import PREVIEW
from middo_tui.widgets.vtable_rows import CURSOR

PAGE = ROOT / "docs" / "benchmarks" / "screens.md"
SIZES = ((80, 24), (120, 40), (200, 50))
WIDE = SIZES[1]
SAMPLES = (50_000, 500_000)
QUIET_S, LOADED_S = 1.2, 3.0
FILTERS = (b"volcanoes", b"quality<4", b"the")
"""What is filtered by: few, some and most samples."""


class Cursor(NamedTuple):
    """A cursor key in Samples: CPU ms, ms to its first byte (median and 95 % quantile), bytes."""

    cpu_ms: float
    p50_ms: float
    p95_ms: float
    size: float


def begun(project: Path, size: tuple[int, int]) -> Timed:
    """The app on its first screen, quiet."""
    terminal = Timed(project, None, *size)
    terminal.wait_for(samples_screen.LOOP_IS_THERE)
    terminal.settle(QUIET_S)
    return terminal


def cursor(project: Path, what: samples_screen.Listed, size: tuple[int, int], keys: int) -> Cursor:
    """The cursor key with whatever stands beside the list at this size."""
    terminal = begun(project, size)
    terminal.press(b"2", what.first["seq"], QUIET_S)
    moves = [terminal.press(b"j", CURSOR, 0.4) for _ in range(keys)]
    terminal.leave()
    times = [move.ms for move in moves]
    return Cursor(
        sum(move.cpu_ms for move in moves) / keys,
        p50(times),
        p95(times),
        sum(move.size for move in moves) / keys,
    )


def whole_cpu_s(pid: int) -> float:
    """CPU seconds of a process and of those that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * TICK_MS / 1000


def thresholds(project: Path, size: tuple[int, int], times: int) -> float:
    """CPU seconds of the first opening of Thresholds, with the processes that it starts; the median."""
    spent = []
    for _ in range(times):
        terminal = begun(project, size)
        before = whole_cpu_s(terminal.pid)
        terminal.press(b"3", "calls", LOADED_S)
        spent.append(whole_cpu_s(terminal.pid) - before)
        terminal.leave()
    return median(spent)


def memory(project: Path, what: samples_screen.Listed, size: tuple[int, int]) -> list[float]:
    """Resident megabytes on the first screen, after all screens, after filters, a sort and a search, and after opening
    it all again.
    """
    terminal = begun(project, size)
    held = [terminal.memory[0]]
    terminal.press(b"2", what.first["seq"], QUIET_S)
    terminal.press(b"G", quiet_s=QUIET_S)
    _walk(terminal)
    held.append(terminal.memory[0])
    terminal.press(b"2", quiet_s=QUIET_S)
    for text in FILTERS:
        _type(terminal, b"f", text)
        _type(terminal, b"f", b"")
    terminal.press(b"o", quiet_s=0.4)
    terminal.press(b"q", quiet_s=QUIET_S)
    _type(terminal, b"/", b"the")
    held.append(terminal.memory[0])
    _walk(terminal)
    terminal.press(b"2", quiet_s=QUIET_S)
    held.append(terminal.memory[0])
    terminal.leave()
    return held


def _walk(terminal: Timed) -> None:
    for key in (*samples_screen.OTHER_SCREENS, b"3", b"7", b"1"):
        terminal.press(key, quiet_s=LOADED_S if key in b"37" else QUIET_S)


def _type(terminal: Timed, key: bytes, text: bytes) -> None:
    for part in (key, b"\x15" + text, b"\r"):
        terminal.press(part, quiet_s=QUIET_S)


def without_kept(project: Path, to: Path) -> Path:
    """The same project without what the select stage keeps: as an older version left it."""
    from engine.store.connect import transaction, writer

    copied(project, to)
    db = writer(to)
    with transaction(db):
        db.execute("DELETE FROM artifact WHERE name=?", (PREVIEW,))
    db.close()
    return to


def projects(asked: argparse.Namespace, scratch: Path) -> list[Path]:
    """One of each size, with what select stages keep."""
    made = []
    given = dict(zip(asked.samples, asked.project or (), strict=False))
    for samples in asked.samples:
        project = scratch / f"p{samples}"
        if samples in given:
            copied(given[samples], project)
        else:
            world.make(project, samples)
        kept_signals.keep_all(project)
        made.append(project)
    return made


def beside(asked: argparse.Namespace, project: Path, scratch: Path) -> list[list[object]]:
    """The start of each app, medians of starts in turn."""
    programs = {
        name: peer_environments.python(asked.folder, name, packages).parent / name
        for name, packages in peers.PEERS.items()
    }
    os.environ |= {"HOME": str(scratch), "XDG_CONFIG_HOME": str(scratch), "XDG_DATA_HOME": str(scratch)}
    commands = {
        "middo-tui": [sys.executable, "-m", "middo_tui.cli", str(project)],
        "harlequin": [str(programs["harlequin"]), "-a", "sqlite", str(project / "middo.db")],
        "posting": [str(programs["posting"])],
    }
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(asked.times + 1):
        for name, argv in commands.items():
            found[name].append(peers.started(argv, peers.MARKERS[name]))
    said = {"middo-tui": "this version"} | {name: peers.version(program) for name, program in programs.items()}
    rows: list[list[object]] = []
    for name, (_, *times) in found.items():
        ms, cpu, held = (median(column) for column in zip(*times, strict=True))
        rows.append([name, said[name], f"{cpu:,.0f}", f"{ms:,.0f}", f"{held:,.0f}"])
    return rows


def main(asked: argparse.Namespace) -> None:
    """Measure, print, write."""
    compiled()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
        scratch = Path(folder)
        keys: list[list[object]] = []
        opened: list[list[object]] = []
        held: list[list[object]] = []
        for samples, project in zip(asked.samples, projects(asked, scratch), strict=True):
            what = samples_screen.listed(project, newest(project), ())
            for size in SIZES:
                one = cursor(project, what, size, asked.keys)
                wide = f"{size[0]} x {size[1]}"
                figures = (f"{one.cpu_ms:.1f}", f"{one.p50_ms:.0f}, {one.p95_ms:.0f}", f"{one.size:,.0f}")
                keys.append([f"{samples:,}", wide, *figures])
                held.append([f"{samples:,}", wide, *(f"{mb:.0f}" for mb in memory(project, what, size))])
            old = without_kept(project, scratch / f"old{samples}")
            opened.append([f"{samples:,}", *(f"{thresholds(one, WIDE, asked.times):.2f}" for one in (project, old))])
        started = beside(asked, project, scratch) if not asked.quick else []
    text = page(asked, load, keys, opened, held, started)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text, encoding="utf-8")


def page(
    asked: argparse.Namespace,
    load: float,
    keys: list[list[object]],
    opened: list[list[object]],
    held: list[list[object]],
    started: list[list[object]],
) -> str:
    """The tables, and what they mean."""
    lines = [
        "# The app at the sizes that users have",
        "",
        f"By `python -m benchmarks.app.screens --times {asked.times}` on {measured.machine()}. Load of the machine when"
        f" it began: {load:.1f}. {asked.note}".rstrip(),
        "",
        "## A cursor key in Samples, the sample's text beside or below the list where there is room",
        "",
        f"{asked.keys} keys. Goals: at most 15 ms of CPU a key, 50 ms at the 95 % quantile.",
        "",
        measured.table(["samples", "terminal", "CPU ms a key", "ms to the first byte: p50, p95", "bytes a key"], keys),
        "",
        "## The first opening of Thresholds",
        "",
        f"CPU seconds of the app and of the processes that it starts, at 120 x 40, median of {asked.times}. Goal: 1 s."
        " The select stage keeps a round's signals in a file that the app maps; without it (a round that has not"
        " selected yet, or of an older version) another process reads the round.",
        "",
        measured.table(["samples", "with the file", "without"], opened),
        "",
        "## Resident memory, MB",
        "",
        "VmRSS, of which some 13 MB are files of Python and its libraries. Filters that few, some and most samples"
        ' pass, a sort, and a search for "the". Goal: 90 MB.',
        "",
        measured.table(
            ["samples", "terminal", "first screen", "all screens", "filters, sort, search", "all again"], held
        ),
        "",
    ]
    if started:
        lines += [
            "## The start beside other terminal apps, in the same run",
            "",
            f"Medians of {asked.times} starts in turn at {peers.COLUMNS} x {peers.ROWS}, after one that is not counted."
            f" middo-tui and harlequin open the same file, of {asked.samples[-1]:,} samples; posting opens nothing."
            " What they do is not alike: each shows its own first screen.",
            "",
            measured.table(
                ["app", "version", "CPU ms to a second after it is painted", "ms to the first screen", "resident MB"],
                started,
            ),
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", help="projects of so many samples (50,000 and 500,000)")
    parser.add_argument("--project", type=Path, nargs="+", help="use copies of these instead, one a size")
    parser.add_argument("--folder", type=Path, default=peer_environments.FOLDER)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--keys", type=int, default=60)
    parser.add_argument("--scratch", type=Path, help="where to put projects (a temporary folder)")
    parser.add_argument("--note", default="", help="a sentence for the page, e.g. what else the machine was doing")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    words.samples = words.samples or ([400] if words.quick else list(SAMPLES))
    words.keys = 3 if words.quick else words.keys
    words.out = words.out or (None if words.quick else PAGE)
    main(words)
