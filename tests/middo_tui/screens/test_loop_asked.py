"""The Loop screen beside another window, and whatever goes wrong with what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.runtime import launch
from engine.store.connect import writer
from middo_tui.app import MiddoApp
from tests.support import stores
from tests.support.screens import screen_text, settle, until
from tests.support.stores import Store


@pytest.mark.parametrize(("error", "said"), [
    (OSError(30, "Read-only file system", "/mnt/exports"), "/mnt/exports: Read-only file system."),
    (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero. This is a bug in middo-tui"),
])  # fmt: skip
async def test_whatever_goes_wrong_is_said_and_the_next_thing_asked_for_is_done(
    tmp_path: Path, error: Exception, said: str
) -> None:
    stores.waiting(tmp_path / "p")

    def fails() -> str:
        raise error

    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        app.loop.ask(fails)
        await until(pilot, said)
        app.loop.ask(lambda: "The next thing is done.")
        await until(pilot, "The next thing is done.")


async def test_a_run_that_another_window_started_in_the_same_moment_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "p")

    def other_is_first(project: Path) -> int:
        store.db = writer(project)  # of this thread
        store.worker()
        raise launch.already_running(project)

    monkeypatch.setattr(launch, "start", other_is_first)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await settle(pilot)
        await until(pilot, "● running")
        assert "already runs this project" not in screen_text(app)


async def test_a_key_is_not_called_unavailable_any_longer_than_it_is(tmp_path: Path) -> None:
    store = stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("s")
        await until(pilot, "s is unavailable here")
        store.job(1, "train", "paused", 180, 600)
        store.db.execute("DELETE FROM worker")
        await until(pilot, "‖ your turn: paused")
        assert "is unavailable here" not in screen_text(app)


async def test_the_bar_of_a_review_counts_what_was_decided_since(tmp_path: Path) -> None:
    stores.waiting(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "0 / 15")
        await pilot.press("A", "y")
        await settle(pilot)
        await until(pilot, "15 / 15  100%")
        await pilot.press("u")
        await settle(pilot)
        await until(pilot, "0 / 15")
