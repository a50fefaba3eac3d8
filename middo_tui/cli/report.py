"""``middo-tui report``: a project as one HTML page to send to somebody."""

from __future__ import annotations

import time
from pathlib import Path

import click

from engine.errors import UsageError
from middo_tui.cli.arguments import FOLDER
from middo_tui.cli.output_file import require_free, write_whole
from middo_tui.terminal.console import say


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Overwrite OUT if it exists.")
def report(folder: Path, out: Path, force: bool) -> None:
    """Write a report on a project to OUT, one HTML page without scripts: scores, curves, examples, costs, provenance.

    It quotes prompts and replies of your dataset.
    """
    from middo_tui.report.facts import gather
    from middo_tui.report.page import page

    require_free(out, force)
    facts = gather(folder)
    if not facts.rounds:
        raise UsageError(f"{folder}: no round has run yet, so there is nothing to report.")
    write_whole(out, page(facts, time.time()).encode())
    say(f"{out}: {out.stat().st_size / 1024:,.0f} KiB. It quotes your dataset; read it before you send it.")
