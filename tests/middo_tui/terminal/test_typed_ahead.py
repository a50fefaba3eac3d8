"""Keys that arrive in one burst: what opens an input, what is typed into it, and what comes after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store import connect
from middo_tui.app import MiddoApp
from middo_tui.screens.input_line import TypeLine
from middo_tui.screens.review.screen import ReviewScreen
from middo_tui.terminal import typed_ahead
from middo_tui.widgets.text_input import TextInput
from tests.support import stores
from tests.support.reviews import reviewing
from tests.support.screens import screen_text, until
from tests.support.terminal import Terminal

CLEAR = b"\x7f" * 30  # backspace


def test_what_is_typed_behind_a_key_lands_in_its_input(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    stores.waiting(tmp_path / "p")
    terminal = opened(tmp_path / "p")
    terminal.wait_for("quit")
    for typed, shown in (
        (b"2fseq<3 axis:C\r", "seq<3 axis:C"),
        (b"f" + CLEAR + b"nothing-like-this\r", "No sample matches"),
        (b"f" + CLEAR + b"seq<50\r/things\r:30\r", "50 found"),
    ):
        since = len(terminal.seen)
        terminal.send(typed)
        terminal.wait_for(shown, since)
    terminal.send(b"q")
    assert terminal.wait() == 0


def test_a_note_typed_in_one_burst_is_kept(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    reviewing(tmp_path / "p")
    terminal = opened(tmp_path / "p")
    terminal.wait_for("quit")
    terminal.send(b"4")
    terminal.wait_for("volcanoes")
    since = len(terminal.seen)
    terminal.send(b"cask Jo about A and R\rjcaccept?\r")
    terminal.wait_for("accept?", since)
    terminal.settle()
    terminal.send(b"q")
    assert terminal.wait() == 0
    db = connect.reader(tmp_path / "p")
    try:
        notes = [row[0] for row in db.execute("SELECT note FROM rewrite WHERE note IS NOT NULL ORDER BY note")]
        assert notes == ["accept?", "ask Jo about A and R"]
        assert db.execute("SELECT count(*) FROM rewrite WHERE state<>'proposed'").fetchone()[0] == 0
    finally:
        db.close()


def test_a_key_right_behind_the_one_that_opens_a_screen_is_for_that_screen(
    tmp_path: Path, opened: Callable[..., Terminal]
) -> None:
    """Also where the screen has read nothing yet: ``a`` on the screen before would turn auto on."""
    reviewing(tmp_path / "p")
    terminal = opened(tmp_path / "p")
    terminal.wait_for("quit")
    terminal.send(b"4aa")
    terminal.wait_for("2 \u2714")
    terminal.send(b"q")
    assert terminal.wait() == 0
    db = connect.reader(tmp_path / "p")
    try:
        assert db.execute("SELECT count(*) FROM rewrite WHERE state='accepted'").fetchone()[0] == 2
        assert db.execute("SELECT auto FROM plan").fetchone()[0] == 0
    finally:
        db.close()


async def test_a_screen_that_reads_nothing_holds_its_keys_up_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.waiting(tmp_path / "p")
    monkeypatch.setattr(typed_ahead, "MOST_S", 0.1)
    monkeypatch.setattr(ReviewScreen, "reading", True)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4", "J", "1")
        await until(pilot, "Round 0 is waiting for review")
        assert app.screen is app.loop


@pytest.mark.parametrize("closes", ["enter", "escape"])
async def test_keys_go_on_after_an_input_was_closed(tmp_path: Path, closes: str) -> None:
    """The input that a key closes takes no word of it any more."""
    stores.waiting(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        for _ in range(5):
            await pilot.press("2", "f", "s", "e", "q", "colon", "3", closes)
            await pilot.press("1", "2")
        await pilot.press("f", "x")
        await pilot.pause()
        assert isinstance(app.screen, TypeLine)
        assert app.screen.query_one(TextInput).value.endswith("x")


async def test_ctrl_c_says_what_quits(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert "Press q to quit the app. The run continues in the background." in screen_text(app)
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert "Press ctrl-q to quit the app." in screen_text(app)
