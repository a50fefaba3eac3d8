"""The palette: everything is found by name, what works now first, and done where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import schema as configs
from engine.store import read
from engine.store.connect import reader, writer
from middo_tui.app import MiddoApp
from middo_tui.feed import settings
from middo_tui.feed.quick_find import SampleNumber
from middo_tui.keys import tables
from middo_tui.look import theme
from middo_tui.look.preferences import Preferences
from middo_tui.screens.confirm import Confirm
from middo_tui.screens.help import Help
from middo_tui.screens.input_line import TypeLine
from middo_tui.screens.palette import Palette
from middo_tui.screens.palette_entries import Command, HelpTopic, commands, listed
from middo_tui.screens.settings import SettingsScreen
from middo_tui.text.signal_help import SIGNALS
from tests.support import invented_project, stores
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
    assert names(found, "pau") == ["pause", "run: pause", "resume"]
    assert names(found, "rsm") == ["resume"]
    assert listed(found, "") == found
    assert names(found, "xyz") == []
    assert names([command("theme middo-light", "light")], "light theme") == ["theme middo-light"]


def names(found: list[Command], typed: str) -> list[str]:
    """What fits, without the last row, which lists samples with these words."""
    return [one.name for one in listed(found, typed)[:-1]]


def test_what_does_not_work_now_is_found_behind_the_rest() -> None:
    found = [command("accept")._replace(works=False), command("bulk accept")]
    assert names(found, "accept") == ["bulk accept", "accept"]


def test_letters_near_each_other_come_before_scattered_ones_and_samples_between() -> None:
    found = [command("model.temperature_long"), command("mtl"), command("model.max_tl")]
    sample = command("#7", "what an mtl is")
    assert [one.name for one in listed(found, "mtl", [sample])[:-1]] == [
        *("mtl", "#7", "model.max_tl", "model.temperature_long")
    ]


def test_a_number_is_a_sample() -> None:
    for typed in ("#1,204", "1204", " 1204 "):
        one = listed([command(typed)], typed)[0]
        assert (one.name, one.screen, one.target) == ("#1204", "samples", SampleNumber(1204))


@pytest.mark.parametrize("make", ["running", "waiting", "failed", "finished"])
async def test_it_holds_what_works_and_then_what_does_not_now(tmp_path: Path, make: str) -> None:
    getattr(stores, make)(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        loop = app.loop
        found = commands(loop, loop, loop.view)
        here = {c.action for c in found if c.screen == "loop" and c.works}
        everywhere = {row.id for row in tables.EVERYWHERE} - {"palette", "back"}
        assert here == {row.id for row in loop.shown_keys() if row.works(loop.view)} | everywhere
        assert {c.action for c in found if c.screen == "loop"} == here | {row.id for row in loop.shown_keys()}
        assert [c.works for c in found] == sorted((c.works for c in found), reverse=True)
        assert {c.name for c in found if not c.screen and c.target is None} == {
            f"theme {name}" for name in theme.PALETTES
        }


async def test_export_is_first_of_all_the_dataset(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        for number in "1346":
            await pilot.press(number)
            await settle(pilot)
            found = listed(commands(app.framed, app.loop, app.loop.view), "export")
            assert [one.screen for one in found if one.action == "export"] == ["rounds", "samples"]


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
        await until(pilot, "Cancel the running stage (")
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
        await pilot.press("ctrl+p", *"%%%")
        await pilot.pause()
        assert "Nothing matches" in screen_text(app)
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


async def test_it_finds_every_screen_key_setting_and_help_topic(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        found = commands(app.loop, app.loop, app.loop.view)
    screens = {*tables.SCREENS, *tables.UNNUMBERED}
    assert screens - {c.screen for c in found} == set()
    assert {c.target for c in found if c.screen == "settings" and not c.action} == {*settings.flat(configs.Config())}
    topics = {c.target for c in found if isinstance(c.target, HelpTopic)}
    assert topics == {HelpTopic("", name) for name, _, _ in SIGNALS} | {HelpTopic(name) for name in screens}
    quiet = next(c for c in found if c.screen == "review" and c.action == "mark_alike")
    assert (quiet.name, quiet.key) == ("review: mark alike", "4 M")


async def test_a_setting_is_gone_to(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p", *"learning_rate")
        await until(pilot, "▸  train.learning_rate")
        await pilot.press("enter")
        await until(pilot, "▸  learning_rate")


async def test_a_help_topic_is_shown(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p", *"help base loss", "enter")
        await until(pilot, "under the base model")
        assert isinstance(app.screen, Help)


async def test_a_sample_is_found_by_its_number_and_by_its_words(tmp_path: Path) -> None:
    app = MiddoApp(invented_project.make(tmp_path / "p", samples=20))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p", *"#3", "enter")
        await until(pilot, "▸        3")
        await pilot.press("f", *"schools", "enter")
        await until(pilot, "round 2  schools  ")
        await pilot.press("ctrl+p", *"#99999", "enter")
        text = await until(pilot, "#99999 is not in the dataset")
        assert "round 2  schools  " in text, "what was listed stays"
        await pilot.press("ctrl+p", *"#1", "enter")  # left the dataset before round 2
        await until(pilot, "▸○ #1◂")
        await pilot.press("ctrl+p", *"schools of")
        await until(pilot, "▸  #")


async def test_another_project_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    stores.finished(tmp_path / "p")
    stores.finished(tmp_path / "other one")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p", *"open other")
        await until(pilot, "▸  open other one")
        await pilot.press("enter")
        await pilot.pause()
    assert app.next_project == tmp_path / "other one"


async def test_a_store_that_cannot_be_searched_says_why(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        with writer(tmp_path / "p") as db:
            db.execute("DROP TABLE sample_fts")
        await pilot.press("ctrl+p", *"words")
        await until(pilot, "no such table: sample_fts")


async def test_it_opens_over_a_question_and_closes_it_for_another_screen(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("question_mark", "ctrl+p", *"learning_rate", "enter")
        await until(pilot, "▸  learning_rate")
        assert app.screen is app.framed, "the help page is closed"
        await pilot.press("question_mark", "ctrl+p", "escape")
        assert isinstance(app.screen, Help), "it is there again"


async def test_over_what_is_being_typed_it_has_what_leaves_it_there(tmp_path: Path) -> None:
    app = MiddoApp(invented_project.make(tmp_path / "p", samples=20))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2", "f", *"quality<4")
        await pilot.press("ctrl+p")
        text = await until(pilot, "a command or help topic")
        assert "quit" in text
        await pilot.press(*"learning_rate")
        await until(pilot, "Nothing matches")
        await pilot.press("ctrl+u", *"help base loss", "enter")
        await until(pilot, "under the base model")
        await pilot.press("escape", "escape")
        await until(pilot, "quality<4")
        assert isinstance(app.screen, TypeLine)
        await pilot.press("ctrl+p", *"theme middo-light", "enter")
        await until(pilot, "quality<4")
        assert app.theme == "middo-light"
        await pilot.press("ctrl+p", *"quit", "enter")
        await pilot.pause()
    assert app.return_code == 0


async def test_a_remapped_key_opens_it_there_too(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p", preferences=Preferences(keys={"app.palette": ("f2",)}))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("question_mark", "f2")
        await until(pilot, "a command, setting")
        assert isinstance(app.screen, Palette)
