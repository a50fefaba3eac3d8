"""The start of the app beside two other Textual apps: harlequin (a database client) on the very same file, and posting
(an HTTP client).

    python -m benchmarks.app.peers --project DIR --times 5

The peers are installed, their newest versions, into environments of their own under ``--folder``; nothing of them comes
into this one. Each app starts in turn in a terminal of 120 x 40. "Painted" is when a word of its first screen had come.
Writes docs/benchmarks/peers.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import ROOT, measured, peer_environments
from benchmarks.app.samples_screen import LOOP_IS_THERE
from benchmarks.app.timed_terminal import Timed
from benchmarks.app.tui import compiled

PAGE = ROOT / "docs" / "benchmarks" / "peers.md"
COLUMNS, ROWS = 120, 40
QUIET_S = 1.0
PEERS = {
    "harlequin": ("harlequin",),
    "posting": ("posting", "tree-sitter==0.25.2"),  # with 0.26 its newest version, 2.11.1, ends in a segmentation fault
}
MARKERS = {"middo-tui": LOOP_IS_THERE, "harlequin": "Run Query", "posting": "Collection"}
"""A word of the first screen of each."""


def version(program: Path) -> str:
    """The versions of a peer and of its Textual."""
    code = "from importlib.metadata import version as v; import sys; print(v(sys.argv[1]), 'on Textual', v('textual'))"
    done = subprocess.run(
        [str(program.parent / "python"), "-c", code, program.name], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def started(argv: list[str], marker: str) -> tuple[float, float, float]:
    """One start: ms to the first screen, CPU ms until it is quiet, resident MB then."""
    terminal = Timed.of(argv, COLUMNS, ROWS)
    ms = terminal.started(marker)
    terminal.watch(QUIET_S)
    found = ms, terminal.cpu_ms, terminal.memory[0]
    terminal.end()
    return found


def main(asked: argparse.Namespace) -> None:
    """Install, measure in turn, write the page."""
    programs = {name: peer_environments.python(asked.folder, name, PEERS[name]).parent / name for name in PEERS}
    compiled()
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(shutil.copytree(asked.project, Path(scratch) / "project"))
        os.environ |= {
            "HOME": scratch,
            "XDG_CONFIG_HOME": scratch,
            "XDG_DATA_HOME": scratch,
        }  # no settings of a person's
        commands: dict[str, Callable[[], list[str]]] = {
            "middo-tui": lambda: [sys.executable, "-m", "middo_tui.cli", str(project)],
            "harlequin": lambda: [str(programs["harlequin"]), "-a", "sqlite", str(project / "middo.db")],
            "posting": lambda: [str(programs["posting"])],
        }
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        for _ in range(asked.times + 1):
            for name, argv in commands.items():
                found[name].append(started(argv(), MARKERS[name]))
    said = {"middo-tui": "this version"} | {name: version(program) for name, program in programs.items()}
    rows = []
    for name, (_, *times) in found.items():  # the first start of each fills the page cache
        ms, cpu, memory = (median(column) for column in zip(*times, strict=True))
        rows.append([name, said[name], f"{cpu:,.0f}", f"{ms:,.0f}", f"{memory:,.0f}"])
    size = (asked.project / "middo.db").stat().st_size / 2**20
    lines = [
        "# The start beside other terminal apps",
        "",
        f"By `python -m benchmarks.app.peers --times {asked.times}` on {measured.machine()}. {asked.note}".rstrip(),
        "",
        f"Medians of {asked.times} starts in turn at {COLUMNS} x {ROWS}, after one that is not counted. middo-tui and"
        f" harlequin open the same project's file ({size:,.0f} MiB); posting opens nothing. What they do is not alike:"
        " each shows its own first screen.",
        "",
        measured.table(
            ["app", "version", "CPU ms to a second after it is painted", "ms to the first screen", "resident MB"], rows
        ),
        "",
    ]
    PAGE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, required=True, help="a project; a copy of it is opened")
    parser.add_argument("--folder", type=Path, default=peer_environments.FOLDER)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--note", default="", help="a sentence for the page, e.g. what else the machine was doing")
    main(parser.parse_args())
