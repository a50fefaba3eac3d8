"""The Loop screen on real stores, driven by keys. The worker is only ever started where a test says so."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from threading import Event

import pytest

from engine.runtime import launch
from engine.store import read
from engine.store.connect import reader
from engine.store.rows import Plan
from middo_tui import app as app_module
from middo_tui.app import MiddoApp
from middo_tui.feed import control
from middo_tui.screens.help import Help
from tests.support import stores
from tests.support.screens import DEADLINE_S, on_top, screen_text, settle, until
from tests.support.stores import Store

SIZES = [(80, 24), (100, 30), (140, 40)]


def plan(project: Path) -> Plan:
    db = reader(project)
    try:
        return read.plan(db)
    finally:
        db.close()


def dump(project: Path) -> list[str]:
    """Every row of the store."""
    db = sqlite3.connect(project / "middo.db")
    try:
        return list(db.iterdump())
    finally:
        db.close()


@pytest.mark.parametrize("size", SIZES)
async def test_a_running_round_is_all_there(tmp_path: Path, size: tuple[int, int]) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        text = screen_text(app)
    parts = (
        "alpaca-mini · Llama-3.1-8B",
        "round 1 (2/3)",
        "● running",
        "45%",
        "180 / 400",
        "round 1 ━",
        "GPU 0 H200",
        "612 W",
        "41,200",
        "35.6 ±1.3",
        "checkpoint saved",
        "p pause",
        "q quit (run continues)",
    )
    assert [part for part in parts if part not in text] == []
    assert max(len(row) for row in text.split("\n")) <= size[0]


@pytest.mark.parametrize(("make", "parts"), [
    ("waiting", ["! your turn", "15 undecided rewrites, 9", "4 review", "e accept improved", "A accept all", "R rej"]),
    ("failed", ["✘ your turn: failed", "the model ended every reply at once", "enter retry"]),
    ("finished", ["✔ done", "Accuracy 35.6 → 39.8 % (+4.2)", "final evaluation", "5, then x,", "m one more round"]),
])  # fmt: skip
async def test_what_needs_a_person_is_said(tmp_path: Path, make: str, parts: list[str]) -> None:
    getattr(stores, make)(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        text = screen_text(app)
    assert [part for part in parts if part not in text] == []


async def test_no_further_round_is_offered_where_none_would_run(tmp_path: Path, started: list[Path]) -> None:
    store = stores.Store(tmp_path / "p").plan(rounds=3).round(0, 9)
    with store.db:
        store.db.execute("UPDATE rewrite SET state='failed'")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "--redo select` (or rewrite)" in " ".join(screen_text(app).split())
        assert "one more round" not in screen_text(app)
        await pilot.press("m")
        await settle(pilot)
    assert plan(tmp_path / "p").rounds == 3
    assert started == []


async def test_a_folder_without_a_project_says_what_to_do(tmp_path: Path) -> None:
    app = MiddoApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        text = screen_text(app)
    assert "middo-tui init" in text
    assert "✘ no data" in text


@pytest.mark.parametrize("size", [(79, 24), (80, 23), (20, 5)])
async def test_too_small_a_terminal_is_told_so(tmp_path: Path, size: tuple[int, int]) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        text = screen_text(app)
        assert "is needed" in text
        assert "● running" not in text
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert "● running" in screen_text(app)


async def test_new_rows_appear(tmp_path: Path) -> None:
    store = stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        store.metrics(1, 200, first=181).job(1, "train", "running", 200, stores.STEPS).event("fresh news")
        await until(pilot, "fresh news")
        assert "200 / 400" in screen_text(app)


async def test_opening_and_leaving_change_nothing(tmp_path: Path, started: list[Path]) -> None:
    stores.running(tmp_path / "p").worker(alive=False)
    before = dump(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("q")
    assert app.return_value == 0
    assert dump(tmp_path / "p") == before
    assert started == []


@pytest.mark.parametrize("key", ["enter", "space"])
async def test_enter_and_space_start_the_run(tmp_path: Path, started: list[Path], key: str) -> None:
    Store(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(key)
        await settle(pilot)
    assert started == [tmp_path / "p"]
    assert plan(tmp_path / "p") == Plan(rounds=3, want="run", hold_s=control.HOLD_S)


async def test_enter_takes_a_pause_and_a_step_back(tmp_path: Path, started: list[Path]) -> None:
    store = Store(tmp_path / "p").plan(rounds=5, want="pause", auto=True, until="score").round(0, 1)
    store.job(0, "score", "paused", 3, 9)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await settle(pilot)
    assert started == [tmp_path / "p"]
    assert plan(tmp_path / "p") == Plan(rounds=5, auto=True, want="run")


async def test_step_asks_for_exactly_the_next_stage(tmp_path: Path, started: list[Path]) -> None:
    Store(tmp_path / "p").plan().round(0, 2)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        assert "s step (judge)" in screen_text(app)
        await pilot.press("s")
        await settle(pilot)
    assert started == [tmp_path / "p"]
    assert (plan(tmp_path / "p").until_round, plan(tmp_path / "p").until_stage) == (0, "judge")


async def test_pause_only_says_what_is_wanted(tmp_path: Path, started: list[Path]) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("p")
        await settle(pilot)
        await until(pilot, "● pausing")
    assert plan(tmp_path / "p").want == "pause"
    assert started == []


async def test_a_key_that_does_not_work_now_does_nothing(tmp_path: Path, started: list[Path]) -> None:
    stores.running(tmp_path / "p")
    before = dump(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter", "space", "s", "e", "A", "R", "m")
        await settle(pilot)
        assert app.screen is app.loop
    assert dump(tmp_path / "p") == before
    assert started == []


async def test_a_key_that_does_not_work_now_says_what_it_is_for(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("s")
        await pilot.pause()
        assert "s is unavailable here: Run only the next stage, then stop." in screen_text(app)
        await pilot.press("f12")
        await pilot.pause()
        assert "is unavailable here" not in screen_text(app)


async def test_starting_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "p")
    gate = Event()
    monkeypatch.setattr(launch, "start", lambda project: gate.wait(DEADLINE_S))
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await pilot.pause()
        assert "Starting the worker …" in screen_text(app)
        store.round(0).event("a round begins while it starts")
        await until(pilot, "a round begins")
        assert "Starting the worker …" in screen_text(app)
        gate.set()
        await settle(pilot)
        assert "Starting the worker" not in screen_text(app)


async def test_starting_is_said_until_the_run_is_seen(tmp_path: Path, started: list[Path]) -> None:
    store = Store(tmp_path / "p").plan().round(0, 1)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("s")
        await settle(pilot)
        assert started == [tmp_path / "p"]
        assert "Starting the worker …" in screen_text(app)
        store.job(0, "score", "running", 0, 9).worker()
        await until(pilot, "● running")
        assert "Starting the worker" not in screen_text(app)


async def test_what_waits_for_a_locked_database_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "SLOW_S", 0.05)
    store = stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        store.db.execute("BEGIN IMMEDIATE")
        await pilot.press("p")
        await until(pilot, "Waiting for the database")
        assert plan(tmp_path / "p").want == "run"
        store.db.execute("ROLLBACK")
        await settle(pilot)
        await until(pilot, "● pausing")
        assert "Waiting for the database" not in screen_text(app)
    assert plan(tmp_path / "p").want == "pause"


async def test_an_error_of_the_engine_is_shown_and_the_app_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path / "p")

    def refuse(project: Path) -> int:
        raise launch.already_running(project)

    monkeypatch.setattr(launch, "start", refuse)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await settle(pilot)
        assert "already runs this project" in screen_text(app)
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Help)
        await pilot.press("escape")
        await pilot.pause()
        assert on_top(app) is app.loop


async def test_the_demo_leaves_with_enter_when_the_run_is_done(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p", leave_when_done=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "Press enter to quit." in screen_text(app)
        await pilot.press("enter")
    assert app.return_value == 0


async def test_without_that_enter_stays(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await pilot.pause()
        assert app.is_running


async def test_two_apps_may_look_at_one_project(tmp_path: Path) -> None:
    store = stores.running(tmp_path / "p")
    one, two = MiddoApp(tmp_path / "p"), MiddoApp(tmp_path / "p")
    async with one.run_test(size=(80, 24)) as first, two.run_test(size=(140, 40)) as second:
        store.event("seen by both")
        await until(first, "seen by both")
        await until(second, "seen by both")


async def test_the_help_page_scrolls_by_every_key_that_scrolls(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4", "question_mark")
        await pilot.pause()
        page = app.screen.query_one("#page")
        for down, up in (
            ("space", "pageup"),
            ("pagedown", "ctrl+u"),
            ("ctrl+d", "home"),
            ("end", "g"),
            ("j", "k"),
            ("down", "up"),
        ):
            await pilot.press(down)
            await pilot.pause()
            assert page.scroll_y > 0, down
            await pilot.press(up)
            await pilot.pause()
            assert page.scroll_y == 0, up
        await pilot.press("q")
        await pilot.pause()
        assert not isinstance(app.screen, Help)


async def test_one_more_round_is_asked_about(tmp_path: Path, started: list[Path]) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("m")
        await until(pilot, "Start one more round now?")
        assert started == []
        await pilot.press("y")
        await settle(pilot)
    assert started == [tmp_path / "p"]


async def test_a_project_without_a_model_is_not_started(tmp_path: Path, started: list[Path]) -> None:
    stores.Store(tmp_path / "p").db.close()
    (tmp_path / "p" / "config.toml").write_text('[model]\nname = ""\n', encoding="utf-8")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await until(pilot, "[model] name is empty")
    assert started == []
