"""``middo-tui pause``, ``resume``, ``cancel`` and ``undo``."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import click

from engine.errors import UsageError
from engine.plurals import counted
from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import say


@click.command()
@click.argument("folder", type=FOLDER, default=".")
def pause(folder: Path) -> None:
    """Pause the run: finish the current batch or checkpoint, save, and free the device."""
    _want(folder, "pause", "pausing after the current batch or checkpoint")


@click.command()
@click.argument("folder", type=FOLDER, default=".")
def cancel(folder: Path) -> None:
    """Stop the run now. Saved work is kept; `run` resumes from it."""
    _want(folder, "cancel", "cancelling")


@click.command()
@click.argument("folder", type=FOLDER, default=".")
def resume(folder: Path) -> None:
    """Resume the run with the options it was started with."""
    from engine.runtime import launch
    from engine.store import commands
    from middo_tui.text.status import standing

    if standing(folder).pid is None and (said := nothing_to_run(folder)):
        say(said)
        return
    commands.set_want(folder, "run")
    launch.start(folder)
    say(f"{folder}: running")


@click.command()
@click.argument("folder", type=FOLDER, default=".")
def undo(folder: Path) -> None:
    """Undo the last review decision, or the merge if the next round has not started."""
    from engine.runtime import launch
    from engine.store import commands
    from engine.store.connect import reader
    from engine.store.unmerge import undo_merge, undoable
    from middo_tui.text.status import standing

    db = reader(folder)
    try:
        merged = undoable(db, standing(folder).pid is not None)
    finally:
        db.close()
    again = f"Resume: middo-tui run {quote(str(folder))}"
    if merged is not None:
        round = undo_merge(folder, launch.alive)
        say(f"{folder}: undid the merge of round {round}; its review decisions are kept. {again}")
        return
    step = commands.undo(folder)
    if not step.keys:
        raise UsageError(
            f"{folder}: nothing to undo. A review decision can be undone until the merge, a merge until the next"
            " round starts."
        )
    count = len(step.keys)
    rewrites = counted(count, "rewrite")
    say(f"{folder}: undid the last decision on {rewrites} of round {step.round}. {again}")


def nothing_to_run(folder: Path) -> str:
    """Why a run would end at once; empty if there is something to run."""
    from engine.config import schema as configs
    from middo_tui.cli.plain import what_now
    from middo_tui.feed.reader import Reader

    view = Reader(folder)
    try:
        now = view.view()
    finally:
        view.close()
    asks = now.next is not None and now.next[1] == "review" and now.waiting.open and not now.auto
    if asks:
        asks = configs.load(folder).review.policy == "manual"
    if now.problem or not (now.state == "done" or (now.state == "waiting" and asks)):
        return ""
    said = f"{folder}: nothing to run. {what_now(folder)}"
    if now.state != "done" or not now.extensible or now.overridden:  # what to do about overrides is in it
        return said
    return f"{said} To run one more round: middo-tui run {quote(str(folder))} --rounds {now.rounds + 1}"


def _want(folder: Path, want: str, done: str) -> None:
    from engine.store import commands
    from middo_tui.text.status import standing

    if standing(folder).pid is None:
        raise UsageError(f"{folder}: nothing is running.")
    commands.set_want(folder, want)
    say(f"{folder}: {done}. Resume with `middo-tui resume {quote(str(folder))}`.")
