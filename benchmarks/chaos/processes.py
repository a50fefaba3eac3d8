"""Real workers and their stage processes, stopped for longer than heartbeats, and killed from outside as the kernel
does when memory runs out, at a drawn moment of a drawn stage. Run again, the project must end as an undisturbed one.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.chaos import seam
from benchmarks.chaos.operations import damage, rows
from benchmarks.chaos.trial import Outcome, difference
from engine.config.edit import edit
from engine.loop import NAMES
from engine.runtime import launch
from engine.store import read
from engine.store.connect import reader
from engine.store.rows import Worker
from engine.upkeep.check import check
from tests.support import tiny
from tests.support.chat_server import MODEL, Server
from tests.support.terminal import open_app

STOPPED_S = launch.LOST_AFTER_S + 1.0
LIMIT_S = 300.0
DAY_S = 86_400
ENDED = "✔ done"
"""What an app's header says when the run is over."""
LONGEST_WAIT_S = 0.3
SLOW = ("train", "score", "judge", "evaluate", "rewrite", "verify")
"""The others are over in a moment."""
TRIES = 3
"""A stage may be over before it is disturbed."""
Known = Mapping[tuple[str, str, int], Outcome]


class Kind(NamedTuple):
    """What is done, to whom; ``word``: what the worker's state or the stage's error must say of it.

    ``app``: to a terminal app that looks on; ``clock``: by how many seconds the wall clock of all of them is set;
    ``full``: the stage process may take no more memory than it has.
    """

    name: str
    worker: int = 0
    child: int = 0
    word: str = ""
    app: int = 0
    clock: int = 0
    full: bool = False

    @property
    def ends(self) -> bool:
        """Whether it ends a process of the run at once."""
        return bool({signal.SIGKILL, signal.SIGTERM} & {self.worker, self.child}) or self.full

    @property
    def kills(self) -> bool:
        """Whether somebody dies of it."""
        return self.ends or self.app == signal.SIGKILL


KINDS = (
    Kind("worker stopped", worker=signal.SIGSTOP, word="lost"),
    Kind("stage process stopped", child=signal.SIGSTOP, word="running"),
    Kind("both stopped", worker=signal.SIGSTOP, child=signal.SIGSTOP, word="lost"),
    Kind("stage process killed (out of memory)", child=signal.SIGKILL, word="memory runs out"),
    Kind("worker killed", worker=signal.SIGKILL, word="its worker has died"),
    Kind("worker told to end", worker=signal.SIGTERM),
    Kind("app stopped", app=signal.SIGSTOP),
    Kind("app killed", app=signal.SIGKILL),
    Kind("clock set back a day, all processes", clock=-DAY_S, word="the clock was set back"),
    Kind("clock set forward a day, all processes", clock=DAY_S, word="the clock jumped"),
    Kind("stage process may take no more memory", full=True, word="memory"),
)


def trials(folder: Path, known: Known, many: int, seed: int) -> Iterator[Outcome]:
    """``many`` of them, every kind in turn."""
    chosen = random.Random(seed)
    clock = seam.SharedClock(folder)
    with Server(answer=_teaches) as server:
        start = folder / "stages" / NAMES[0] / "P"
        how = {"teacher.backend": "openai", "teacher.url": server.url, "teacher.model": MODEL}
        edit(start, how)
        want: dict[str, Any] | None = None
        for at in range(1, many + 1):
            kind, stage, wait = KINDS[(at - 1) % len(KINDS)], chosen.choice(SLOW), chosen.random()
            if ("whole run", kind.name, at) in known:
                continue
            if want is None:
                want = _undisturbed(start, folder / "run")
            said, faults = _disturbed(start, folder / "run" / "P", kind, stage, wait, clock)
            now = rows(folder / "run" / "P")
            if now != want:
                faults.append(difference(now, want))
            faults += damage(folder / "run" / "P")
            ended = "died" if kind.kills and (said or not kind.full) else "ok"
            yield Outcome("whole run", kind.name, at, ended, f"{stage}: {said}"[:300], tuple(faults))


def _teaches(text: str) -> str:
    """Another reply to every request, and always the same: which copy is refused must not depend on who is first."""
    words = " ".join(random.Random(text).sample(tiny.WORDS, 6))
    return f"<prompt>sort {words}</prompt>" if "<prompt>" in text else f"sorted: {words}"


def _undisturbed(start: Path, work: Path) -> dict[str, Any]:
    project = _fresh(start, work / "P")
    launch.start(project)
    _until_ended(project)
    if wrong := _unfinished(project):
        raise RuntimeError(f"the run goes wrong without a disturbance: {wrong}")
    return rows(project)


def _disturbed(
    start: Path, project: Path, kind: Kind, stage: str, wait: float, clock: seam.SharedClock
) -> tuple[str, list[str]]:
    """What was said of it, and what is wrong."""
    if kind.app:
        return _beside_an_app(start, project, kind, stage)
    for _ in range(TRIES):
        _fresh(start, project)
        with clock if kind.clock else nullcontext():
            launch.start(project)
        worker, child = _wait_for(project, stage)
        time.sleep(wait * LONGEST_WAIT_S)
        if psutil.pid_exists(child if kind.child else worker):
            break
        _until_ended(project)
    said: str = ""
    faults: list[str] = []
    for pid, number in ((worker, kind.worker), (child, kind.child)):
        if pid and number and psutil.pid_exists(pid):
            os.kill(pid, number)
    if kind.clock:
        clock.set(kind.clock)
    if kind.full and psutil.pid_exists(child):
        has = psutil.Process(child)
        has.rlimit(psutil.RLIMIT_AS, (has.memory_info().vms, has.memory_info().vms))
    if signal.SIGSTOP in (kind.worker, kind.child):
        time.sleep(STOPPED_S)
        said = _state(project)
        for pid in (worker, child):
            if pid and psutil.pid_exists(pid):
                os.kill(pid, signal.SIGCONT)
        if kind.word not in (said, "") and said != "ended":
            faults.append(f"the worker was said to be {said}, not {kind.word}")
    _until_ended(project)
    if left := _unfinished(project):
        told = [f"{one.what}. {one.mend}" for one in check(project).faults if one.name in ("worker", "stage")]
        said = f"check: {'; '.join(told)}"
        if not told:
            faults.append(f"check says nothing of it: {left}")
        if kind.word and kind.word not in said and kind.ends:
            faults.append(f"nothing says {kind.word!r}: {said}")
        launch.start(project)
        _until_ended(project)
        if left := _unfinished(project):
            faults.append(f"run again, it ended with {left}")
    if kind.clock:
        said = next((text for text in _events(project) if kind.word in text), "")
        faults += [] if said else [f"nothing says {kind.word!r}"]
    return said, faults


def _beside_an_app(start: Path, project: Path, kind: Kind, stage: str) -> tuple[str, list[str]]:
    """An app that looks on is stopped, or killed: the run goes on, and an app that goes on shows what it missed."""
    _fresh(start, project)
    launch.start(project)
    app = open_app(project)
    try:
        app.wait_for("middo")
        _wait_for(project, stage)
        os.kill(app.pid, kind.app)
        _until_ended(project)
        faults = [f"the run ended with {left}"] if (left := _unfinished(project)) else []
        if kind.app == signal.SIGSTOP:
            os.kill(app.pid, signal.SIGCONT)
            app.settle()
            seen = len(app.seen)
            app.resize(100, 30)  # it paints all that it shows
            app.wait_for(ENDED, since=seen)
            app.send(b"\x11")  # ctrl-q
            if (code := app.wait()) != 0:
                faults.append(f"the app ended with {code}")
    finally:
        app.close()
    return "the run went on" + (", and the app showed it" if kind.app == signal.SIGSTOP else ""), faults


def _events(project: Path) -> list[str]:
    db = reader(project)
    try:
        return [row[0] for row in db.execute("SELECT text FROM event")]
    finally:
        db.close()


def _fresh(start: Path, project: Path) -> Path:
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(start, project)
    return project


def _worker(project: Path) -> Worker | None:
    db = reader(project)
    try:
        return read.worker(db)
    finally:
        db.close()


def _state(project: Path) -> str:
    return launch.state(_worker(project))


def _wait_for(project: Path, stage: str) -> tuple[int, int]:
    """The worker and its child once ``stage`` runs or is over; 0 for who is not there."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        db = reader(project)
        try:
            job = next(one for one in read.jobs(db) if one.stage == stage)
            worker = read.worker(db)
        finally:
            db.close()
        if worker is None or not launch.alive(worker):
            return 0, 0
        if job.state == "running" and worker.child_pid:
            return worker.pid, worker.child_pid
        if job.state != "pending":
            return worker.pid, worker.child_pid or worker.pid
        time.sleep(0.02)
    raise TimeoutError(f"{stage} did not begin")


def _until_ended(project: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while launch.alive(_worker(project)):
        if time.monotonic() > deadline:
            raise TimeoutError("the worker does not end")
        time.sleep(0.1)
    while True:  # an orphaned child holds the lock until it has noticed
        try:
            os.close(launch.lock(project, 30.0))
            return
        except sqlite3.Error:
            time.sleep(0.1)


def _unfinished(project: Path) -> str:
    """Stages that are not done, with their errors; empty: all are."""
    db = reader(project)
    try:
        left = [one for one in read.jobs(db) if one.state != "done"]
        told = [f"{one.stage} is {one.state} {one.error or ''}".strip() for one in left if one.state != "pending"]
        return "; ".join(told) or ("some stages are pending" if left else "")
    finally:
        db.close()
