"""The Settings screen: what holds, what it means, what follows from changing it. Real stores, real config.toml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.config import defaults
from engine.config import schema as configs
from engine.errors import ConfigError
from engine.store.connect import transaction
from middo_tui.app import MiddoApp
from middo_tui.feed import settings
from middo_tui.feed.settings import Setting, Settings
from middo_tui.look import theme
from middo_tui.screens.settings import SettingsScreen, about, summary
from tests.support import stores
from tests.support.hostile import CORPUS
from tests.support.screens import screen_text, settle, until


async def opened(pilot: Pilot[int]) -> None:
    """The Settings screen, with the settings read."""
    await pilot.press("comma")
    await until(pilot, "[project]")


async def go_to(pilot: Pilot[int], key: str) -> None:
    """The cursor to ``key``."""
    screen = pilot.app.screen
    assert isinstance(screen, SettingsScreen)
    at = next(at for at, (_, row) in enumerate(screen._rows) if row and row.key == key)
    screen.move(at - screen._menu.at)
    await pilot.pause()


def flat(app: MiddoApp) -> str:
    return " ".join(screen_text(app).split())


def test_every_key_of_the_config_has_a_row_a_default_and_a_meaning(tmp_path: Path) -> None:
    stores.Store(tmp_path / "p")
    found = settings.load(tmp_path / "p")
    assert {row.key for row in found.rows} == settings.comments().keys()
    assert [row.key for row in found.rows if not row.help] == []
    assert {row.key for row in found.rows if row.changed} == {"project.name", "model.name"}
    assert found.round is None


def test_a_comment_stands_for_the_keys_that_follow_it() -> None:
    said = settings.comments()
    assert said["train.lora_r"] == said["train.lora_dropout"]
    assert said["train.lora_r"] != said["train.log_steps"]


def test_what_the_round_ran_with_is_told_from_what_the_file_says(tmp_path: Path) -> None:
    stores.finished(tmp_path / "p")
    text = (tmp_path / "p" / "config.toml").read_text(encoding="utf-8")
    (tmp_path / "p" / "config.toml").write_text(text.replace("m_quality = 1.0", "m_quality = 0.5"), encoding="utf-8")
    row = next(row for row in settings.load(tmp_path / "p").rows if row.key == "select.m_quality")
    assert (row.value, row.default, row.used, row.stages) == ("0.5", "1.0", "1.0", ("select",))


def test_what_automatic_review_set_is_not_called_changed(tmp_path: Path) -> None:
    store = stores.finished(tmp_path / "p")
    with transaction(store.db):
        store.db.execute("""UPDATE round SET config=json_set(config, '$.review.policy', 'improved')""")
    found = settings.load(tmp_path / "p")
    row = next(row for row in found.rows if row.key == "review.policy")
    assert summary(found).endswith("1 not as in round 2 ≠")
    assert about(row, found).endswith('Round 2 last ran with "improved": automatic review was on.')


def test_a_round_of_an_older_version_is_no_obstacle(tmp_path: Path) -> None:
    store = stores.finished(tmp_path / "p")
    with transaction(store.db):
        store.db.execute("""UPDATE round SET config='{"gone": {"x": 1}}'""")
    found = settings.load(tmp_path / "p")
    assert found.rows
    assert not any(row.used for row in found.rows)


async def test_with_a_broken_config_nothing_is_counted(tmp_path: Path) -> None:
    stores.Store(tmp_path / "p")
    (tmp_path / "p" / "config.toml").write_text("[train]\nepochs = 1\nepochs = 2\n", encoding="utf-8")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("comma")
        text = " ".join((await until(pilot, "set twice (first on line 2)")).split())
        assert "changed •" not in text
        assert " Settings ──" in text


@pytest.mark.parametrize(("old", "typed", "value"), [
    ("1.0", "0.8", 0.8), ("1.0", " -1 ", -1), ("true", "false", False), ('""', "a name", "a name"), ('""', '"a"', "a"),
    ('"x"', "1.5", "1.5"), ("[]", '["a"]', ["a"]), ("{}", '{a = "b"}', {"a": "b"}), ('""', "", ""),
])  # fmt: skip
def test_values_are_toml_and_texts_need_no_quotes(old: str, typed: str, value: object) -> None:
    assert settings.value_of(old, typed) == value


def test_what_cannot_be_read_names_an_example() -> None:
    with pytest.raises(ConfigError, match=r"one: not a valid value. Example: 1.0"):
        settings.value_of("1.0", "one")
    with pytest.raises(ConfigError, match="empty: not a valid value"):
        settings.value_of("1.0", " ")


def test_saving_says_which_stages_ran_with_the_old_value(tmp_path: Path) -> None:
    stores.waiting(tmp_path / "my p")
    found = settings.load(tmp_path / "my p")
    row = next(row for row in found.rows if row.key == "select.m_quality")
    said = settings.save(tmp_path / "my p", row, "0.5", found.ran, found.round)
    assert "In round 0, select ran with 1.0" in said
    assert f"To redo: pause, then middo-tui run '{tmp_path / 'my p'}' --redo select" in said
    idle = settings.save(tmp_path / "my p", row, "0.5", found.ran, found.round, running=False)
    assert "To redo: middo-tui run" in idle
    assert configs.load(tmp_path / "my p").select.m_quality == 0.5
    row = next(row for row in found.rows if row.key == "loop.rounds")
    assert "Stages that start from now on" in settings.save(tmp_path / "my p", row, "4", found.ran, found.round)
    row = next(row for row in found.rows if row.key == "data.heldout_share")
    assert "only a new project uses it" in settings.save(tmp_path / "my p", row, "0.5", found.ran, found.round)
    assert "The next `middo-tui import` uses it" in settings.save(tmp_path / "my p", row, "0.4", (), None)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_a_value_is_changed_by_typing_it(tmp_path: Path, size: tuple[int, int]) -> None:
    stores.waiting(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        await go_to(pilot, "select.m_complexity")
        assert "A lower m selects more." in flat(app)
        assert "Used by select" in flat(app)
        await pilot.press("enter", "backspace", "backspace", "backspace", *"0.75")
        assert "select.m_complexity = 0.75" in flat(app)
        assert "enter save esc cancel" in flat(app)
        await pilot.press("enter")
        await settle(pilot)
        await until(pilot, "round 0: 1.0")
        assert "select ran with 1.0" in flat(app)
        assert max(len(row) for row in screen_text(app).split("\n")) <= size[0]
        await pilot.press("d")
        await settle(pilot)
        assert configs.load(tmp_path / "p").select.m_complexity == 1.0


async def test_a_value_that_cannot_be_is_refused_with_a_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    stores.waiting(tmp_path / "p")
    before = (tmp_path / "p" / "config.toml").read_bytes()
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await go_to(pilot, "score.token_budget")
        await pilot.press("enter", *["backspace"] * 9, *"-5", "enter")
        await settle(pilot)
        assert "[score] token_budget" in flat(app)
        assert "score.token_budget = -5" in flat(app)  # still there to be corrected
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, SettingsScreen)
        assert "enter edit" in flat(app)
    assert (tmp_path / "p" / "config.toml").read_bytes() == before


async def test_only_what_was_changed(tmp_path: Path) -> None:
    stores.waiting(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("c")
        await pilot.pause()
        assert "[model]" in screen_text(app)
        assert "[train]" not in screen_text(app)
        await pilot.press("c", "right_square_bracket", "right_square_bracket", "right_square_bracket")
        await pilot.pause()
        assert "▸• name" in screen_text(app)
        assert "Model to fine-tune" in flat(app)


async def test_the_theme_is_the_persons_own_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    stores.waiting(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert app.theme == "middo-light"
        assert "middo-light" in screen_text(app)
    theme.use(theme.DEFAULT)
    assert 'theme = "middo-light"' in (tmp_path / "config" / "middo-tui" / "config.toml").read_text(encoding="utf-8")


async def test_a_config_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    stores.waiting(tmp_path / "p")
    (tmp_path / "p" / "config.toml").write_text("[select]\nm_complexty = 1\n", encoding="utf-8")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("comma")
        await until(pilot, "no such key")
        await pilot.press("j", "k", "right_square_bracket", "pagedown", "d", "c")
        assert "[select] m_complexty" in flat(app)
        os.replace(_good(tmp_path), tmp_path / "p" / "config.toml")
        await pilot.press("r")
        await until(pilot, "[project]")


def _good(place: Path) -> Path:
    (place / "good.toml").write_text('[project]\nname = "x"\n', encoding="utf-8")
    return place / "good.toml"


async def test_hostile_values_are_shown_as_what_they_are(tmp_path: Path) -> None:
    stores.waiting(tmp_path / "p")
    name = "".join(CORPUS[key] for key in ("bidi override", "rich markup", "zero width"))
    text = defaults.render({"project": {"name": name}, "model": {"name": CORPUS["osc0 sets the title"]}})
    (tmp_path / "p" / "config.toml").write_text(text, encoding="utf-8")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(140, 40)) as pilot:
        await opened(pilot)
        await go_to(pilot, "project.name")
        shown = screen_text(app)
        assert "⟨U+202E⟩" in shown
        assert "[red]b[/red]" in shown
        assert not any(bad in shown for bad in ("\u202e", "\u200b", "\x1b", "\x07"))


def test_of_a_secret_only_the_name_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    row = Setting("teacher.key_env", '"MY_KEY"', '""')
    assert "environment variable, which is set" in about(row, Settings())
    assert "secret" not in about(row, Settings())
    monkeypatch.delenv("MY_KEY")
    assert "is not set here" in about(row, Settings())
