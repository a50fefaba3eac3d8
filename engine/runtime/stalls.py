"""What holds a run up, judged from the store: a locked database, a full disk, machines that have not joined, a stage
without progress. Also that a run continues with fewer machines, and so more slowly.

Light imports: the app and ``status`` use it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from engine.nodes import machine_facts
from engine.runtime import launch
from engine.store import read, teacher
from engine.store.lock_wait import FULL, LOCKED, WORDS, lasting
from engine.store.rows import Job

STALLED = "stalled"
MACHINES, FEWER = "machines", "fewer"
STEPS = 10
"""A stage is stalled after this many times its median step without progress, but never before LEAST_S seconds."""
LEAST_S = 300.0
"""Seconds; a stage's last part (neighbours, a checkpoint) is one long step."""
FIRST_S = 1800.0
"""Seconds without progress until a stage is stalled whose step time is not known yet."""


class Stall(NamedTuple):
    """``word``: locked, full, stalled, machines (some have not joined yet) or fewer (the run continues without some).
    ``text``: the sentence, without a full stop.
    """

    word: str
    text: str


def worker(db: sqlite3.Connection, project: Path, jobs: Sequence[Job], now: float) -> tuple[str, Stall | None]:
    """The worker's state (``launch.state``), and what holds a live one up at ``now`` (wall time, seconds).

    A worker that waits for its database cannot write its heartbeat, and counts as running all the same.
    """
    word = launch.read_wait(project)  # before the heartbeat: the note is removed only once that is fresh
    known = read.worker(db)
    state = launch.state(known)
    if state not in ("running", "lost"):
        return state, None
    if word in (LOCKED, FULL):
        return "running", Stall(word, WORDS[word])
    others = machine_facts.read(project, known.pid) if known is not None and state == "running" else None
    if others is not None and others.waiting:
        return state, Stall(MACHINES, others.waiting)
    found = next((job for job in jobs if job.state == "running"), None)
    if state == "lost" or found is None:
        return state, None
    if text := _no_progress(db, found, now):
        return state, Stall(STALLED, text)
    return state, Stall(FEWER, others.fewer) if others is not None and others.fewer else None


def _no_progress(db: sqlite3.Connection, found: Job, now: float) -> str:
    """That a running stage makes no progress, as a sentence without a full stop; "": it does."""
    silent = stalled_s(found, now)
    if silent is None or teacher.batches(db, found.round) is not None:  # a provider's batch may take a day
        return ""
    writing = teacher.underway(db, found.round) if found.stage == "rewrite" else None
    if writing is not None and now - writing["at"] < LEAST_S:  # a long reply makes progress token by token
        return ""
    return f"{found.stage} of round {found.round} has made no progress for {lasting(silent)}"


def stalled_s(job: Job, now: float) -> float | None:
    """Seconds for which a running stage has made no progress, if far longer than its steps take; else None."""
    times: list[float] = json.loads(job.moved)
    if not times:
        return None
    steps = [later - earlier for earlier, later in pairwise(times)]
    limit = FIRST_S if len(steps) < 2 else max(LEAST_S, STEPS * median(steps))
    silent = now - times[-1]
    return silent if silent > limit else None
