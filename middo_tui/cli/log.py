"""``middo-tui log``: the run's events, or what one of its processes wrote."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import one_line, say, say_json

if TYPE_CHECKING:
    from middo_tui.feed.run_log import Level, LogEntry


@click.command("log")
@click.argument("folder", type=FOLDER, default=".")
@click.option("--source", default="events", metavar="NAME", help="events, or a file of logs/, e.g. worker.log.")
@click.option("--level", type=click.Choice(["all", "warning", "error"]), default="all", help="warning includes errors.")
@click.option("--grep", "words", default="", metavar="WORDS", help="Only lines that contain this text, ignoring case.")
@click.option("--limit", type=click.IntRange(0), default=50, show_default=True, help="Maximum number; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def log_command(folder: Path, source: str, level: Level, words: str, limit: int, as_json: bool) -> None:
    """Print the newest lines of the log, oldest first."""
    from middo_tui.feed.run_log import load

    found = load(folder, source, level, words, limit)
    for entry in found.entries:
        if as_json:
            say_json({"at": entry.at, "level": entry.level, "stage": entry.stage or None, "text": entry.text})
        else:
            say(_text(entry))
    if not as_json and found.found > len(found.entries):
        say(f"the newest {len(found.entries):,} of {found.found:,} lines; all with --limit 0", err=True)
    if not as_json and source == "events" and len(found.sources) > 1:
        say(f"Other logs: {', '.join(found.sources[1:])}", err=True)


def _text(entry: LogEntry) -> str:
    mark = {"error": "✘ ", "warning": "! "}.get(entry.level, "")
    if entry.at is None:
        return f"{mark}{entry.text}"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at))
    return f"{at}  {one_line(entry.stage, 20):<8}  {mark}{entry.text}"
