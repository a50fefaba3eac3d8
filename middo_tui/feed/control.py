"""What a person can ask of a run: thin verbs over the engine's commands and launcher. Each returns a line to show.

Opening the app calls none of these; only a key does. They may block (a busy database, a worker that starts): call them
in a thread.
"""

from __future__ import annotations

from pathlib import Path

from engine import config as configs
from engine import launch
from engine.errors import UsageError
from engine.store import commands, read
from engine.store.connect import reader
from engine.store.rows import Plan

WORDS = {"improved": "accepted the better ones", "all": "accepted all", "none": "rejected all"}


def _plan(project: Path) -> tuple[Plan, bool]:
    """The plan and whether a worker runs; without a plan, the one that config.toml asks for."""
    db = reader(project)
    try:
        asked = db.execute("SELECT 1 FROM plan WHERE id=1").fetchone() is not None
        plan = read.plan(db) if asked else Plan(rounds=configs.load(project).loop.rounds)
        return plan, launch.alive(read.worker(db))
    finally:
        db.close()


def _start(project: Path, running: bool) -> None:
    if not running:
        launch.start(project)


def go(project: Path) -> str:
    """Start, resume or retry: run on to the end of the plan.

    Raises:
        WorkerError, StoreError, ConfigError: it cannot; the message says why and what to do.
    """
    plan, running = _plan(project)
    commands.set_plan(project, plan.rounds, auto=plan.auto)
    _start(project, running)
    return ""


def step(project: Path, round: int, stage: str) -> str:
    """Run exactly ``stage`` of ``round``, the next one."""
    plan, running = _plan(project)
    commands.set_plan(project, plan.rounds, until=(round, stage), auto=plan.auto)
    _start(project, running)
    return ""


def more(project: Path) -> str:
    """One round more than was planned."""
    plan, running = _plan(project)
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
    says = "on: rewrites that the signals call better are accepted" if on else "off: rounds wait for you"
    return f"Auto-review is {says}."


def decide(project: Path, round: int, which: str) -> str:
    """Decide every open rewrite of ``round`` (``improved``, ``all`` or ``none`` are accepted), then go on."""
    if which not in WORDS:
        raise UsageError(f"accept {which!r}: it is improved, all or none")
    counts = commands.decide_open(project, round, which, "app")
    _, running = _plan(project)
    commands.set_want(project, "run")
    _start(project, running)
    return f"{WORDS[which].capitalize()}: {counts['accepted']:,} accepted, {counts['rejected']:,} rejected."
