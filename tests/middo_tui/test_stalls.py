"""What holds a run up is said on every screen's first row, beneath it and by ``status``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.loop import NAMES
from engine.nodes import machine_facts
from engine.runtime import launch
from engine.runtime.stalls import FIRST_S, LEAST_S, stalled_s
from engine.store import connect, database_file, read, write
from engine.store.connect import FILE
from engine.store.rows import Job
from middo_tui import app as app_module
from middo_tui.app import MiddoApp
from middo_tui.cli.plain import Narrator, describe
from middo_tui.feed.loop_notice import notice
from middo_tui.feed.reader import Reader
from middo_tui.feed.view import LoopView
from middo_tui.text.status import gather
from middo_tui.widgets.header import header
from middo_tui.widgets.link_gauge import LinkState
from tests.middo_tui.screens.review.test_screen import fates
from tests.support import stores
from tests.support.reviews import reviewing
from tests.support.screens import settle, until
from tests.support.stores import NOON, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Round 0 in its score stage, with a live worker."""
    return running(Store(tmp_path / "p").plan().round(0, done=1))


def running(store: Store) -> Store:
    write.start_job(store.db, 0, "score", "key", store.config)
    return store.worker()


@pytest.fixture
def reader(store: Store) -> Iterator[Reader]:
    made = Reader(store.project, clock=lambda: NOON)
    yield made
    made.close()


def first_row(view: LoopView) -> str:
    return "".join(run.text for run in header(view, LinkState(), 120))


def moved(store: Store, *times: float) -> None:
    with store.db:
        store.db.execute("UPDATE job SET moved=? WHERE stage='score'", (json.dumps(times),))


def job(*times: float) -> Job:
    return Job(0, "score", "running", moved=json.dumps(times))


def test_a_stage_is_stalled_after_ten_times_its_median_step_and_never_before_the_least() -> None:
    slow = job(*(NOON + 100.0 * i for i in range(6)))
    assert stalled_s(slow, NOON + 500 + 1_000) is None
    assert stalled_s(slow, NOON + 500 + 1_001) == 1_001
    quick = job(NOON, NOON + 1, NOON + 2, NOON + 3)
    assert stalled_s(quick, NOON + 3 + LEAST_S) is None
    assert stalled_s(quick, NOON + 4 + LEAST_S) == LEAST_S + 1
    assert stalled_s(job(NOON), NOON + FIRST_S) is None
    assert stalled_s(job(NOON), NOON + FIRST_S + 1) == FIRST_S + 1
    assert stalled_s(job(), NOON) is None


def test_steps_are_kept_with_their_times_and_a_new_start_forgets_them(store: Store) -> None:
    def times() -> list[float]:
        found = next(j for j in read.jobs(store.db) if j.stage == "score")
        return list(json.loads(found.moved))

    assert len(times()) == 1
    for done in (1, 1, 2):
        write.save(store.db, 0, "score", [], done)
    assert len(times()) == 3, "what changed nothing is no step"
    for done in range(3, 80):
        write.save(store.db, 0, "score", [], done)
    assert len(times()) == write.STEPS_KEPT + 1
    assert times() == sorted(times())
    write.start_job(store.db, 0, "score", "key", "{}")
    assert len(times()) == 1


def test_a_stalled_stage_is_said_everywhere_though_nothing_is_written(store: Store, reader: Reader) -> None:
    now = [NOON]
    reader.clock = lambda: now[0]
    moved(store, NOON - 3, NOON - 2, NOON - 1)
    view = reader.view()
    assert "stalled" not in first_row(view)
    now[0] += 600
    view = reader.view()
    assert "● running, stalled" in first_row(view)
    assert "Score of round 0 has made no progress for 10 min 01 s." in notice(view).text
    assert reader.view() is view, "nothing new, nothing to paint"
    moved(store, *(NOON + 600 + i for i in range(3)))
    assert "stalled" not in first_row(reader.view())


def test_machines_that_are_missing_are_said_everywhere_and_where_to_join(store: Store, reader: Reader) -> None:
    with store.db:
        store.db.execute("UPDATE job SET state='pending' WHERE stage='score'")
    pid = read.worker(store.db).pid  # type: ignore[union-attr]
    says = "waiting for 1 of 3 machines: run `middo-tui join 10.0.0.1:29400` there"
    there = machine_facts.MachineFacts(2, "node2 (10.0.0.2)", ("H200",), "2.27", "ready", 0.001, 1e9)
    machine_facts.write(store.project, machine_facts.MachinesFacts(pid, 3, "10.0.0.1:29400", says, (there,)))
    view = reader.view()
    assert "! your turn: join machines" in first_row(view)
    assert notice(view).text.startswith(f"W{says[1:]}. score of round 0 then begins by itself.")
    facts = gather(store.project)
    assert facts["worker"]["trouble"] == says
    assert facts["machines"]["joined"][0]["name"] == "node2 (10.0.0.2)"
    lines = describe(facts).splitlines()
    assert f"worker   running (pid {pid}): {says}" in lines
    assert "machines 2 of 3; node2 (10.0.0.2): ready" in lines
    machine_facts.write(
        store.project, machine_facts.MachinesFacts(pid + 1, 3, "10.0.0.1:29400", says, ())
    )  # of a worker before
    assert "your turn" not in first_row(reader.view())


def test_a_run_on_fewer_machines_is_said_and_looks_like_any_that_runs(store: Store, reader: Reader) -> None:
    pid = read.worker(store.db).pid  # type: ignore[union-attr]
    machine_facts.write(
        store.project, machine_facts.MachinesFacts(pid, 2, "10.0.0.1:29400", "", (), "goes on with 1 of 2 machines")
    )
    view = reader.view()
    assert "● running" in first_row(view)
    assert notice(view).text == "The run goes on with 1 of 2 machines."
    said: list[str] = []
    narrator = Narrator(said.append)
    for number in (1, 1, 2):
        narrator.tell(msgspec.structs.replace(view, held=f"Goes on with {number} of 3 machines."))
    told = [line.partition("round 0  ")[2] for line in said if "machines" in line]
    assert told == ["Goes on with 1 of 3 machines.", "Goes on with 2 of 3 machines."], "each once"
    assert f"worker   running (pid {pid}): goes on with 1 of 2 machines" in describe(gather(store.project)).splitlines()
    moved(store, 1.0, 2.0, 3.0)  # long before now
    assert "has made no progress" in notice(reader.view()).text


def test_status_says_it_too(store: Store) -> None:
    moved(store, 1.0, 2.0, 3.0)  # long before now
    worker = gather(store.project)["worker"]
    assert worker["state"] == "running"
    assert worker["trouble"].startswith("score of round 0 has made no progress for ")
    assert worker["trouble"] in describe(gather(store.project))


@pytest.mark.parametrize(
    ("word", "row", "says"),
    [
        ("locked", "● waiting: database locked", "aiting for the database, locked by another program"),
        ("full", "● waiting: disk full", "aiting for space: the disk is full"),
    ],
)
def test_a_database_that_is_held_is_said_without_the_database(
    store: Store, reader: Reader, word: str, row: str, says: str
) -> None:
    assert reader.view().state == "running"
    lock = launch.lock(store.project)
    launch.write_wait(lock, word)
    view = reader.view()
    assert row in first_row(view)
    assert says in notice(view).text
    worker = gather(store.project)["worker"]
    assert (worker["state"], worker["pid"]) == ("running", os.getpid())
    assert says in worker["trouble"]
    launch.write_wait(lock, "")
    assert reader.view().state == "running"
    assert gather(store.project)["worker"]["trouble"] is None
    os.close(lock)


def test_a_worker_killed_between_two_stages_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "p").plan().round(0, done=len(NAMES) - 3).worker()
    with store.db:
        store.db.execute("UPDATE worker SET boot='another boot of the machine'")
    reader = Reader(store.project)
    view = reader.view()
    assert view.state == "interrupted"
    assert "Interrupted: the worker died in" in notice(view).text
    assert gather(store.project)["worker"]["state"] == "interrupted"
    with monkeypatch.context() as broken:  # as on a disk that turned read-only, where nothing can say why
        broken.setattr("middo_tui.feed.reader.unwritable", lambda _: OSError(30, "Read-only file system"))
        other = Reader(store.project)
        assert "The project's folder cannot be written now (Read-only file system)" in notice(other.view()).text
        other.close()
    write.sign_off(store.db)
    assert reader.view().state == "idle"
    assert gather(store.project)["worker"]["state"] == "idle"
    reader.close()


def test_a_missing_config_is_said_as_that(store: Store, reader: Reader) -> None:
    (store.project / "config.toml").unlink()
    view = reader.view()
    assert "✘ config.toml" in first_row(view)
    assert "config.toml: missing" in notice(view).text
    assert "config.toml: missing" in describe(gather(store.project))
    os.replace(store.project / FILE, store.project / "away.db")
    assert "✘ no data" in first_row(reader.view())


async def test_a_decision_outlasts_a_lock_that_is_longer_than_sqlite_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[Path]
) -> None:
    monkeypatch.setattr(database_file, "BUSY_MS", 1)
    monkeypatch.setattr(app_module, "AGAIN_S", 0.01)
    monkeypatch.setattr(app_module, "SLOW_S", 0.1)
    project = tmp_path / "p"
    wanted = reviewing(project, 6)
    other = connect.writer(project)
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await until(pilot, "#1001")  # the first that did not improve
        other.execute("BEGIN IMMEDIATE")
        await pilot.press("a", "r", "r")
        await until(pilot, "none are lost")
        while app.undone < 2:
            await pilot.pause(0.01)
        other.execute("ROLLBACK")
        await settle(pilot)
        while app.undone:
            await pilot.pause(0.01)
    assert fates(project, wanted)[1:4:2] == [("accepted", None), ("rejected", None)]
    other.close()


async def test_what_was_not_done_when_the_app_was_left_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_file, "BUSY_MS", 1)
    store = stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        store.db.execute("BEGIN IMMEDIATE")
        await pilot.press("p")
        await until(pilot, "none are lost")
    assert app.undone == 1
    store.db.execute("ROLLBACK")
    assert read.plan(store.db).want == "run"
