"""A clock that is set while a run goes on: the worker still lives, no stage has stalled, no wait is longer."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from engine.loop import NAMES
from engine.runtime import launch
from engine.runtime.stalls import stalled_s
from engine.runtime.wall_clock import WallClock, jump_text
from engine.runtime.worker import Supervisor
from engine.store import commands, read, write
from engine.store.connect import patient
from engine.store.rows import Job
from engine.store.run_state import Worker
from engine.store.schema import migrate
from middo_tui.feed.stage_rate import StageRate

HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """How far ``time.time`` is off."""
    off, wall = {"by": 0.0}, time.time
    monkeypatch.setattr(time, "time", lambda: wall() + off["by"])
    return off


@pytest.fixture
def supervisor(tmp_path: Path, clocks: dict[str, float]) -> Supervisor:
    migrate(tmp_path, create=True)
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    db = patient(tmp_path, None)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    commands.set_plan(tmp_path, 2)
    made = Supervisor(tmp_path, db, lock=-1)
    made.register()
    return made


def test_drift_is_no_jump_and_a_jump_is_told_once() -> None:
    wall, steady = [NOON := 1e9], [50.0]
    clock = WallClock(lambda: wall[0], lambda: steady[0])
    wall[0], steady[0] = NOON + 11, 60.0
    assert clock.jumped() == 0
    wall[0] = NOON + HOUR + 11
    assert clock.jumped() == HOUR + 1
    assert clock.jumped() == 0
    wall[0] = NOON
    assert clock.jumped() == -HOUR - 11
    assert jump_text(HOUR) == "the clock jumped 60 min 00 s forward: it was set, or the machine slept"
    assert jump_text(-90.0) == "the clock was set back by 1 min 30 s"


@pytest.mark.parametrize("by", [-DAY, DAY])
def test_a_worker_lives_on_and_its_stage_has_not_stalled(
    by: float, supervisor: Supervisor, clocks: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    write.start_job(supervisor.db, 0, "train", "key", "{}")
    times = [time.time() - ago for ago in (90, 60, 30, 10)]
    supervisor.db.execute("UPDATE job SET moved=? WHERE stage='train'", (json.dumps(times),))
    supervisor.beat()
    clocks["by"], supervisor.beat_at = by, 0.0
    supervisor.beat()

    worker = read.worker(supervisor.db)
    assert worker is not None
    assert launch.state(worker) == "running"
    found = supervisor.jobs(0)["train"]
    assert json.loads(found.moved) == pytest.approx([at + by for at in times], abs=1.0)
    assert stalled_s(found, time.time() + 60) is None
    assert jump_text(by).split(" by ")[0][:20] in read.events(supervisor.db)[-1].text
    steady = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: steady() + launch.LOST_AFTER_S + 1)
    assert launch.state(worker) == "lost"
    supervisor.db.close()


def test_a_clock_set_back_makes_no_wait_before_a_round_longer(
    supervisor: Supervisor, clocks: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    supervisor.db.execute("UPDATE job SET state='done', finished_at=? WHERE stage='merge'", (time.time(),))
    commands.set_plan(supervisor.project, 2, hold_s=30.0)
    assert supervisor.holds(1)
    clocks["by"] = -DAY
    assert supervisor.holds(1)
    shown = supervisor.db.execute("SELECT holds_until FROM worker").fetchone()[0]
    assert 0 < shown - time.time() <= 30
    steady = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: steady() + 31)
    assert not supervisor.holds(1)
    assert Supervisor(supervisor.project, supervisor.db, -1).holds(1), "another worker waits at most as long again"
    supervisor.db.close()


def test_a_process_is_told_by_when_it_started_since_the_boot(clocks: dict[str, float]) -> None:
    me = launch.started(os.getpid())
    assert me is not None
    if Path("/proc").exists():
        assert me < launch.SINCE_BOOT
    mine = Worker(os.getpid(), me, launch.boot_id(), 0.0, None)
    assert launch.alive(mine)
    assert not launch.alive(Worker(os.getpid(), me - 5, launch.boot_id(), 0.0, None))
    assert launch.started(2**22 + 1) is None
    import psutil

    earlier = Worker(os.getpid(), psutil.Process().create_time(), launch.boot_id(), time.time(), None)
    assert launch.state(earlier) == "running", "one that a version before this one registered"


def test_a_zombie_is_not_alive() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert launch.started(pid) is None
    os.waitpid(pid, 0)


def test_a_rate_begins_anew_when_the_clock_is_set_back() -> None:
    rate = StageRate()
    key = (0, "score")
    assert rate.rate(key, 0, 5000.0) is None
    assert rate.rate(key, 10, 5001.0) == 10
    assert rate.rate(key, 20, 1000.0) is None
    assert rate.rate(key, 30, 1002.0) == 5


def test_a_job_of_the_future_has_not_stalled() -> None:
    assert stalled_s(Job(0, "score", "running", moved="[5000.0]"), 10.0) is None
