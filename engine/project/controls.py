"""Makes the controls of a round (``engine.store.controls``): forks of the project before the round selected, which
select otherwise, train as the round's result was trained, and are measured alike.
"""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine import loop
from engine.config import schema as configs
from engine.config.schema import Config
from engine.errors import UsageError
from engine.files import durable
from engine.loop import CLOSING
from engine.project.fork import fork
from engine.signals.round_models import CHECKPOINT
from engine.store import controls, read, teacher, write
from engine.store.connect import FILE, reader, transaction, writer
from engine.store.controls import ControlArm, Kind
from engine.store.rows import AGAIN, Job, Rewrite, Selection

TEACHING = ("select", "rewrite", "verify", "merge")
"""Stages that a control at random runs besides training and evaluation."""


class Cost(NamedTuple):
    """What a control will take, as its round took it: ``seconds`` of its stages, and what the teacher was paid."""

    seconds: float = 0.0
    calls: int = 0
    tokens: int = 0
    price: float = 0.0


class PreparedControl(NamedTuple):
    """A control that is ready to run in ``folder``; None: its result was there without any training.

    by_hand: the round's rewrites were decided by a person, those of this control are not.
    """

    folder: Path | None
    cost: Cost
    by_hand: bool = False


def measured(project: Path, round: int | None) -> int:
    """``round``, or the newest whose result is measured when it is None.

    Raises:
        UsageError: the model that was trained on what came of it is not evaluated.
    """
    db = reader(project)
    try:
        return _measured(db, project, round)
    finally:
        db.close()


def prepare(project: Path, kind: Kind, round: int) -> PreparedControl:
    """Make a control of ``round`` (``measured``), or find the one that was begun.

    Raises:
        UsageError: the round selected nothing, its model was removed, or the settings have changed since.
    """
    db = reader(project)
    try:
        jobs = read.jobs(db)
        config = configs.placed(configs.load(project), project)
        _require_same(project, kind, round, jobs, config)
        arm = ControlArm(round, kind, controls.origin(db, round), json.dumps(_plan(db, kind, round)))
        if kind == "none" and config.train.init == "base" and _trained_alike(jobs, round, config):
            controls.save(project, controls.compare(db, round, kind, db, round))
            return PreparedControl(None, Cost())
        if kind == "random" and read.artifact(db, round, CHECKPOINT) is None:
            raise UsageError(
                f"{project}: the model of round {round} was removed, and its rewrites are verified with it. Use"
                " --control drop, or keep more with [train] keep_checkpoints."
            )
        cost = _cost(db, kind, round, jobs)
        unlike = kind == "random" and controls.by_hand(db, round)
    finally:
        db.close()
    folder = controls.folder(project, round, kind)
    if not _begun(folder, arm):
        _make(project, folder, arm)
    return PreparedControl(folder, cost, unlike)


def _measured(db: sqlite3.Connection, project: Path, round: int | None) -> int:
    done = {(job.round, job.stage) for job in read.jobs(db) if job.state == "done"}
    rounds = [r for r, stage in done if stage == "merge" and (r + 1, "evaluate") in done and read.scores(db, r + 1)]
    if round is None and rounds:
        return max(rounds)
    if round is None or round not in rounds:
        what = "no round has a measured result" if round is None else f"the result of round {round} is not measured"
        raise UsageError(
            f"{project}: {what}, so there is nothing to compare. It is measured when the model trained on it is"
            " evaluated on held-out samples: run the next round, or the final evaluation."
        )
    return round


def _require_same(project: Path, kind: str, round: int, jobs: Sequence[Job], config: Config) -> None:
    """A control differs from its round in what is selected, and in nothing else."""
    held = {(job.round, job.stage): job for job in jobs}
    stages = [held[round + 1, name] for name in CLOSING]
    stages += [held[round, name] for name in TEACHING] if kind == "random" else []
    for job in stages:
        if loop.outdated(job, config):
            raise UsageError(
                f"{project}: [{'], ['.join(loop.spec(job.stage).config)}] changed since {job.stage} of round"
                f" {job.round} ran, so a control would differ in more than its selection. Set it back to what the"
                " Rounds screen shows under settings."
            )


def _trained_alike(jobs: Sequence[Job], round: int, config: Config) -> bool:
    """Whether the round's own model is what its unchanged dataset gives."""
    own = [job for job in jobs if job.round == round and job.stage in CLOSING]
    return not any(loop.outdated(job, config) for job in own)


def _flawed(db: sqlite3.Connection, round: int) -> list[Selection]:
    """The samples that signals selected to be replaced, and no person."""
    chosen = read.rows(db, Selection, round)
    return [row for row in chosen if row.axis != "diversity" and math.isfinite(row.threshold)]


def _plan(db: sqlite3.Connection, kind: str, round: int) -> dict[str, object]:
    """What the control's select stage needs: see ``engine.selection.control_arm``."""
    chosen = read.rows(db, Selection, round)
    by_hand = {(row.sample_id, row.axis) for row in chosen if not math.isfinite(row.threshold)}
    flawed = _flawed(db, round)
    rows = [row for row in read.rows(db, Rewrite, round) if row.key not in by_hand]
    if kind == "drop" and not flawed:
        others = [r for r in range(round) if _flawed(db, r)]
        there = f" --round {others[-1]} works." if others else ""
        raise UsageError(f"round {round} selected no sample to replace, so there is nothing to leave out.{there}")
    if kind == "random" and not rows:
        raise UsageError(f"round {round} asked the teacher about nothing, so there is nothing to compare with.")
    axes = Counter(row.axis for row in rows if not row.probe)
    again = sum(row.probe and row.draw == AGAIN for row in rows)
    return {
        "selected": [(r.sample_id, r.axis, r.value, r.threshold) for r in flawed] if kind == "drop" else [],
        "certain": bool((read.evidence(db, round) or {}).get("certain")),
        "probes": sum(row.probe and not row.control for row in rows),
        "group": [(row.sample_id, row.batch) for row in rows if row.control],
        "rewrites": {axis: axes[axis] for axis in ("complexity", "diversity", "quality")},
        **({"again": again} if again else {}),  # else the plan is the same as an older version's
    }


def _cost(db: sqlite3.Connection, kind: str, round: int, jobs: Sequence[Job]) -> Cost:
    """What the same stages took in the project itself."""
    names = {(round + 1, name) for name in CLOSING}
    if kind == "random":
        names |= {(round, name) for name in TEACHING}
    seconds = sum(_took(job) for job in jobs if (job.round, job.stage) in names)
    if kind != "random":
        return Cost(seconds)
    asked = teacher.asked(db, round, judge=False)
    return Cost(seconds, int(asked["calls"]), int(asked["tokens_in"]) + int(asked["tokens_out"]), float(asked["cost"]))


def _took(job: Job) -> float:
    """Seconds at work; where they are not known, from start to end, with all pauses."""
    if job.seconds or not (job.started_at and job.finished_at):
        return job.seconds
    return job.finished_at - job.started_at


def _begun(folder: Path, arm: ControlArm) -> bool:
    """Whether ``folder`` holds this very control."""
    if not (folder / FILE).is_file():
        return False
    db = reader(folder)
    try:
        return controls.arm(db) == arm
    finally:
        db.close()


def _make(project: Path, folder: Path, arm: ControlArm) -> None:
    """Make the control beside where it will lie, so that a killed program leaves no half of it."""
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    making = folder.with_name(f".{folder.name}")
    for old in (making, folder):
        if old.exists():
            shutil.rmtree(old)
    changes: dict[str, object] = {"loop.final_train": True}
    if arm.kind == "drop":
        changes["merge.flawed"] = "drop"
    fork(project, making, arm.round, changes)
    db = writer(making)
    try:
        with transaction(db):
            write.upsert(db, [arm])
    finally:
        db.close()
    durable.replace(making, folder)
