"""``middo-tui report``: a project as one HTML page to send to somebody."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import click

from engine.errors import DataError, UsageError
from middo_tui.cli.arguments import FOLDER
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

    if out.exists() and not force:
        raise UsageError(f"{out}: exists. Choose another name, or overwrite it with --force.")
    facts = gather(folder)
    if not facts.rounds:
        raise UsageError(f"{folder}: no round has run yet, so there is nothing to report.")
    _write(out, page(facts, time.time()))
    say(f"{out}: {out.stat().st_size / 1024:,.0f} KiB. It quotes your dataset; read it before you send it.")


def _write(out: Path, text: str) -> None:
    """Write ``text`` to ``out`` whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    new = out.with_name(f".{out.name}.new")
    try:
        new.write_text(text, encoding="utf-8", newline="\n")
        os.replace(new, out)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise DataError(f"{out}: cannot write: {error.strerror}. Choose another place.") from None
