"""A run to look at: ``python -m benchmarks.world.live_training PROJECT`` writes what a training writes, ten times a
second.

A step and the job's progress every tick, the machine's gauges and the heartbeat twice a second, a line of the log once
a second. Ends when its standard input does.
"""

from __future__ import annotations

import math
import os
import select
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from benchmarks.measured import module_of
from engine.loop import NAMES
from engine.runtime import launch
from engine.store import write
from engine.store.connect import transaction, writer

TICK_S = 0.1
STEPS = 20_000
FIRST = 400


def begin(db: sqlite3.Connection) -> int:
    """Close the round that waits, open the next one and let it train; its number."""
    last = db.execute("SELECT max(round) FROM round").fetchone()[0]
    config = db.execute("SELECT config FROM round WHERE round=?", (last,)).fetchone()[0]
    with transaction(db):
        db.execute("UPDATE job SET state='done' WHERE round=?", (last,))
        db.execute("INSERT OR IGNORE INTO plan (id, rounds, auto, want) VALUES (1, 3, 0, 'run')")
        db.execute("UPDATE plan SET rounds=max(rounds, ?), want='run', until_round=NULL, until_stage=NULL", (last + 2,))
    write.open_round(db, last + 1, config, NAMES, False, None)
    with transaction(db):
        db.execute(
            "UPDATE job SET state='running', started_at=?, total=? WHERE round=? AND stage='train'",
            (time.time(), STEPS, last + 1),
        )
        for step in range(1, FIRST):
            log_step(db, last + 1, step)
    return int(last) + 1


def log_step(db: sqlite3.Connection, round: int, step: int) -> None:
    """One step of a loss that falls and trembles."""
    loss = 0.7 + 1.1 * math.exp(-step / 300) + 0.06 * math.sin(step * 0.9)
    speed = 41_000 + 600 * math.sin(step * 0.3)
    db.execute(
        "INSERT INTO metric (round, step, at, epoch, loss, learning_rate, grad_norm, tokens_per_s)"
        " VALUES (?,?,?,?,?,?,?,?)",
        (round, step, time.time(), step / STEPS, loss, 2e-4 * (1 - step / STEPS), 0.8 + 0.1 * math.sin(step), speed),
    )
    db.execute("UPDATE job SET done=? WHERE round=? AND stage='train'", (step, round))


def beat(db: sqlite3.Connection, step: int) -> None:
    """The worker lives, and the GPU works."""
    db.execute(
        "INSERT OR REPLACE INTO worker (id, pid, started, boot, heartbeat, child_pid) VALUES (1,?,?,?,?,NULL)",
        (os.getpid(), launch.started(os.getpid()), launch.boot_id(), time.monotonic()),
    )
    db.execute(
        "INSERT INTO gauge (at, device, util, memory_used, memory_total, power, temperature) VALUES (?,?,?,?,?,?,?)",
        (time.time(), "cuda:0 NVIDIA H200", 90 + 9 * math.sin(step * 0.4), 98_000_000_000 + step, 141_000_000_000,
         600 + 50 * math.sin(step * 0.5), 64 + 3 * math.sin(step * 0.1)),
    )  # fmt: skip


def main(project: Path) -> None:
    """Write until nobody listens."""
    db = writer(project)
    round, step = begin(db), FIRST
    with transaction(db):
        beat(db, step)
    print("training", flush=True)
    due = time.monotonic()
    while True:
        with transaction(db):
            log_step(db, round, step)
            if step % 5 == 0:
                beat(db, step)
            if step % 10 == 0:
                write.event(db, f"step {step:,} of {STEPS:,} is logged", "info", round, "train")
        step += 1
        due += TICK_S
        if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            return


class Training:
    """``main`` in a process of its own, for as long as the context lasts."""

    def __init__(self, project: Path) -> None:
        self.project = project

    def __enter__(self) -> Training:
        command = [sys.executable, "-m", module_of(__file__), str(self.project)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"training\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate(b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
