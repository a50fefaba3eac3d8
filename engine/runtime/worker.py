"""The supervisor: one per project, detached. Chooses the next job, spawns one child per group of stages, enforces
what is wanted, samples the machine. Never imports torch: it stays small while children come and go.

``python -m engine.runtime.worker PROJECT READY_FD [SAID]``; SAID is a line for the log.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO

from engine import loop
from engine.backends import roles
from engine.config import renamed
from engine.config import schema as configs
from engine.distributed import sharding
from engine.distributed.torchrun import NO_SPACE
from engine.errors import MiddoError, WorkerError, WorkerGone
from engine.evaluation import task_index
from engine.loop import Limits, Open, Reselect, RunStages, Stop
from engine.machine import gauges
from engine.models import folder as model_folder
from engine.plurals import counted
from engine.processes import environment
from engine.processes.death_pipe import kill_group
from engine.runtime import endings, launch, stale
from engine.runtime.child import Child, Starter
from engine.runtime.notifier import Notifier
from engine.runtime.spread import Spread
from engine.runtime.wall_clock import WallClock, follow, jump_text
from engine.store import controls, permissions, read, search, write
from engine.store.connect import database, patient, transaction
from engine.store.lock_wait import FULL, PAUSE_S, WAITED, WORDS, Patient, lasting
from engine.store.log_size import LogSize
from engine.store.rows import Job
from engine.store.schema import migrate

POLL_S = 0.2
GAUGE_S = 2.0
GAUGES_KEPT = 5_000
ROOM = 64 << 20
"""How many bytes of the disk must have become free before a child that found none is started again."""


class Supervisor:
    """One run of the worker over one project. ``lock`` is inherited by every child, so an orphan keeps it."""

    def __init__(self, project: Path, db: Patient, lock: int) -> None:
        self.project = project
        self.db = db
        self.lock = lock
        self.gpus = gauges.open_gpus()
        self.beat_at = 0.0
        self.gauge_at = 0.0
        self.place = _place(project)
        self.noted = ""
        self.over_now = False
        self.log_size = LogSize(project)
        self.starter = Starter(project, lock)
        self.secrets = configs.load(project).secret_names
        self.spread = Spread(configs.load(project), project, lock)
        self.full_at: int | None = None  # free bytes when a child last found too few
        self.notifier = Notifier(project, configs.load(project))
        self.clock = WallClock(time.time, time.monotonic)
        self.hold: tuple[object, float] = (None, 0.0)  # which wait before a round, and its end by the steady clock
        db.watch = self

    def here(self) -> None:
        """Raises WorkerGone when the project's folder or its database is not the one that this worker began with."""
        now = _place(self.project)
        if now != self.place:
            how = "is gone" if now is None else "was replaced by another one"
            raise WorkerGone(f"{self.project}: the project {how}, so its worker ends. Run it again from its new place.")

    def waits(self, trouble: str) -> None:
        """The database cannot be written now (``engine.store.lock_wait.Watch``)."""
        self.here()
        self.notifier.blocked(trouble)
        if trouble != self.noted:
            self.noted = trouble
            launch.write_wait(self.lock, trouble)
            _log(f"{WORDS[trouble]} …")

    def over(self, trouble: str, seconds: float) -> None:
        """It can be written again. The note stays until the heartbeat is fresh: between, the worker would seem lost."""
        self.beat_at, self.over_now = 0.0, True
        self.notifier.blocked("")
        write.event(self.db, f"waited {lasting(seconds)}: {WAITED[trouble]}", "warning")

    def register(self) -> None:
        """Say who runs the project; mark what a dead worker left as interrupted."""
        write.register(self.db, os.getpid(), launch.started(os.getpid()) or 0.0, launch.boot_id())
        write.interrupt(self.db)
        config = configs.load(self.project)
        with transaction(self.db):
            write.set_meta(self.db, name=config.project.name, model=config.model.name)
        for text, round, stage in stale.notes(self.db, self.project, config):
            write.event(self.db, text, "warning", round, stage)
        for line in (*renamed.notes(self.project), *roles.notes(config)):
            write.event(self.db, line)

    def next_step(self) -> RunStages | Reselect | Open | Stop:
        """What comes next, by ``engine.loop``."""
        config, jobs = configs.load(self.project), read.jobs(self.db)
        newest = max((job.round for job in jobs), default=0)
        return loop.next_step(
            jobs,
            read.closing_rounds(self.db),
            read.plan(self.db),
            read.round_facts(self.db, newest),
            Limits.of(config),
            loop.separate_stages(config),
        )

    def run_here(self) -> str:
        """``run``; where the project was taken away, that is told in place of the files that are not found then.

        Raises:
            WorkerGone: it is not here any more. WorkerError: something nobody foresaw; its traceback is in the log.
        """
        try:
            why = self.run()
        except MiddoError:
            self.here()
            raise
        except Exception as error:
            self.here()
            _log(environment.without_values(traceback.format_exc(), known=self.secrets).rstrip())
            raise WorkerError(endings.broke_off(error, self.secrets)) from error
        if why.startswith("failed"):
            self.here()
        return why

    def run(self) -> str:
        """Work until there is nothing to do, something is waited for, or it is stopped; returns why."""
        while True:
            self.beat()
            want = read.plan(self.db).want
            if want != "run":
                return f"{want} requested"
            step = self.next_step()
            if isinstance(step, Stop):
                self.close_rounds()
                if controls.report(self.project):
                    write.event(self.db, "this control's scores are with its project's rounds")
                while search.index(self.db):
                    self.beat()
                return step.reason
            if isinstance(step, Reselect):
                self.begin_again(step)
                continue
            if isinstance(step, Open):
                if self.holds(step.round):
                    continue
                self.close_rounds()
                config = configs.snapshot(configs.load(self.project))
                write.open_round(self.db, step.round, config, loop.stages_of(step.closing), step.closing, step.stopped)
                continue
            if self.spread.lacks_machines(step.stages, self.log):
                continue
            state = self.child(step)
            if state == FULL:
                self.await_space()
                self.stopped_in(step)
            elif state != "done":
                return f"{state} in round {step.round}"

    def begin_again(self, step: Reselect) -> None:
        """Reset the round from its select stage, which selected nothing."""
        write.reset(self.db, step.round, loop.NAMES[loop.NAMES.index("select") :])
        since = counted(step.overridden, "sample was", "samples were")
        self.log(f"select runs again, as {since} overridden since", "info")

    def holds(self, round: int) -> bool:
        """Whether ``round`` is not to begin yet, because the merge before it can still be undone; waits a moment.

        However the wall clock is set meanwhile, it waits no longer than it was told to.
        """
        merge, hold_s = self.jobs(round - 1).get("merge"), read.plan(self.db).hold_s
        ended = merge.finished_at if merge is not None else None
        if self.hold[0] != (which := (round, ended, hold_s)):
            self.hold = which, time.monotonic() + min((ended or 0.0) + hold_s - time.time(), hold_s)
        left = self.hold[1] - time.monotonic()
        self.db.execute("UPDATE worker SET holds_until=? WHERE id=1", (time.time() + left if left > 0 else None,))
        if left > 0:
            time.sleep(POLL_S)
        return left > 0

    def close_rounds(self) -> None:
        """Give the newest round its end, if all its stages are done."""
        jobs = read.jobs(self.db)
        newest = max((job.round for job in jobs), default=None)
        if newest is not None and all(job.state == "done" for job in jobs if job.round == newest):
            write.finish_round(self.db, newest)

    def child(self, step: RunStages) -> str:
        """Run one group of stages in a child; returns ``done`` or how the last one ended."""
        before = self.jobs(step.round)
        death_r, death_w = os.pipe()
        log_path = self.project / "logs" / f"round-{step.round}-{step.stages[0]}.log"
        child: Child | None = None
        try:
            try:
                log_path.parent.mkdir(mode=0o700, exist_ok=True)  # somebody may have tidied up
                with open(log_path, "ab", opener=permissions.opener) as log:
                    child = self.start(step, log, death_r)
            finally:
                os.close(death_r)
            self.db.execute("UPDATE worker SET child_pid=? WHERE id=1", (child.pid,))
            child.begin()
            code = self.watch(child)
        finally:
            os.close(death_w)
            if child is not None:
                kill_group(child.pid)
        elsewhere = self.spread.wrong()
        self.spread.end(configs.load(self.project).launch.grace_s, code == 0, self.beat)
        permissions.tighten(self.project)  # checkpoints and caches, as libraries wrote them
        self.db.execute("UPDATE worker SET child_pid=NULL WHERE id=1")
        return self.outcome(step, before, code, log_path, elsewhere)

    def start(self, step: RunStages, log: IO[bytes], death: int) -> Child:
        """The process of this group, told apart by nothing else than how it came to be."""

        def waiting() -> bool:
            self.beat()
            return read.plan(self.db).want != "cancel"

        with self.spread.launching(step, death) as (command, handed):
            return self.starter.start(step.round, step.stages, command, log, death, waiting, handed)

    def watch(self, child: Child) -> int:
        """Wait for the child and return its exit code; a cancel ends its whole process group, kindly first."""
        asked_at: float | None = None
        grace = configs.load(self.project).launch.grace_s
        while (code := child.wait(POLL_S)) is None:
            self.beat()
            if self.spread.wrong():
                kill_group(child.pid)
            if read.plan(self.db).want != "cancel":
                continue
            if asked_at is None:
                asked_at = time.monotonic()
                kill_group(child.pid, signal.SIGTERM)
            elif time.monotonic() - asked_at > grace:
                kill_group(child.pid)
        return code

    def log(self, line: str, level: str) -> None:
        """A line for the project's log."""
        write.event(self.db, line, level)

    def jobs(self, round: int) -> dict[str, Job]:
        """The jobs of a round by stage."""
        return {job.stage: job for job in read.jobs(self.db) if job.round == round}

    def outcome(self, step: RunStages, before: dict[str, Job], code: int, log_path: Path, elsewhere: str = "") -> str:
        """How the group ended. What a child could not record is recorded here, also when it ended before its job began.

        Args:
            before: the round's jobs before the child was started. elsewhere: what ended it on another machine.
        """
        after = self.jobs(step.round)
        want = read.plan(self.db).want
        for name in step.stages:
            state = after[name].state
            if state == "running" and code == NO_SPACE:
                write.end_job(self.db, step.round, name, "interrupted")
                return FULL
            if state == "running" or (code != 0 and after[name] == before[name]):
                if want == "cancel":
                    write.end_job(self.db, step.round, name, "cancelled")
                    return "cancelled"
                write.end_job(self.db, step.round, name, "failed", elsewhere or endings.why(code, log_path))
                return "failed"
            if state != "done":
                return state if state != "pending" else "done"
        return "done"

    def stopped_in(self, step: RunStages) -> None:
        """What was asked for while there was no space is how the stage that waited has ended."""
        ends = {"pause": "paused", "cancel": "cancelled"}.get(read.plan(self.db).want)
        for name, job in self.jobs(step.round).items():
            if ends is not None and name in step.stages and job.state == "interrupted":
                write.end_job(self.db, step.round, name, ends)

    def await_space(self) -> None:
        """Wait until more of the disk is free than when a child found too little, or something else is wanted."""
        least = ROOM if self.full_at is None else self.full_at + ROOM
        began = time.monotonic()
        self.full_at = shutil.disk_usage(self.project).free
        while shutil.disk_usage(self.project).free < least and read.plan(self.db).want == "run":
            self.waits(FULL)
            self.beat()
            time.sleep(PAUSE_S)
        self.over(FULL, time.monotonic() - began)

    def beat(self) -> None:
        """Heartbeat and gauges, each at its pace; and a part of the index of words, where a merge brought samples."""
        self.here()
        search.index(self.db)
        self.spread.beat(self.log)
        now = time.monotonic()
        if now - self.beat_at >= launch.HEARTBEAT_S:
            self.beat_at = now
            if by := self.clock.jumped():
                follow(self.db, by, time.time())
                write.event(self.db, jump_text(by), "warning")
            self.db.execute("UPDATE worker SET heartbeat=? WHERE id=1", (now,))
            self.notifier.beat(self.db)
            if self.over_now:
                self.noted, self.over_now = "", False
                launch.write_wait(self.lock, "")
        if now - self.gauge_at >= GAUGE_S:
            self.gauge_at = now
            readings = [
                (g.at, g.device, g.util, g.memory_used, g.memory_total, g.power, g.temperature)
                for g in gauges.sample(self.gpus)
            ]
            write.gauges(self.db, readings, GAUGES_KEPT)
            if said := self.log_size.bound(self.db):
                write.event(self.db, said, "warning")


def _place(project: Path) -> tuple[int, int, int, int] | None:
    """What tells this project's folder and database from others at the same path; None: they are not there."""
    try:
        folder, file = project.stat(), database(project).stat()
    except OSError:
        return None
    return folder.st_dev, folder.st_ino, file.st_dev, file.st_ino


def _log(line: str) -> None:
    """A line for logs/worker.log, which may lie on a full disk or be gone."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


def main(argv: list[str]) -> int:
    """Entry of the worker: take the lock, say ready, work, sign off."""
    project, ready = Path(argv[0]), int(argv[1])
    # launch.start waits for this pipe's end of file: it must not stay open in our children
    os.set_inheritable(ready, False)
    try:
        lock = launch.lock(project)
        os.set_inheritable(lock, False)
        migrate(project)
        db = patient(project, None)
        config = configs.load(project)
        task_index.check(config, project)  # not at hour three
        roles.check(config)
        model_folder.check_all(config, project)
        sharding.check(config, project, len(gauges.visible_gpus()))
        supervisor = Supervisor(project, db, lock)
        supervisor.register()
        if said := "".join(argv[2:]):
            write.event(db, f"environment: {said}")
    except MiddoError as error:
        os.write(ready, str(error).encode())
        os.close(ready)
        return error.exit_code
    os.write(ready, b"ready")
    os.close(ready)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    why = ""
    try:
        try:
            why = supervisor.run_here()
        finally:
            supervisor.starter.end()
            supervisor.spread.close(why or "it broke off", failed=not why or why.startswith("failed"))
        reason, code = f"worker stopped: {why}", 0
    except WorkerGone as error:
        _log(str(error))
        return error.exit_code
    except MiddoError as error:
        reason, code = str(error), error.exit_code
    try:
        endings.record(db, reason) if code else write.event(db, reason)
        write.sign_off(db)
    except (MiddoError, sqlite3.Error) as error:
        _log(f"{reason}\nThis could not be written down: {endings.said(error)}.")
        return code or 1
    os.close(lock)  # a slow server must not keep the next worker from starting
    supervisor.notifier.end(db, error=bool(code))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
