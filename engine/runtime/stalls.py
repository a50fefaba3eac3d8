"""What holds a run up, told from what is stored: a database that is locked, a full disk, machines that have not
joined, a stage that does not move. And that a run goes on with fewer machines, which makes it slower.

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
"""A stage is stalled after so many times its median step without progress,"""
LEAST_S = 300.0
"""but not before this: a stage's last part (neighbours, a checkpoint) is one long step."""
FIRST_S = 1800.0
"""The number of steps needed to estimate the step time."""


class Stall(NamedTuple):
    """``word``: locked, full, stalled, machines (the other ones are not there yet) or fewer (it goes on with fewer of
    them). ``text``: the sentence, without a full stop.
    """

    word: str
    text: str


def worker(db: sqlite3.Connection, project: Path, jobs: Sequence[Job], now: float) -> tuple[str, Stall | None]:
    """How the worker is (``launch.state``), and what holds a live one up at ``now`` (wall time, seconds).

    One that waits for its database cannot say that it lives, and is running all the same.
    """
    word = launch.read_wait(project)  # before the heartbeat, which is fresh when the note is taken away
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
    """That a running stage does not move, as a sentence without a full stop; empty: it does."""
    silent = stalled_s(found, now)
    if silent is None or teacher.batches(db, found.round) is not None:  # a provider's batch may take a day
        return ""
    writing = teacher.underway(db, found.round) if found.stage == "rewrite" else None
    if writing is not None and now - writing["at"] < LEAST_S:  # long replies move on token by token
        return ""
    return f"{found.stage} of round {found.round} has made no progress for {lasting(silent)}"


def stalled_s(job: Job, now: float) -> float | None:
    """For how long a running stage has made no progress, when that is far longer than its steps take; else None."""
    times: list[float] = json.loads(job.moved)
    if not times:
        return None
    steps = [later - earlier for earlier, later in pairwise(times)]
    limit = FIRST_S if len(steps) < 2 else max(LEAST_S, STEPS * median(steps))
    silent = now - times[-1]
    return silent if silent > limit else None
