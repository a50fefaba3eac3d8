"""``middo-tui quarantine``: rows that could not be imported, with file, row number and reason."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import click
from msgspec.structs import asdict

from engine.plurals import counted
from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import one_line, say, say_json

EXCERPT = 300


@click.command()
@click.argument("folder", type=FOLDER, default=".")
@click.option("--reason", default="", metavar="WORDS", help="Only reasons that contain this text.")
@click.option("--file", "file_", default="", metavar="WORDS", help="Only files whose name contains this text.")
@click.option("--counts", is_flag=True, help="Count rows per reason instead of listing rows.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Maximum number of lines; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, with the row's text.")
def quarantine(folder: Path, reason: str, file_: str, counts: bool, limit: int, as_json: bool) -> None:
    """List rows that could not be imported, and why. Exit code 0 even if there are none."""
    from engine.store import quarantine as held
    from engine.store.connect import reader

    db = reader(folder)
    try:
        db.row_factory = None
        total = held.count(db, reason, file_)
        found: Iterable[held.Reason | held.Refused] = (
            held.reasons(db, reason, file_) if counts else held.refused(db, reason, file_)
        )
        for one in islice(found, limit or None):
            if as_json:
                say_json(asdict(one))
            elif isinstance(one, held.Reason):
                say(one_line(f"{one.rows:>9,}  {one.reason} (first: {one.file}, row {one.row})", 2 * EXCERPT))
            else:
                say(one_line(f"{one.file}, row {one.row}: {one.reason}", 2 * EXCERPT))
                say(f"    {one_line(one.raw, EXCERPT)}")
        if not as_json:
            say(counted(total, "quarantined row") + (f" match{'es' if total == 1 else ''}" if reason or file_ else ""))
    finally:
        db.close()
