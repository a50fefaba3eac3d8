"""Other projects laid over this one's rounds, driven by keys."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from engine.store.connect import transaction
from middo_tui.app import MiddoApp
from middo_tui.feed import overlay
from tests.support import families, stores
from tests.support.screens import screen_text, until


async def opened(pilot: Pilot[int], part: str) -> None:
    """The Rounds screen, once ``part`` is painted."""
    await pilot.press("5")
    await until(pilot, part)


async def test_another_project_is_laid_over_this_one_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    families.measured(tmp_path / "mine", 3)
    families.measured(tmp_path / "theirs", 2)
    app = MiddoApp(tmp_path / "mine")
    async with app.run_test(size=(140, 40)) as pilot:
        await opened(pilot, "[scores]")
        await pilot.press("o")
        await until(pilot, "theirs")
        await pilot.press("enter")
        text = await until(pilot, "theirs ╌")
        assert "[curves]" in text
        assert "do not compare" not in text, "both hold out the same"
        await pilot.resize_terminal(80, 24)  # a title has no room for names there
        await until(pilot, "Lines: a alpaca-mini, b theirs.")
        await pilot.press("o")
        await until(pilot, "✔ theirs")
        await pilot.press("enter")
        await until(pilot, "C━")
        assert "theirs" not in screen_text(app)


async def test_a_key_typed_before_the_projects_are_found_is_meant_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    families.measured(tmp_path / "mine", 2)
    families.measured(tmp_path / "theirs", 2)
    typed, find = threading.Event(), overlay.others

    def slow(project: Path) -> list[tuple[Path, float]]:
        assert typed.wait(30)
        return find(project)

    monkeypatch.setattr(overlay, "others", slow)
    app = MiddoApp(tmp_path / "mine")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "[scores]")
        for key in ("o", "enter"):  # as a terminal delivers them: at once
            app.post_message(events.Key(key, None))
        await pilot.pause()
        typed.set()
        text = await until(pilot, "b theirs")
        assert "[curves]" in text


async def test_a_project_that_cannot_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    families.measured(tmp_path / "mine")
    other = stores.finished(tmp_path / "newer")
    with transaction(other.db):
        other.db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('middo','m999_x','')"
        )
    app = MiddoApp(tmp_path / "mine")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "[scores]")
        await pilot.press("o")
        await until(pilot, "newer")
        await pilot.press("enter")
        await until(pilot, "made by a newer middo-tui")


async def test_without_another_project_the_key_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    families.measured(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "[scores]")
        await pilot.press("o")
        await until(pilot, "No other project is known")
