"""``middo-tui pause``, ``resume`` and ``cancel``: what is wanted of a run, without the app."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import click

from engine.errors import UsageError
from middo_tui.terminal.console import say


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=".")
def pause(folder: Path) -> None:
    """Save at the next boundary, stop and free the GPU."""
    _want(folder, "pause", "will stop at the next boundary")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=".")
def cancel(folder: Path) -> None:
    """Stop now; what was saved stays, and `run` goes on from it."""
    _want(folder, "cancel", "is being stopped")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=".")
def resume(folder: Path) -> None:
    """Resume the run as last asked for."""
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
@click.argument("folder", type=click.Path(path_type=Path), default=".")
def undo(folder: Path) -> None:
    """Undo the last step of the review, or the merge until the next round has begun."""
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
    again = f"Go on: middo-tui run {quote(str(folder))}"
    if merged is not None:
        round = undo_merge(folder, launch.alive)
        say(f"{folder}: the merge of round {round} is undone; its decisions stand. {again}")
        return
    step = commands.undo(folder)
    if not step.keys:
        raise UsageError(
            f"{folder}: nothing to undo. A merge can be undone until the next round has begun, a decision until the"
            " merge."
        )
    count = len(step.keys)
    rewrites = "1 rewrite of" if count == 1 else f"{count:,} rewrites of"
    say(f"{folder}: undone; {rewrites} round {step.round} as before. {again}")


def nothing_to_run(folder: Path) -> str:
    """Why a run would end at once; empty when there is something to do."""
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
    more = f" One more round: middo-tui run {quote(str(folder))} --rounds {now.rounds + 1}"
    return f"{folder}: nothing to run. {what_now(folder)}{more if now.state == 'done' and not now.final else ''}"


def _want(folder: Path, want: str, done: str) -> None:
    from engine.store import commands
    from middo_tui.text.status import standing

    if standing(folder).pid is None:
        raise UsageError(f"{folder}: nothing is running.")
    commands.set_want(folder, want)
    say(f"{folder}: {done}. Go on with `middo-tui resume {quote(str(folder))}`")
