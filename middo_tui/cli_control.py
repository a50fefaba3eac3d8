"""``middo-tui pause``, ``resume`` and ``cancel``: what is wanted of a run, without the app."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import click

from engine.errors import UsageError
from middo_tui.say import say


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
    """Go on as last asked for."""
    from engine import launch
    from engine.store import commands

    commands.set_want(folder, "run")
    launch.start(folder)
    say(f"{folder}: running")


def _want(folder: Path, want: str, done: str) -> None:
    from engine.store import commands
    from middo_tui.status import standing

    if standing(folder).pid is None:
        raise UsageError(f"{folder}: nothing is running.")
    commands.set_want(folder, want)
    say(f"{folder}: {done}. Go on with `middo-tui resume {quote(str(folder))}`")
