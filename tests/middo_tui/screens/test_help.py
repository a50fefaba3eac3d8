"""The help page can be searched and says what the signals mean; the footer can be clicked; ``~`` shows a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from middo_tui.app import MiddoApp
from middo_tui.keys import tables
from middo_tui.screens.help import Help, help_lines
from middo_tui.screens.loop_keys import KEYS
from middo_tui.text.signal_help import SIGNALS
from middo_tui.widgets.key_bar import key_at, key_bar
from middo_tui.widgets.lines import plain, width_of
from tests.support import stores
from tests.support.screens import screen_text, until


def test_every_signal_says_what_it_means_and_when_to_distrust_it() -> None:
    page = " ".join(plain(help_lines("loop", KEYS, 200)).split())
    for name, means, doubt in SIGNALS:
        assert f"{name} {means} {doubt}" in page
    assert all(width_of(line) <= 80 for line in help_lines("loop", KEYS, 80))


def test_only_what_has_all_the_words_is_listed() -> None:
    found = plain(help_lines("loop", KEYS, 80, "RUN stage"))
    assert "Run only the next stage" in found
    assert "Redraw" not in found
    assert "What the signals mean" not in found, "a section without entries has no title"
    assert plain(help_lines("loop", KEYS, 80, "nosuchword")) == " No key or signal matches “nosuchword”."


async def test_the_page_is_searched_and_shown_whole_again(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("question_mark", "slash", *"ifd vague", "enter")
        await until(pilot, "prompts so vague that they explain no answer")
        assert "Pause at the next safe point" not in screen_text(app)
        await pilot.press("escape")
        await until(pilot, "Pause at the next safe point")
        assert isinstance(app.screen, Help)
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, Help)


def test_a_click_finds_the_key_under_it() -> None:
    bar = key_bar((("p", "pause"), ("1-7", "screens"), ("ctrl-p", "commands"), ("?", "help"), ("q", "quit")), 80)
    text = plain([bar])
    for shown, key in (("pause", "p"), ("commands", "ctrl+p"), ("help", "question_mark"), ("quit", "q")):
        assert key_at(bar, text.index(shown)) == key
    assert key_at(bar, text.index("screens")) == ""
    assert key_at(bar, 79) == ""


@pytest.mark.parametrize("table", [tables.EVERYWHERE, *(tables.of_screen(screen) for screen in tables.SCREENS)])
def test_every_shown_key_can_be_clicked(table: tuple[tables.Key[object], ...]) -> None:
    for row in table:
        assert tables.key_named(tables.name(row.keys[0])) == row.keys[0]


def test_a_key_is_listed_once() -> None:
    rows = ["".join(run.text for run in line).split() for line in help_lines("loop", KEYS, 140)]
    (at,) = (at for at, words in enumerate(rows) if words[:1] == ["w"])
    assert rows[at][1:3] == ["Watch", "the"]
    assert rows[at + 1][0] == "Show", "its other meaning, below"


async def test_the_footer_is_clicked_and_the_command_shown(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("tilde")
        await until(pilot, "or you have done nothing yet.")
        await pilot.press("tab")
        await until(pilot, "p pause")
        row = screen_text(app).split("\n")[-1]
        await pilot.click("KeyBar", offset=(row.index("pause"), 0))
        await until(pilot, "pausing")
        await pilot.press("tilde")
        await until(pilot, "The same from a shell: middo-tui pause")
