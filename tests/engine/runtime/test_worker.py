"""How the worker records what a child could not: the job, the reason, and never an older job's outcome."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.distributed import world as worlds
from engine.distributed.torchrun import NO_SPACE, RANK_FAILED
from engine.errors import ConfigError, WorkerError, WorkerGone
from engine.loop import NAMES, RunStages
from engine.runtime import endings, launch
from engine.runtime.worker import Supervisor
from engine.store import commands, lock_wait, read, write
from engine.store.connect import patient, writer
from engine.store.schema import migrate

STEP = RunStages(0, ("score", "judge"))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Supervisor]:
    migrate(tmp_path, create=True)
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    db = patient(tmp_path, None)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    commands.set_plan(tmp_path, 1)
    yield Supervisor(tmp_path, db, lock=-1)
    db.close()


def log(worker: Supervisor, text: str) -> Path:
    path = worker.project / "log"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("code", "words", "reason"),
    [
        (-9, "", "was killed by signal 9 (SIGKILL), as happens when memory runs out. Lower score.token_budget"),
        (-11, "", "the stage process was killed by signal 11 (SIGSEGV); run again"),
        (-35, "", "the stage process was killed by signal 35 (unknown); run again"),
        (
            1,
            "Traceback\nValueError: no",
            "ended with exit code 1; run again to resume. Last line of its log",
        ),
        (RANK_FAILED, "noise\nrank 1 of 2 (pid 7) was killed by signal 9 (SIGKILL)", "rank 1 of 2 (pid 7) was killed"),
    ],
)
def test_the_running_job_gets_the_reason(worker: Supervisor, code: int, words: str, reason: str) -> None:
    before = worker.jobs(0)
    write.start_job(worker.db, 0, "score", "key", "{}")
    assert worker.outcome(STEP, before, code, log(worker, words)) == "failed"
    found = worker.jobs(0)
    assert found["score"].state == "failed"
    assert reason in str(found["score"].error)
    assert found["judge"] == before["judge"]


def test_a_child_that_ended_before_its_job_began_is_recorded_too(worker: Supervisor) -> None:
    write.end_job(worker.db, 0, "score", "failed", "an older reason")
    before = worker.jobs(0)
    assert worker.outcome(STEP, before, -9, log(worker, "")) == "failed"
    assert "was killed by signal 9" in str(worker.jobs(0)["score"].error)

    write.end_job(worker.db, 0, "score", "interrupted")
    commands.set_want(worker.project, "cancel")
    assert worker.outcome(STEP, worker.jobs(0), -15, log(worker, "")) == "cancelled"
    assert worker.jobs(0)["score"].state == "cancelled"


def test_what_the_child_recorded_stands(worker: Supervisor) -> None:
    before = worker.jobs(0)
    write.start_job(worker.db, 0, "score", "key", "{}")
    write.end_job(worker.db, 0, "score", "failed", "its own reason")
    assert worker.outcome(STEP, before, RANK_FAILED, log(worker, "rank 0 of 2 ended with exit code 3")) == "failed"
    assert worker.jobs(0)["score"].error == "its own reason"


def test_groups_that_use_the_model_get_as_many_processes_as_config_toml_says(worker: Supervisor) -> None:
    place = [str(worker.project), "0"]
    with worker.spread.launching(STEP, death=5) as (command, handed):
        assert (command[2:], handed) == (["engine.runtime.run_stage", *place, "score,judge", "5"], [])
    (worker.project / "config.toml").write_text("[launch]\nprocesses = 4\n", encoding="utf-8")
    with worker.spread.launching(STEP, death=5) as (command, handed):
        assert command[2:] == ["engine.distributed.torchrun", str(handed[0]), "5", "-1", *place, "score,judge"]
        world = worlds.read(handed[0])
        assert (world.size, world.host, world.store_fd) == (4, "127.0.0.1", handed[1])
    with worker.spread.launching(replace(STEP, stages=("rewrite",)), death=5) as (command, _):
        assert "engine.runtime.run_stage" in command


def test_a_worker_that_waits_for_the_database_notes_it_where_no_database_is_needed(
    worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_wait, "PAUSE_S", 0.0)
    worker.db.execute("PRAGMA busy_timeout=1")
    worker.lock = launch.lock(worker.project)
    other = writer(worker.project)
    other.execute("BEGIN IMMEDIATE")
    seen = []
    waits = worker.waits

    def watched(trouble: str) -> None:
        waits(trouble)
        seen.append(launch.read_wait(worker.project))
        if len(seen) == 2:
            other.execute("ROLLBACK")

    monkeypatch.setattr(worker, "waits", watched)
    worker.beat()
    assert seen == ["locked", "locked"]
    assert launch.read_wait(worker.project) == ""
    assert "the database was locked by another program" in read.events(worker.db)[-1].text
    other.close()
    os.close(worker.lock)


def test_a_child_that_found_the_disk_full_is_started_again_and_nothing_has_failed(worker: Supervisor) -> None:
    before = worker.jobs(0)
    write.start_job(worker.db, 0, "score", "key", "{}")
    assert worker.outcome(STEP, before, NO_SPACE, log(worker, "")) == "full"
    assert worker.jobs(0)["score"].state == "interrupted"
    assert worker.next_step() == RunStages(0, ("train",))
    worker.lock = launch.lock(worker.project)
    worker.await_space()  # there is space: it goes on at once
    worker.stopped_in(STEP)
    assert worker.jobs(STEP.round)[STEP.stages[0]].state == "interrupted"
    commands.set_want(worker.project, "pause")
    worker.stopped_in(STEP)
    assert worker.jobs(STEP.round)[STEP.stages[0]].state == "paused"
    assert worker.full_at is not None
    assert "the disk was full" in read.events(worker.db)[-1].text
    os.close(worker.lock)


def test_a_worker_whose_project_was_removed_moved_or_replaced_ends(worker: Supervisor) -> None:
    worker.here()
    elsewhere = worker.project.with_name("elsewhere")
    worker.project.rename(elsewhere)
    with pytest.raises(WorkerGone, match="is gone"):
        worker.beat()
    shutil.copytree(elsewhere, worker.project)
    with pytest.raises(WorkerGone, match="was replaced by another one"):
        worker.waits("locked")


@pytest.mark.parametrize("end", [ConfigError("no such file"), "failed in round 0"], ids=["error", "child"])
def test_what_a_project_that_is_gone_brings_about_is_told_as_that(
    worker: Supervisor,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    end: Exception | str,
) -> None:
    def run() -> str:
        worker.project.rename(tmp_path_factory.mktemp("elsewhere") / "P")
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(worker, "run", run)
    with pytest.raises(WorkerGone, match="the project is gone"):
        worker.run_here()


def test_the_note_of_a_wait_stays_until_the_heartbeat_is_fresh(worker: Supervisor) -> None:
    """Else a worker would seem lost for a moment after every wait, and who follows it would stop."""
    worker.lock = launch.lock(worker.project)
    worker.beat()
    worker.waits("locked")
    worker.over("locked", 60.0)  # what waited was another statement than the heartbeat's
    assert launch.read_wait(worker.project) == "locked"
    worker.beat()
    assert launch.read_wait(worker.project) == ""
    os.close(worker.lock)


@pytest.mark.parametrize("state", ["running", "pending"])
def test_what_nobody_foresaw_is_the_failure_of_the_stage_at_hand(
    worker: Supervisor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], state: str
) -> None:
    def broken() -> str:
        raise PermissionError(13, "Permission denied", "logs/round-0-train.log")

    if state == "running":
        write.start_job(worker.db, 0, "score", "key", "{}")
    monkeypatch.setattr(worker, "run", broken)
    with pytest.raises(WorkerError) as told:
        worker.run_here()
    assert "Traceback" in capfd.readouterr().err
    endings.record(worker.db, str(told.value))
    job = worker.jobs(0)["score" if state == "running" else "train"]
    says = "the worker broke off: logs/round-0-train.log: Permission denied. Its log is logs/worker.log."
    assert (job.state, job.error) == ("failed", says)
    assert [e.text for e in read.events(worker.db)][-1] == says


def test_a_key_that_an_error_quotes_is_told_nowhere(
    worker: Supervisor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> str:
        raise ValueError("Illegal header value b'Bearer tk-0123456789'")

    monkeypatch.setenv("NTFY_TOKEN", "tk-0123456789")
    monkeypatch.setattr(worker, "run", broken)
    with pytest.raises(WorkerError, match="Bearer <NTFY_TOKEN>"):
        worker.run_here()
    assert "tk-0123456789" not in capfd.readouterr().err


def test_nothing_is_failed_where_nothing_is_left_to_do(worker: Supervisor) -> None:
    for stage in NAMES:
        write.end_job(worker.db, 0, stage, "done")
    endings.record(worker.db, "a reason")
    assert {job.state for job in worker.jobs(0).values()} == {"done"}
    assert [e.text for e in read.events(worker.db)][-1] == "a reason"


def test_a_folder_of_logs_that_was_removed_is_made_again(worker: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        pass

    def start(*_: object) -> None:
        raise Stopped

    shutil.rmtree(worker.project / "logs", ignore_errors=True)
    monkeypatch.setattr(worker, "start", start)
    with pytest.raises(Stopped):
        worker.child(STEP)
    assert (worker.project / "logs" / "round-0-score.log").exists()
