"""The state of a project as one dictionary, for ``status``, scripts and the app. Loads no torch."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from engine.config import schema
from engine.doctor import duration
from engine.errors import ConfigError
from engine.loop import stages_of
from engine.nodes import machine_facts
from engine.runtime import stalls as standings
from engine.signals import judge_trust
from engine.store import controls, flagging, overrides, paired_difference, read, teacher
from engine.store.connect import reader
from engine.store.rows import AXES, REWRITTEN, Job
from middo_tui.text import control_wording, score_changes
from middo_tui.text.flaw_wording import SUSPICIOUS

IDLE, RUNNING, WAITING, FAILED = 0, 3, 4, 5
COUNTED = ("proposed", "rejected", "accepted", "failed")


class ProjectState(NamedTuple):
    """The worker's state and the jobs.

    ``trouble``: what a live worker waits for, or that it goes on with fewer machines, as a sentence; None: nothing.
    """

    state: str
    pid: int | None
    jobs: list[Job]
    trouble: str | None = None


def standing(project: Path) -> ProjectState:
    """The part of ``gather`` that commands check before they act.

    Raises:
        StoreError: there is no project at ``project``.
    """
    db = reader(project)
    try:
        return _standing(db, project, read.jobs(db))
    finally:
        db.close()


def _standing(db: sqlite3.Connection, project: Path, jobs: list[Job]) -> ProjectState:
    worker = read.worker(db)
    state, held = standings.worker(db, project, jobs, time.time())
    if worker is not None and state in ("running", "lost"):
        return ProjectState(state, worker.pid, jobs, held.text if held else None)
    return ProjectState(_idle_state(jobs, state == "ended"), None, jobs)


def time_left(project: Path) -> str | None:
    """About how long what is left of a run will take, and by what that is known; None: it is not."""
    db = reader(project)
    try:
        left = duration.of_project(db, project, read.jobs(db))
    finally:
        db.close()
    return None if left is None else duration.sentence(left)


def gather(project: Path) -> dict[str, Any]:
    """Everything that ``status --json`` prints.

    Raises:
        StoreError: there is no project at ``project``.
    """
    db = reader(project)
    try:
        jobs = read.jobs(db)
        numbers = sorted({job.round for job in jobs})
        closing = read.closing_rounds(db)
        select, wrong = _settings(project)
        rounds = [
            _round(db, number, [j for j in jobs if j.round == number], number in closing, select) for number in numbers
        ]
        now = _standing(db, project, jobs)
        meta = read.meta(db)
        return {
            "project": meta.get("name") or project.resolve().name,
            "model": meta.get("model", ""),
            "round": numbers[-1] if numbers else 0,
            "rounds_wanted": read.plan(db).rounds,
            "rounds": rounds,
            "dataset": _dataset(db, numbers[-1] if numbers else 0),
            "config": wrong,
            "worker": {"state": now.state, "pid": now.pid, "trouble": now.trouble},
            "machines": _machines(project, now.pid),
            "estimate": duration.as_json(duration.of_project(db, project, jobs)),
        }
    finally:
        db.close()


def _machines(project: Path, pid: int | None) -> dict[str, Any] | None:
    """What the worker ``pid`` knows of the run's other machines; None: there are none, or it does not run."""
    facts = machine_facts.read(project, pid) if pid is not None else None
    if facts is None:
        return None
    return {"nodes": facts.nodes, "address": facts.address, "joined": [msgspec.to_builtins(m) for m in facts.machines]}


def _settings(project: Path) -> tuple[schema.Select, str | None]:
    """The [select] settings, and why config.toml cannot be used; None: it can."""
    try:
        return schema.load(project).select, None
    except ConfigError as error:
        return schema.Select(), str(error)


def _idle_state(jobs: list[Job], cut_short: bool) -> str:
    """The state of a project without a worker: idle, waiting, failed, paused, cancelled or interrupted.

    ``cut_short``: the last worker ended without signing off, e.g. because it was killed between two stages.
    """
    states = [job.state for job in jobs]
    if "running" in states:  # its worker is gone: killed, or the machine went down
        return "interrupted"
    ended = "interrupted" if cut_short else "idle"
    return next((s for s in ("failed", "waiting", "paused", "cancelled", "interrupted") if s in states), ended)


def _dataset(db: sqlite3.Connection, newest: int) -> dict[str, Any]:
    """Counts of the first dataset, how many held-out prompts the newest one contains (0 is right), what a person
    overrides in it, and how many samples of it are flagged as possible prompt injection.
    """
    count = db.execute("SELECT count(*), coalesce(sum(seq IS NOT NULL), 0) FROM heldout").fetchone()
    return {
        "imported": read.size(db, 0) + int(count[1]),
        "heldout": int(count[0]),
        "overlap": read.overlap(db, newest),
        "quarantined": int(db.execute("SELECT count(*) FROM quarantine").fetchone()[0]),
        "overrides": overrides.counts(db),
        "injections": flagging.count(db, newest),
    }


def _round(
    db: sqlite3.Connection, number: int, jobs: list[Job], closing: bool, select: schema.Select
) -> dict[str, Any]:
    by_axis = read.rewrites(db, number)
    before, after = read.mean_losses(db, number)
    scores = read.scores(db, number)
    by_name = {job.stage: job for job in jobs}
    return {
        "round": number,
        "closing": closing,
        "size": read.size(db, number),
        "selected": read.selected(db, number),
        "evidence": read.evidence(db, number),
        "rewrites": {state: sum(by_axis[axis].get(state, 0) for axis in AXES) for state in COUNTED},
        "rewrites_by_axis": {
            axis: {
                "rewritten": sum(n for state, n in by_axis[axis].items() if state in REWRITTEN),
                "accepted": by_axis[axis].get("accepted", 0),
            }
            for axis in AXES
        },
        "scores": {task: score.value for task, score in scores.items()},
        "stderr": {task: score.stderr for task, score in scores.items()},
        "score_changes": score_changes.facts(scores, read.scores(db, number - 1), paired_difference.errors(db, number)),
        "loss_before": before,
        "loss_after": after,
        "stages": [
            {
                "name": name,
                "state": j.state,
                "done": j.done,
                "total": j.total,
                "error": j.error,
                "seconds": j.seconds or None,
                "cpu_seconds": j.cpu_seconds or None,
                "peak_bytes": j.peak_bytes,
            }
            for name in stages_of(closing)
            if (j := by_name.get(name))
        ],
        "judge": judge_trust.facts(db, number, select),
        "teacher": {
            **teacher.asked(db, number),
            "projected": teacher.projected(db, number),
            "batch": teacher.batches(db, number),
            "writing": teacher.underway(db, number),
        },
        "clusters": read.clusters(db, number),
        "neighbour_recall": _neighbour_recall(db, number),
        "flaws": read.flaw_counts(db, number, SUSPICIOUS),
        "controls": controls.facts(db, number),
        "control_results": control_wording.sentences(db, number),
    }


def _neighbour_recall(db: sqlite3.Connection, number: int) -> float | None:
    """Which share of a sample's true neighbours an index found; None: they are exact, or nobody looked yet."""
    found = read.artifact(db, number, "embeddings")
    return found[1].get("neighbour_recall") if found else None


def exit_code(status: dict[str, Any]) -> int:
    """0: idle or done; 3: running; 4: waiting for a person; 5: failed, lost or interrupted."""
    state = status["worker"]["state"]
    codes = {"running": RUNNING, "waiting": WAITING, "failed": FAILED, "lost": FAILED, "interrupted": FAILED}
    return codes.get(state, IDLE)


def until(jobs: Sequence[Job], stage: str) -> tuple[int, str]:
    """The round that ``--until stage`` refers to: the newest if the stage is pending there, else the next."""
    newest = max((job.round for job in jobs), default=0)
    state = {job.stage: job.state for job in jobs if job.round == newest}
    return (newest + 1 if state.get(stage) == "done" else newest), stage
