"""``middo-tui run --control``: measures what a round gained over another selection, or over none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from engine.plurals import counted
from engine.store.controls import Kind
from middo_tui.cli.running import follow_run, start_run
from middo_tui.terminal.console import say
from middo_tui.text import number_format

if TYPE_CHECKING:
    from engine.project.controls import PreparedControl


def measure(folder: Path, kind: Kind, round: int | None, open_app: Callable[[Path], int] | None, wait: bool) -> int:
    """Run the control ``kind`` of a round, and print what it says; returns the exit code.

    Args:
        round: None: the newest whose result is measured.
        open_app: opens a project in the app; None: there is no terminal for it.
        wait: print progress until it ends.
    """
    from engine.project import controls as made
    from engine.runtime import launch
    from engine.store import controls
    from middo_tui.text.control_wording import UNLIKE
    from middo_tui.text.status import standing

    if standing(folder).pid:
        raise launch.already_running(folder)
    round = made.measured(folder, round)
    there = controls.folder(folder, round, kind)
    if not (there / "middo.db").is_file() or not standing(there).pid:
        ready = made.prepare(folder, kind, round)
        say(f"{folder}: round {round}, control {kind}: {_cost(ready)}")
        if ready.by_hand:
            say(f'{folder}: {UNLIKE}: with review.policy = "manual" rewrites that improved are accepted without review')
        if ready.folder is None:
            return _say_result(folder, round, kind)
        over = start_run(ready.folder, round + 1, None, auto=True)
        if over:
            controls.report(ready.folder)
            return _say_result(folder, round, kind)
    if wait:
        code = follow_run(there)
        return code or _say_result(folder, round, kind)
    if open_app is not None:
        return open_app(there)
    again = f"middo-tui run {quote(str(folder))} --control {kind} --round {round} --wait"
    say(f"{there}: running. Watch it: middo-tui {quote(str(there))} · Wait for the result: {again}")
    return 0


def _cost(ready: PreparedControl) -> str:
    """What the control will take, in words."""
    if ready.folder is None:
        return "its own model was trained on the unchanged dataset, so there is nothing to run"
    cost = ready.cost
    said = f"about {number_format.duration(cost.seconds)} on this machine"
    if not cost.calls:
        return f"{said}, no teacher calls"
    price = f", {cost.price:,.2f} in cost" if cost.price else ""
    return f"{said}, about {counted(cost.calls, 'teacher call')} ({cost.tokens:,} tokens{price})"


def _say_result(folder: Path, round: int, kind: Kind) -> int:
    """Print the sentence on one control; 1 where there is none."""
    from engine.store import controls
    from engine.store.connect import reader
    from middo_tui.text.control_wording import sentence

    db = reader(folder)
    try:
        found = [row for row in controls.main_results(db, round) if row.kind == kind]
        unlike = controls.by_hand(db, round)
    finally:
        db.close()
    for row in found:
        say(f"round {round}: {sentence(row, unlike)}")
    if not found:
        way = f"middo-tui run {quote(str(controls.folder(folder, round, kind)))} --redo evaluate"
        say(f"round {round}: the control {kind} has no score that can be compared. Redo its evaluation: {way}")
    return 0 if found else 1
