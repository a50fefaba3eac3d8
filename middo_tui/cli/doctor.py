"""``middo-tui doctor``: can this machine run it?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine.errors import UsageError
from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say, say_json


@click.command()
@click.argument("folder", type=FOLDER, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@click.option("--ask", is_flag=True, help="Also send a test request to a remote teacher.")
def doctor(folder: Path | None, as_json: bool, ask: bool) -> None:
    """Check the machine and, for a project, its models, teacher, data, memory and disk space. Exit code 1 if a run
    would fail.
    """
    from engine.doctor.fit import lines
    from engine.doctor.report import findings

    if ask and folder is None:
        raise UsageError("--ask needs a project, whose teacher it asks: middo-tui doctor --ask DIR")
    if as_json:
        found = list(findings(folder, ask, timed=True))
        say_json(lines(found))
        sys.exit(int(any(finding.bad for finding in found)))
    import shutil
    import textwrap

    worst, width = 0, max(shutil.get_terminal_size().columns, 60)
    for finding in findings(folder, ask, timed=True):
        said = [(f"{finding.mark} {finding.name:<12} ", finding.text)]
        said += [(f"  {'':<12} → ", finding.fix)] if finding.fix else []
        for start, text in said:
            say(textwrap.fill(text, width, initial_indent=start, subsequent_indent=" " * len(start)))
        worst = max(worst, int(finding.bad))
    sys.exit(worst)
