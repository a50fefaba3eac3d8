"""Counts the keys of the main jobs in the real app at a pseudo terminal, and times a review of 200 rewrites:
``python -m benchmarks.app.keystrokes [--out FILE]``.

Every key of the "now" column is really pressed, and the program must answer it. The first release (commit be4b9b8) is
not run: its keys are those of its key table, its commands those that its README names.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import ROOT
from benchmarks.app.timed_terminal import Answer, Timed, p50, p95
from benchmarks.world import project as world
from tests.support.reviews import reviewing

REWRITES = 200
MOST_KEYS, MOST_MS, BUSY = 420, 50, 1.5
REJECT_REASON = b"3"
ENTER, DOWN = b"\r", b"\x1b[B"
MIDDO = [sys.executable, "-m", "middo_tui.cli"]
INIT = "middo-tui init p --data mine.jsonl --model demo:base --teacher demo:teacher\n"
EXPORT = "middo-tui export p better.json\n"


class MainJob(NamedTuple):
    """``keys`` now and in the first release; ``then`` None: it could not be done there. ``note``: how."""

    name: str
    keys: int
    then: int | None
    note: str


class KeyCounter:
    """Keys into a terminal, each of which must be answered."""

    def __init__(self, terminal: Timed) -> None:
        self.terminal = terminal
        self.keys = 0
        self.answers: list[Answer] = []

    def press(self, key: bytes, marker: str = "") -> None:
        """One key, until ``marker`` (or anything) was written and the screen is quiet."""
        self.keys += 1
        self.answers.append(self.terminal.press(key, marker))

    def type(self, text: str) -> None:
        """A key per letter."""
        for letter in text:
            self.press(letter.encode())


@contextmanager
def program(arguments: list[str], folder: Path, columns: int = 80, rows: int = 24) -> Iterator[KeyCounter]:
    """``middo-tui`` with ``arguments`` in ``folder``."""
    before = Path.cwd()
    os.chdir(folder)  # what a person did before they called it
    try:
        terminal = Timed.of([*MIDDO, *arguments], columns, rows)
    finally:
        os.chdir(before)
    try:
        yield KeyCounter(terminal)
    finally:
        terminal.end()


def start(folder: Path) -> list[MainJob]:
    """From a dataset file to a project, with the wizard, and its first run begun."""
    row = {"instruction": "What is 1 + 1?", "input": "", "output": "It is 2."}
    rows = [{**row, "instruction": f"What is {n} + 1?", "output": f"It is {n + 1}."} for n in range(40)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    with program([], folder) as app:
        app.keys += len("middo-tui\n")
        app.terminal.wait_for("mine.jsonl")
        app.press(DOWN)  # behind "try the demo"
        app.press(ENTER, "usable")
        app.press(ENTER, "Which model")
        app.type("demo:base")
        app.press(ENTER, "Which teacher")
        app.type("demo:teacher")
        app.press(ENTER, "Start from which settings")
        app.press(ENTER, "Project folder")
        app.press(ENTER, "imported")
        made = MainJob("start a project from a file", app.keys, len(INIT) + len("middo-tui p\n"), "now with the wizard")
        app.keys = 0
        app.press(ENTER, "● running")
        ran = MainJob("run it", app.keys, 1, "")
        project = next(one.parent for one in folder.glob("*/middo.db"))
        subprocess.run([*MIDDO, "cancel", str(project)], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return [made, ran]


def review(folder: Path) -> tuple[list[MainJob], list[Answer]]:
    """Decide on every rewrite alone, two of five rejected with a reason; then the merge's card."""
    reviewing(folder / "p", REWRITES)
    with program(["p"], folder) as app:
        app.terminal.wait_for("your turn")
        app.press(b"4", "undecided")
        opened = len(app.answers)
        timed: list[Answer] = []
        for number in range(REWRITES):
            if number % 5 < 2:
                app.press(b"r")
                app.press(REJECT_REASON)
            else:
                app.press(b"a")
            timed.append(app.answers[-1])
        assert len(app.answers) - opened == app.keys - 1
        decided = MainJob(
            f"review {REWRITES} rewrites one by one", app.keys, None, "two of five rejected, with a reason"
        )
        worst = MainJob("the same, if every one is rejected with a reason", 1 + 2 * REWRITES, None, "calculated")
        app.keys = 0
        app.press(ENTER, "riskiest")
        app.keys += 1  # enter once more: not pressed, as there is no model here to merge for
        merged = MainJob("merge what was accepted", app.keys, 1, "now with a card that shows the riskiest three")
    return [decided, worst, merged], timed


def bulk(folder: Path) -> MainJob:
    """Decide on all of them by the signals."""
    reviewing(folder / "p", REWRITES)
    with program(["p"], folder) as app:
        app.terminal.wait_for("your turn")
        app.press(b"e")
        app.press(b"y")
    return MainJob("accept the improved ones, reject the rest", app.keys, 2, "")


def look(folder: Path) -> list[MainJob]:
    """Whether it helped, and the dataset as a file."""
    world.make(folder / "p", 200)
    with program(["p"], folder) as app:
        app.terminal.wait_for("your turn")
        app.press(b"5", "accuracy")
        helped = MainJob("see whether it helped: scores with their errors", app.keys, 0, "then a table without errors")
        app.press(b"x", "Export which dataset")
        app.press(ENTER, "rows")
        export = MainJob("export the dataset", app.keys, len(EXPORT), "")
    with program(["p"], folder) as app:
        app.terminal.wait_for("your turn")
        for letter in "\x10export":
            app.press(letter.encode())
        found = MainJob("the same by the command palette", app.keys + 2, None, "ctrl-p, six letters, enter twice")
    return [helped, export, found]


PAGE = """# Keystrokes

Made by `python -m benchmarks.app.keystrokes --out docs/benchmarks/keystrokes.md`. Every key of the column "now" was
pressed in the real app at a pseudo terminal of 80 × 24, unless the note says otherwise. 0.1.0 is the first release
(commit be4b9b8): keys of its key table, and the letters of the commands that its README gives, for the same files and
models.

| job | 0.1.0 | now | |
|---|---:|---:|---|
{rows}

Answers to the wizard's questions were typed in full; they can also be chosen with ↓. The first release had one screen:
rewrites could only be accepted or rejected all together.

## Review at speed

{count} decisions with {keys} keys (target: at most {most_keys}). From the key that decides to the first byte of the
next rewrite's screen:

| | p50 | p95 | target |
|---|---:|---:|---:|
| by the clock, ms | {ms50:.0f} | {ms95:.0f} | {most_ms} |
| CPU time of the app until the screen is quiet, ms | {cpu50:.0f} | {cpu95:.0f} | |
| bytes | {bytes50:.0f} | {bytes95:.0f} | |

{machine}, {cpus} CPUs, load average {load:.1f} at the end{busy}.
"""


def page(jobs: list[MainJob], timed: list[Answer]) -> str:
    """The page, in Markdown."""
    rows = [(job.name, "not possible" if job.then is None else job.then, job.keys, job.note) for job in jobs]
    ms, cpu, size = ([getattr(one, name) for one in timed] for name in ("ms", "cpu_ms", "size"))
    load = os.getloadavg()[0]
    return PAGE.format(
        rows="\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows),
        count=REWRITES,
        keys=next(job.keys for job in jobs if job.name.startswith("review")),
        most_keys=MOST_KEYS,
        most_ms=MOST_MS,
        **{f"{name}{share}": of(values) for name, values in (("ms", ms), ("cpu", cpu), ("bytes", size))
           for share, of in ((50, p50), (95, p95))},
        machine=platform.processor() or platform.machine(),
        cpus=os.cpu_count(),
        load=load,
        busy=": a busy machine, the clock says little" if load > BUSY else "",
    )  # fmt: skip


def main() -> None:
    """Run everything in a new folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out: Path | None = parser.parse_args().out
    os.environ |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / part for part in ("start", "review", "bulk", "look", "config", "state", "cache")]
        for folder in folders:
            folder.mkdir()
        os.environ |= {
            "XDG_CONFIG_HOME": str(folders[4]),
            "XDG_STATE_HOME": str(folders[5]),
            "HF_HOME": str(folders[6]),
        }
        begun = start(folders[0])  # first: for a newcomer no project is known yet
        reviewed, timed = review(folders[1])
        jobs = [*begun, *reviewed, bulk(folders[2]), *look(folders[3])]
    text = page(jobs, timed)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
