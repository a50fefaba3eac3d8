"""The terminal app against its targets: ``python -m benchmarks.app.tui [--project DIR | --samples N] [--rows WORDS]``.

At a pseudo terminal of 80 x 24 on a generated project (``world/project.py``), which is copied before anything is
written to it. Prints the table and writes docs/benchmarks/tui.md. ``--quick`` measures a small project few times, to
see that everything still runs.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple, replace
from pathlib import Path

from benchmarks import ROOT
from benchmarks.app import feed, hostile_text, live_run, map_screen, samples_screen
from benchmarks.app import kills as pty_kills
from benchmarks.app.target_table import Row, page
from benchmarks.measured import machine
from benchmarks.world import project as make_project
from engine.files.embedding_map_file import MAP
from engine.store.connect import FILE, reader
from engine.store.rows import PREVIEW
from middo_tui.feed.map_places import open_places

PAGE = ROOT / "docs" / "benchmarks" / "tui.md"
Part = Callable[[], list[Row]]
ORDER = ("first", "memory", "sort", "cursor", "map", "idle", "live", "units", "start", "kills", "hostile")


def parts(project: Path, scratch: Path, asked: argparse.Namespace) -> dict[str, Part]:
    """What is measured, by name, in the order of the table; the last but two begins a run in the project."""
    quick = asked.quick
    round = newest(project)
    what = samples_screen.listed(project, round)
    return {
        "first": lambda: samples_screen.first_paint(project, what, 2 if quick else 12),
        "memory": lambda: samples_screen.memory(project, what),
        "sort": lambda: samples_screen.sorting(project, what, 1 if quick else 12, 0.4 if quick else 1.5),
        "cursor": lambda: samples_screen.cursor(project, what, 5 if quick else 200, 1 if quick else 20),
        "map": lambda: map_screen.on_the_map(project, 5 if quick else 100, 1 if quick else 10),
        "idle": lambda: live_run.idle(project, what, 1 if quick else 60),
        "units": lambda: [
            *feed.lists(project, round, 2 if quick else 20),
            *feed.counting(project, round, 2 if quick else 20),
            *feed.differences(2 if quick else 20),
        ],
        "start": lambda: feed.start(1 if quick else 15),
        "live": lambda: live_run.live(project, what, 2 if quick else 60, 5 if quick else 200, 1 if quick else 25),
        "kills": lambda: kills(scratch, asked.kills),
        "hostile": lambda: hostile(scratch, quick),
    }


def kills(scratch: Path, times: int) -> list[Row]:
    """The app ended in the middle of decisions."""
    toll = pty_kills.suffer(scratch, times)
    return [
        Row(
            f"SIGKILL, SIGHUP or a closed terminal at random, {toll.kills} times: decisions lost, journals torn, runs"
            " killed",
            "0, 0, 0",
            f"{toll.lost}, {toll.torn}, {toll.runs}",
            toll.lost == toll.torn == toll.runs == 0,
            f"{toll.typed:,} decisions typed, {toll.shown:,} of them shown as taken (by the count or the next rewrite),"
            f" {toll.stored:,} in the store. The run is a process in a session of its own, as a worker is.",
        )
    ]


def hostile(scratch: Path, quick: bool) -> list[Row]:
    """The escape corpus on every screen."""
    found = hostile_text.look_everywhere(scratch, quick)
    total = sum(found.hostile.values())
    where = ", ".join(f"{screen} {count}" for screen, count in found.hostile.items())
    return [
        Row(
            f"escape corpus x every screen ({found.screens} visits): hostile sequences",
            "0",
            f"{total}",
            total == 0 and found.pictured and found.marked,
            f"{where}; {found.painted / 1e6:.1f} MB were painted. Controls were seen as pictures, and the samples as"
            " having hidden characters.",
        )
    ]


def newest(project: Path) -> int:
    """The round that the app shows."""
    db = reader(project)
    try:
        return int(db.execute("SELECT max(round) FROM round").fetchone()[0])
    finally:
        db.close()


def copied(project: Path, to: Path) -> Path:
    """The project without its logs, and of its artifacts what the app reads, where it can be written to."""
    to.mkdir(parents=True)
    (to / "logs").mkdir()
    shutil.copy(project / "config.toml", to)
    source = sqlite3.connect(f"file:{project / FILE}?mode=ro", uri=True)
    target = sqlite3.connect(to / FILE)
    source.backup(target)
    source.close()
    target.execute("PRAGMA journal_mode=WAL")
    target.close()
    for name in (MAP, PREVIEW):
        for folder in (project / "artifacts").glob(f"round-*/{name}"):
            shutil.copytree(folder, to / folder.relative_to(project))
    return to


def check_for_map(project: Path) -> None:
    """Raises UsageError: the round that the app shows has no map. Better known now than after minutes."""
    with closing(reader(project)) as db:
        open_places(db, project, newest(project))


def read_kept(file: Path | None) -> dict[str, list[Row]]:
    """The parts that were measured before."""
    if file is None or not file.exists():
        return {}
    return {name: [Row(*row) for row in rows] for name, rows in json.loads(file.read_text(encoding="utf-8")).items()}


def keep(file: Path | None, parts: dict[str, list[Row]]) -> None:
    """Keep what was measured, for a run that goes on with it."""
    if file is not None:
        found = {name: [astuple(row) for row in rows] for name, rows in parts.items()}
        file.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")


def compiled() -> None:
    """Compile our modules, as installing a wheel does; else every start of the app would, where writing is off."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for package in ("engine", "middo_tui"):
        compileall.compile_dir(str(PAGE.parents[2] / package), quiet=1)


def words() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, help="measure a copy of this one")
    parser.add_argument("--samples", type=int, help="make one of so many samples (500,000)")
    parser.add_argument("--rows", default="", help="only these parts, by comma: first,memory,sort,cursor,idle,units,…")
    parser.add_argument(
        "--keep", type=Path, help="keep the figures here; what is in it is measured anew only by --rows"
    )
    parser.add_argument("--kills", type=int, help="how often the app is ended (200)")
    parser.add_argument("--quick", action="store_true", help="a small project, few repeats")
    parser.add_argument("--scratch", type=Path, help="where to put projects (a temporary folder)")
    parser.add_argument(
        "--out", type=Path, help=f"the page to write ({PAGE.name} in docs/benchmarks, not with --quick)"
    )
    asked = parser.parse_args()
    asked.samples = asked.samples or (2_000 if asked.quick else 500_000)
    asked.kills = asked.kills if asked.kills is not None else (2 if asked.quick else 200)
    asked.out = asked.out or (None if asked.quick or (asked.rows and not asked.keep) else PAGE)
    return asked


def main() -> None:
    """Measure, print, write."""
    asked = words()
    compiled()
    with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
        scratch = Path(folder)
        if asked.project is None:
            project = scratch / "project"
            make_project.make(project, asked.samples)
        else:
            project = copied(asked.project, scratch / "project")
        kept = read_kept(asked.keep)
        chosen = [name for name in asked.rows.split(",") if name]
        if "map" in chosen or not (chosen or "map" in kept):
            check_for_map(project)
        for name, part in parts(project, scratch, asked).items():
            if name in chosen or not (chosen or name in kept):
                first, *others = part()
                load = f"{first.note} Load of the machine: {os.getloadavg()[0]:.1f} (the benchmark's own included)."
                kept[name] = [replace(first, note=load.strip()), *others]
                print(f"{name}: " + "; ".join(row.figure for row in kept[name]), file=sys.stderr, flush=True)
                keep(asked.keep, kept)
        rows = [row for name in ORDER for row in kept.get(name, ())]
        samples = sqlite3.connect(project / FILE).execute("SELECT count(*) FROM sample").fetchone()[0]
    text = HEAD.format(samples=samples, machine=machine()) + page(rows) + why(rows)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text, encoding="utf-8")


def why(rows: list[Row]) -> str:
    """What is known of the targets that may be missed, where one is."""
    missed = [row.measure for row in rows if row.met is False]
    said = [text for word, text in MISSED.items() if any(word in measure for measure in missed)]
    return "\n## What is missed, and why\n\n" + "\n".join(f"- {text}" for text in said) + "\n" if said else ""


HEAD = """# The terminal app

`python -m benchmarks.app.tui`

At a pseudo terminal of 80 x 24 on an invented project of {samples:,} samples: {machine}. p50 and p95 are the median and
the 95 % quantile. Where there is no other word, a time is of the wall clock: see the load of the machine beside it.

"""
MISSED: dict[str, str] = {
    "first paint": (
        "**First paint.** The key imports the screen, opens the store and lists the first page; cold, Python's files"
        " and the store's pages are read from the disk for it, beside what other processes do there."
    ),
    "first byte, idle": (
        "**Cursor key, idle.** The app needs some 5 ms of CPU a key; the 95 % quantile is how long it waits for a core"
        " that others use. It was 3 to 9 ms where they computed less."
    ),
    "to the page": (
        "**Re-sort, the order turned round.** The order is kept in memory. A thread opens the store and reads the rows"
        " that are seen, from anywhere in a gigabyte; then the way back to the app, and painting 2.7 KB."
    ),
    "to the first page": (
        "**Re-sort, first page, by the menu.** The new rows come with the frame in which the menu closes: some 15 ms of"
        " CPU, most of it Textual's, twice that by the clock where cores are shared."
    ),
    "full order": (
        "**Re-sort, full order.** Half a million ids out of an index into an array take 110 to 120 ms of CPU where"
        " nobody else computes, two thirds of it in SQLite and the rest in making Python's numbers; it is begun when"
        " the first page is painted. Where cores are shared it is two to three times as long by the clock. An order"
        " that was read is kept, so that the same again, or the other way round, reads nothing."
    ),
    "question it opens": (
        "**A question on a 16 KB/s line.** Opening a modal screen makes Textual paint all of the terminal, about 10 KB:"
        " 0.6 s on this line, whatever else happens. Keys that open nothing are answered within the target."
    ),
    "quality<4": (
        "**Filters that many samples pass.** Their ids are read from an index and the order of the dataset passes by"
        " them; the first page is there after the first few."
    ),
    "word difference of": (
        "**Word difference.** Found and laid out: 23 to 66 and 23 to 55 ms where the machine had less to do"
        " (word-diff.md). The next three are prefetched, so it is waited for once."
    ),
    "import of the app": (
        "**Start.** msgspec with the configuration, sqlite3 and the app's own modules, none over a few per cent. In CPU"
        " time, which doubles where the cores are shared: compare with what bare Textual takes in the same processes."
    ),
}


if __name__ == "__main__":
    main()
