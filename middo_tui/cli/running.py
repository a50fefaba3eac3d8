"""Starting a run, and following it as lines of text."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from shlex import quote

from engine.errors import UsageError
from engine.store import permissions
from middo_tui.cli.control import nothing_to_run
from middo_tui.terminal.console import say


def start_run(folder: Path, rounds: int | None, until: str | None, auto: bool) -> str:
    """Store the plan, and start the worker if there is something to run.

    Returns:
        Why there is nothing to run; empty if the worker was started.
    """
    from engine.config import schema
    from engine.runtime import launch
    from engine.store import commands
    from middo_tui.text import status as facts

    now = facts.standing(folder)
    if now.pid:
        raise launch.already_running(folder)
    settings = schema.load(folder)
    if not settings.model.name:
        raise UsageError(f"{folder / 'config.toml'}: [model] name is empty. Set it to the model to fine-tune.")
    if said := permissions.note(folder):
        say(said, wrap=True)
    stop = facts.until(now.jobs, until) if until else None
    commands.set_plan(folder, rounds or settings.loop.rounds, stop, auto)
    over = nothing_to_run(folder)
    if not over:
        if (left := facts.time_left(folder)) is not None:
            say(f"time: {left}", wrap=True)
        launch.start(folder)
    return over


def follow_run(folder: Path) -> int:
    """Print a run's progress until it ends; returns the exit code. Ctrl-C leaves the run as it is."""
    from middo_tui.cli.plain import follow

    try:
        return follow(folder, partial(say, wrap=True))
    except KeyboardInterrupt:
        at = quote(str(folder))
        ways = f"Watch it: middo-tui {at} · Pause it: middo-tui pause {at}"
        say(f"\nThe run continues in the background. {ways}", wrap=True)
        return 130
