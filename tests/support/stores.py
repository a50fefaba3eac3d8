"""Small real stores for the screens' tests, written with the engine's own functions. Times are fixed; no worker runs.

A "running" project is one whose worker row names the test's own process, which is alive and beats once, far in the
future.
"""

from __future__ import annotations

import math
import os
import sqlite3
from pathlib import Path

from engine.config import defaults
from engine.config import schema as configs
from engine.loop import CLOSING, NAMES
from engine.runtime import launch
from engine.store import search, write
from engine.store.connect import transaction, writer
from engine.store.rows import AXES, EvalScore, Gauge, Message, Metric, Rewrite, Sample, Selection, Verdict, content_id
from engine.store.schema import migrate
from engine.store.teacher import TeacherCall

NOON = 1_770_000_000.0
FOREVER = 4e9
SIZE = 120
STEPS = 400
TRAIN_ROUNDS = 3


class Store:
    """A project folder under construction."""

    def __init__(self, project: Path, name: str = "alpaca-mini", model: str = "meta-llama/Llama-3.1-8B") -> None:
        self.project = project
        (project / "logs").mkdir(parents=True)
        settings: dict[str, dict[str, object]] = {"project": {"name": name}, "model": {"name": model}}
        (project / "config.toml").write_text(defaults.render(settings), encoding="utf-8")
        migrate(project, create=True)
        self.db: sqlite3.Connection = writer(project)
        self.config = configs.snapshot(configs.load(project))
        with transaction(self.db):
            write.add_samples(self.db, (_sample(i) for i in range(SIZE)))
        search.catch_up(self.db)

    def plan(
        self, rounds: int = TRAIN_ROUNDS, want: str = "run", auto: bool = False, until: str | None = None
    ) -> Store:
        with transaction(self.db):
            self.db.execute(
                "INSERT OR REPLACE INTO plan (id, rounds, until_round, until_stage, auto, want) VALUES (1,?,?,?,?,?)",
                (rounds, 0 if until else None, until, auto, want),
            )
        return self

    def round(self, number: int, done: int = 0, closing: bool = False) -> Store:
        """Open a round whose first ``done`` stages are done, with what they leave behind."""
        names = CLOSING if closing else NAMES
        write.open_round(self.db, number, self.config, names, closing, None)
        for name in names[:done]:
            self.job(number, name, "done", STEPS, STEPS)
        left = names[:done]
        if "train" in left:
            self.metrics(number, STEPS)
        if "evaluate" in left:
            scores = [
                EvalScore(number, "heldout_loss", 1.312 - 0.07 * number, None, 200, higher=False),
                EvalScore(number, "accuracy", 0.356 + 0.021 * number, 0.013, 200),
            ]
            write.save(self.db, number, "evaluate", scores, None)
        if "select" in left:
            chosen = [
                Selection(number, i, axis, 1.0, 0.5) for at, axis in enumerate(AXES) for i in range(1, 8 - at * 2)
            ]
            write.save(self.db, number, "select", chosen, None)
        if "rewrite" in left:
            self.rewrites(number, "accepted" if "merge" in left else "proposed")
        return self

    def job(self, number: int, stage: str, state: str, done: int, total: int, error: str | None = None) -> Store:
        with transaction(self.db):
            self.db.execute(
                "UPDATE job SET state=?, done=?, total=?, started_at=?, finished_at=?, error=?"
                " WHERE round=? AND stage=?",
                (state, done, total, NOON, None if state == "running" else NOON + 60, error, number, stage),
            )
        return self

    def metrics(self, number: int, steps: int, first: int = 1) -> Store:
        rows = [
            Metric(number, s, NOON + s, s / STEPS, curve(s, number), 2e-4 * (1 - s / STEPS), 0.8, 41_200.0)
            for s in range(first, steps + 1)
        ]
        write.save(self.db, number, "train", rows, None)
        return self

    def rewrites(self, number: int, state: str) -> Store:
        rows: list[Rewrite | Verdict | TeacherCall] = []
        for at, axis in enumerate(AXES):
            for i in range(1, 8 - at * 2):
                ends = "rejected" if state == "accepted" and i % 3 == 0 else state
                rows.append(Rewrite(number, i, axis, ends, 1, "p", "r", None, None, None, 900, 310, 0.01))
                rows.append(TeacherCall(number, i, axis, "prompt", NOON, "t", 0.4, 900, 310, 0.01))
                verdict = "better" if i % 2 else "loss not lower"
                rows.append(Verdict(number, i, axis, 2.0, 1.0, 0.4, 7.0, None, bool(i % 2), verdict))
        write.save(self.db, number, "verify", rows, None)
        return self

    def worker(self, alive: bool = True) -> Store:
        """A worker that runs (this very process), or one whose process is gone."""
        with transaction(self.db):
            self.db.execute(
                "INSERT OR REPLACE INTO worker (id, pid, started, boot, heartbeat, child_pid) VALUES (1,?,?,?,?,NULL)",
                (os.getpid(), launch.started(os.getpid()) if alive else 1.0, launch.boot_id(), FOREVER),
            )
        return self

    def gauge(self, reading: Gauge) -> Store:
        with transaction(self.db):
            self.db.execute(
                "INSERT INTO gauge (at, device, util, memory_used, memory_total, power, temperature)"
                " VALUES (?,?,?,?,?,?,?)",
                (
                    FOREVER,
                    reading.device,
                    reading.util,
                    reading.memory_used,
                    reading.memory_total,
                    reading.power,
                    reading.temperature,
                ),
            )
        return self

    def event(self, text: str, level: str = "info", stage: str | None = "train", at: float = NOON) -> Store:
        with transaction(self.db):
            self.db.execute(
                "INSERT INTO event (at, level, round, stage, text) VALUES (?,?,?,?,?)", (at, level, 0, stage, text)
            )
        return self


def curve(step: int, number: int) -> float:
    """A loss that falls, with a ripple and without chance."""
    return 0.9 - 0.08 * number + 1.1 * math.exp(-step / 60) + 0.05 * math.sin(step * 0.9) * math.exp(-step / 400)


def _sample(i: int) -> Sample:
    messages = (Message("user", f"Name {i} things."), Message("assistant", f"Here are {i} things."))
    return Sample(content_id(messages), messages, seq=i, source=f"data.json:{i}")


def running(project: Path) -> Store:
    """Round 1 in training, round 0 behind it, a worker that lives, a GPU."""
    store = Store(project).plan().round(0, 9).round(1).job(1, "train", "running", 180, STEPS).metrics(1, 180).worker()
    store.event("checkpoint saved · 200 steps · 3 min 04 s").event("resumed at 0", stage="judge", level="warning")
    return store.gauge(Gauge(0, NOON, "cuda:0 NVIDIA H200", 97.0, 98_000_000_000, 141_000_000_000, 612.0, 64.0))


def waiting(project: Path) -> Store:
    """Round 0 waits for a person."""
    store = Store(project).plan().round(0, 7)
    return store.job(0, "review", "waiting", 0, 15).event("15 rewrites wait for a decision", stage="review")


def failed(project: Path) -> Store:
    """Round 0 failed in judge."""
    store = Store(project).plan().round(0, 2)
    error = 'BackendError: the model ended every reply at once; set [judge] mode = "expected" in config.toml'
    return store.job(0, "judge", "failed", 74, 720, error).event(error, "error", "judge")


def finished(project: Path) -> Store:
    """Two rounds and the closing one are done."""
    store = Store(project).plan(rounds=2).round(0, 9).round(1, 9).round(2, 2, closing=True)
    return store.event("worker stopped: 2 rounds are done", stage=None)
