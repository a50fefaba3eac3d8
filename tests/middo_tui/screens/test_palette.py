"""The palette: what works now and nothing else, found by name, done where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store import read
from engine.store.connect import reader
from middo_tui.app import MiddoApp
from middo_tui.keys import tables
from middo_tui.look import theme
from middo_tui.screens.confirm import Confirm
from middo_tui.screens.palette import Command, Palette, commands, filtered, match
from middo_tui.screens.settings import SettingsScreen
from tests.support import stores
from tests.support.screens import screen_text, settle, until


def command(name: str, text: str = "") -> Command:
    return Command(name, text, "", "loop", name)


def want(project: Path) -> str:
    db = reader(project)
    try:
        return read.plan(db).want
    finally:
        db.close()


def test_the_better_a_name_fits_the_higher_it_stands() -> None:
    found = [command("cancel"), command("run: pause"), command("pause"), command("resume", "goes on after a pause")]
    assert [c.name for c in filtered(found, "pau")] == ["pause", "run: pause", "resume"]
    assert [c.name for c in filtered(found, "rsm")] == ["resume"]
    assert filtered(found, "") == found
    assert filtered(found, "xyz") == []
    assert match(command("theme middo-light", "light"), "light theme") is not None


@pytest.mark.parametrize("make", ["running", "waiting", "failed", "finished"])
async def test_it_holds_exactly_what_works(tmp_path: Path, make: str) -> None:
    getattr(stores, make)(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        loop = app.loop
        found = commands(loop, loop, loop.view)
        here = {c.action for c in found if c.screen == "loop"}
        everywhere = {row.id for row in tables.EVERYWHERE} - {"palette", "back"}
        assert here == {row.id for row in loop.shown_keys() if row.works(loop.view)} | everywhere
        assert {c.name for c in found if not c.screen} == {f"theme {name}" for name in theme.PALETTES}


async def test_export_is_first_of_all_the_dataset(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        for number in "1346":
            await pilot.press(number)
            await settle(pilot)
            found = filtered(commands(app.framed, app.loop, app.loop.view), "export")
            assert [one.screen for one in found] == ["rounds", "samples"]


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_a_command_is_found_and_done(tmp_path: Path, size: tuple[int, int]) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=size) as pilot:
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert isinstance(app.screen, Palette)
        assert "▸  pause" in screen_text(app)
        assert max(len(row) for row in screen_text(app).split("\n")) <= size[0]
        await pilot.press(*"pau", "enter")
        await pilot.pause()
        await settle(pilot)
        assert want(tmp_path / "p") == "pause"


async def test_the_run_is_in_reach_from_every_screen(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p", *"settings", "enter")
        await until(pilot, "[project]")
        assert isinstance(app.screen, SettingsScreen)
        await pilot.press("ctrl+p", *"run: can")
        await pilot.pause()
        assert "▸  run: cancel" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, "Cancel the running stage?")
        assert isinstance(app.screen, Confirm)
        await pilot.press("y")
        await settle(pilot)
        assert want(tmp_path / "p") == "cancel"
        assert isinstance(app.screen, SettingsScreen)


async def test_a_theme_is_chosen_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p", *"high contrast", "enter")
        await pilot.pause()
        await settle(pilot)
        assert app.theme == "middo-contrast"
        assert "Theme set to middo-contrast, saved in" in screen_text(app)
    theme.use(theme.DEFAULT)
    assert (tmp_path / "config" / "middo-tui" / "config.toml").exists()


async def test_escape_does_nothing_and_nothing_fits_says_so(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p", *"zzz")
        await pilot.pause()
        assert "No available command matches" in screen_text(app)
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen is app.loop
        await pilot.press("ctrl+p", "down", "down", "up", "pagedown", "pageup", "escape")
        await pilot.pause()
        assert app.screen is app.loop
        assert want(tmp_path / "p") == "run"


@pytest.mark.parametrize("start", ["1", "2", "3", "4", "6", "comma"])
async def test_export_is_found_and_done_from_every_screen(tmp_path: Path, start: str) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(start, "ctrl+p", *"export data")
        await until(pilot, "rounds: export")
        await pilot.press("enter")
        await until(pilot, "Export which dataset, in which format?")
        await pilot.press("escape")
        await pilot.pause()
        assert app.framed.NAME == "rounds"


async def test_what_does_not_work_there_says_so(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p", *"lineage: review", "enter")
        await until(pilot, "Unavailable right now: Show its rewrite")
        assert app.framed.NAME == "lineage"
