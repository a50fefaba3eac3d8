"""``run --redo``: discards what stages of the newest round did; asks first, where a person can answer."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine.project.folder import redo, would_discard
from engine.runtime import launch
from middo_tui.terminal.console import say
from middo_tui.text.status import standing


def forget(project: Path, stage: str, ask: bool) -> None:
    """Discard the newest round's results of ``stage`` and of all later stages.

    ``ask``: at a terminal, ask before a person's decisions or an endpoint's answers are lost; after "no" the command
    ends with exit code 1.

    Raises:
        UsageError: the stage cannot be run again.
        WorkerError: the project is running.
    """
    _refuse_running(project)
    if ask and sys.stdin.isatty() and sys.stdout.isatty() and (lost := would_discard(project, stage)):
        for text in lost:
            say(f"! {text}")
        if not click.confirm(f"Discard that and rerun {stage}?"):
            say("Nothing was changed.")
            sys.exit(1)
        _refuse_running(project)  # somebody else may have started it meanwhile
    redo(project, stage, say)


def _refuse_running(project: Path) -> None:
    if standing(project).pid:
        raise launch.already_running(project)
