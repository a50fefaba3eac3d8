"""``middo-tui doctor``: can this machine run it?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.errors import UsageError
from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say, say_json

if TYPE_CHECKING:
    from engine.doctor.finding import Finding


@click.command()
@click.argument("folder", type=FOLDER, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@click.option("--ask", is_flag=True, help="Also send a test request to a remote teacher.")
@click.option(
    "--nodes",
    "wait_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait so long for the machines of [launch] nodes to join, and try them, without a run.",
)
def doctor(folder: Path | None, as_json: bool, ask: bool, wait_s: float | None) -> None:
    """Check the machine and, for a project, its models, teacher, data, memory and disk space. Exit code 1 if a run
    would fail.
    """
    from engine.doctor.fit import lines

    if wait_s is not None and folder is None:
        raise UsageError("--nodes needs a project, whose machines it tries: middo-tui doctor --nodes 60 DIR")
    if ask and folder is None:
        raise UsageError("--ask needs a project, whose teacher it asks: middo-tui doctor --ask DIR")
    if as_json:
        found = list(_found(folder, ask, wait_s))
        say_json(lines(found))
        sys.exit(int(any(finding.bad for finding in found)))
    import shutil
    import textwrap

    worst, width = 0, max(shutil.get_terminal_size().columns, 60) if sys.stdout.isatty() else sys.maxsize
    for finding in _found(folder, ask, wait_s):
        said = [(f"{finding.mark} {finding.name:<12} ", finding.text)]
        said += [(f"  {'':<12} → ", finding.fix)] if finding.fix else []
        for start, text in said:
            say(textwrap.fill(text, width, initial_indent=start, subsequent_indent=" " * len(start)))
        worst = max(worst, int(finding.bad))
    sys.exit(worst)


def _found(folder: Path | None, ask: bool, wait_s: float | None) -> Iterator[Finding]:
    """All findings; with ``wait_s`` only those of the machines that join."""
    if folder is None or wait_s is None:
        from engine.doctor.report import findings

        yield from findings(folder, ask, timed=True)
        return
    from engine.config import schema
    from engine.runtime.check_nodes import muster

    config = schema.load(folder)
    if config.launch.nodes == 1:
        raise UsageError(f"{folder / 'config.toml'}: [launch] nodes = 1, so there are no others to try.")
    yield from muster(config, folder, wait_s, lambda line: say(line, err=True))
