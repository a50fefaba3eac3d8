"""What a person can ask of a run: thin verbs over the engine's commands and launcher. Each returns a line to show.

Opening the app calls none of these; only a key does. They may block (a busy database, a worker that starts): call them
in a thread.
"""

from __future__ import annotations

from pathlib import Path

from engine.config import schema as configs
from engine.errors import ConfigError, UsageError, WorkerError
from engine.plurals import counted
from engine.runtime import launch
from engine.store import commands, read
from engine.store.connect import reader
from engine.store.rows import Plan
from engine.store.unmerge import undo_merge
from middo_tui.keys.tables import press

HOLD_S = 20.0
"""After a merge that was asked for in the app, so long the next round does not begin: the merge can be undone."""
WHICH = ("improved", "all", "none")


def _plan(project: Path) -> tuple[Plan, bool]:
    """The plan and whether a worker runs; without a plan, the one that config.toml asks for."""
    db = reader(project)
    try:
        asked = db.execute("SELECT 1 FROM plan WHERE id=1").fetchone() is not None
        plan = read.plan(db) if asked else Plan(rounds=configs.load(project).loop.rounds)
        return plan, launch.alive(read.worker(db))
    finally:
        db.close()


def _runnable(project: Path, running: bool) -> None:
    """Raises ConfigError: a worker that started now would fail at its first stage; nothing is planned either."""
    if running or configs.load(project).model.name:
        return
    db = reader(project)
    try:
        begun = any(job.state == "done" for job in read.jobs(db))
    finally:
        db.close()
    if not begun:
        raise ConfigError(f"{project / 'config.toml'}: [model] name is empty. Set it to the model to fine-tune.")


def _start(project: Path, running: bool) -> None:
    """Have a worker, this one or one that somebody else started in the same moment: both were asked for the same."""
    if running:
        return
    try:
        launch.start(project)
    except WorkerError:
        if not _plan(project)[1]:
            raise


def go(project: Path) -> str:
    """Start, resume or retry: run on to the end of the plan.

    Raises:
        WorkerError, StoreError, ConfigError: it cannot; the message says why and what to do.
    """
    plan, running = _plan(project)
    _runnable(project, running)
    commands.set_plan(project, plan.rounds, auto=plan.auto, hold_s=0.0 if plan.auto else HOLD_S)
    _start(project, running)
    return ""


def begin_now(project: Path) -> str:
    """Begin the next round without waiting any longer."""
    commands.begin_now(project)
    return ""


def undo(project: Path) -> str:
    """Take the newest merge back.

    Raises:
        UsageError: there is none, or the next round has begun.
    """
    round = undo_merge(project, launch.alive)
    return (
        f"Undid the merge of round {round}. Press {press('app.go-review')} to change decisions,"
        f" {press('loop.run')} to merge again."
    )


def undo_review(project: Path, round: int) -> str:
    """Take the last step of the review back."""
    step = commands.undo(project, round)
    if not step.keys:
        return "Nothing to undo."
    return f"Undone: {counted(len(step.keys), 'rewrite')} restored."


def step(project: Path, round: int, stage: str) -> str:
    """Run exactly ``stage`` of ``round``, the next one."""
    plan, running = _plan(project)
    _runnable(project, running)
    commands.set_plan(project, plan.rounds, until=(round, stage), auto=plan.auto)
    _start(project, running)
    return ""


def more(project: Path) -> str:
    """One round more than was planned."""
    plan, running = _plan(project)
    _runnable(project, running)
    commands.set_plan(project, plan.rounds + 1, auto=plan.auto)
    _start(project, running)
    return ""


def pause(project: Path) -> str:
    """Stop at the next safe point and free the machine."""
    commands.set_want(project, "pause")
    return ""


def cancel(project: Path) -> str:
    """End the stage now; what has a row stays."""
    commands.set_want(project, "cancel")
    return ""


def auto(project: Path, on: bool) -> str:
    """Whether rounds go on without a person at the review."""
    db = reader(project)
    try:
        asked = db.execute("SELECT 1 FROM plan WHERE id=1").fetchone() is not None
    finally:
        db.close()
    if not asked:
        commands.set_plan(project, configs.load(project).loop.rounds, auto=on)
    else:
        commands.set_auto(project, on)
    says = "on: improved rewrites are accepted, the rest rejected" if on else "off: each round waits for your review"
    return f"Auto-review is {says}."


def decide(project: Path, round: int, which: str) -> str:
    """Accept the ``improved``, ``all`` or ``none`` of the open rewrites of ``round``. Nothing is merged yet."""
    if which not in WHICH:
        raise UsageError(f"accept {which!r}: use improved, all or none")
    counts = commands.decide_open(project, round, which, "app")
    done = f"Accepted {counts['accepted']:,}, rejected {counts['rejected']:,}."
    return f"{done} Press {press('loop.run')} to merge, {press('loop.undo')} to undo."
