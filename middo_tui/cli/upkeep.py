"""``middo-tui check``, ``backup``, ``restore`` and ``prune``."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from engine.errors import UsageError
from engine.plurals import counted
from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import one_line, say, say_json

if TYPE_CHECKING:
    from engine.upkeep.check import CheckReport

SHOWN_TABLES = 5


@click.command()
@click.argument("folder", type=FOLDER, default=".")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(folder: Path, as_json: bool) -> None:
    """Check a project's database, files and settings, and show what takes up space. Exit code 0: sound, 1: damaged.

    It can be used while the project runs, and changes nothing.
    """
    from engine.upkeep.check import check as look

    found = look(folder)
    if as_json:
        say_json({"sound": found.sound, **asdict(found), "faults": [asdict(one) for one in found.faults],
                  "rounds": [asdict(one) for one in found.rounds]})  # fmt: skip
    else:
        say(_report(found))
    sys.exit(0 if found.sound else 1)


def _report(found: CheckReport) -> str:
    lines = []
    for fault in found.faults:
        mark = "✘" if fault.level == "damage" else "·"
        lines += [f"{mark} {one_line(f'{fault.where}: {fault.what}')}", f"    → {one_line(fault.mend)}"]
    lines.append("sound: nothing is missing or damaged" if found.sound else "damaged: see ✘")
    tables = list(found.tables.items())[:SHOWN_TABLES]
    largest = f" ({', '.join(f'{name} {size(count)}' for name, count in tables)})" if tables else ""
    log = f", write-ahead log {size(found.wal)}" if found.wal else ""
    lines.append(f"database {size(found.database)}{largest}{log}")
    for one in found.rounds:
        models = f"{size(one.artifacts):>9} of models and embeddings"
        lines.append(f"round {one.round:<3} {one.rows:>9,} rows  {models}  {size(one.logs):>9} of logs")
    return "\n".join(lines)


def size(count: int) -> str:
    """Bytes in the largest unit that leaves a figure of 1 or more, e.g. ``1.2 MB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("out", type=FOLDER)
def backup(folder: Path, out: Path) -> None:
    """Copy a project into the new folder OUT and verify the copy. The project may run meanwhile."""
    from engine.upkeep.backup import backup as make

    made = make(folder, out, say)
    say(f"{out}: {counted(len(made.files), 'file')}, {size(made.total)}, read back and verified.")
    say(f"Restore it: middo-tui restore {quote(str(out))} NEW-FOLDER")


@click.command()
@click.argument("backup", type=FOLDER)
@click.argument("folder", type=FOLDER)
def restore(backup: Path, folder: Path) -> None:
    """Verify a backup and restore it into the new folder FOLDER."""
    from engine.upkeep.backup import restore as make

    made = make(backup, folder)
    say(f"{folder}: {counted(len(made.files), 'file')}, {size(made.total)}, verified.")
    say(f"Resume: middo-tui run {quote(str(folder))}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--checkpoints",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Also remove the models of all rounds but the last N and the best one.",
)
def prune(folder: Path, checkpoints: int | None) -> None:
    """Remove leftovers of killed runs and databases kept before upgrades, and compact the database."""
    from engine.upkeep.prune import prune as remove
    from middo_tui.text.status import standing

    if standing(folder).pid:
        raise UsageError(f"{folder}: a worker is running. Pause it first: middo-tui pause {quote(str(folder))}")
    done = remove(folder, checkpoints or 0)
    for path in done.removed:
        say(f"removed {one_line(path)}")
    say(f"{folder}: {size(done.freed)} freed")
