"""Labelling samples in the app: drawn, labelled blind, taken back, and the report at the end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from textual.message import Message

from engine.store import labels
from engine.store.connect import reader
from engine.store.labels import Labelled
from engine.store.rows import Flaw
from middo_tui.app import MiddoApp
from middo_tui.feed.labels import LabelView, read_labels
from middo_tui.screens import label
from middo_tui.screens.label import LabelScreen, LabelsRead
from tests.support import rounds, tiny
from tests.support.screens import screen_text, until


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """Twelve scored samples, fewer than the screen draws."""
    out = rounds.project(tmp_path / "P", 12)
    (out.folder / "config.toml").write_text("", encoding="utf-8")
    ids = [s.id for s in rounds.dataset(out)]
    out.ctx("score").save([Flaw(0, id, (i + 0.5) / 12, "ifd") for i, id in enumerate(ids)])
    return out


def drawn(made: tiny.Project) -> list[Labelled]:
    db = reader(made.folder)
    try:
        return labels.drawn(db)
    finally:
        db.close()


async def test_samples_are_drawn_labelled_and_reported(made: tiny.Project) -> None:
    app = MiddoApp(made.folder)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2", "L")
        await until(pilot, "enter draw 80 samples")
        await pilot.press("enter")
        text = await until(pilot, "1 of 12 · 0 labelled")
        assert "12 samples drawn." in text
        rows = drawn(made)
        shown = next(s for s in rounds.dataset(made) if s.id == rows[0].sample_id)
        assert shown.prompt in text
        assert shown.response in text
        assert f"#{shown.seq}" not in text
        await pilot.press("g")
        await until(pilot, "2 of 12 · 1 labelled")
        await pilot.press("f")
        await until(pilot, "Which kind of flaw?")
        await pilot.press("c")
        await until(pilot, "3 of 12 · 2 labelled")
        await pilot.press("k")
        await until(pilot, "2 of 12 · 2 labelled · flawed: cut off")
        await pilot.press("u")
        await until(pilot, "2 of 12 · 1 labelled")
        for done in range(2, 12):
            await pilot.press(*("f", "f") if rows[done - 1].seq >= 6 else "g")
            await until(pilot, f"{done} labelled")
        await pilot.press("g")
        text = await until(pilot, "report · 12 of 12 labelled")
        assert "flawed in the whole dataset:" in text
        assert "flaw score" in text
        await pilot.press("r")
        await until(pilot, "of 12 · 12 labelled")
    assert [row.label for row in drawn(made)].count(None) == 0


async def test_a_read_that_took_long_does_not_undo_a_newer_one(
    made: tiny.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread cannot be stopped: it posts what it found, however late."""
    app, go, posted = MiddoApp(made.folder), threading.Event(), list[Message]()
    slow = [True]

    def reading(project: Path) -> LabelView:
        found = read_labels(project)
        if slow and slow.pop():
            go.wait(60)
        return found

    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2", "L")
        await until(pilot, "enter draw 80 samples")
        await pilot.press("enter")
        await until(pilot, "1 of 12 · 0 labelled")
        screen, post = app.screen, LabelScreen.post_message
        assert isinstance(screen, LabelScreen)

        def posting(self: LabelScreen, message: Message) -> bool:
            there = post(self, message)
            if isinstance(message, LabelsRead):
                posted.append(message)
            return there

        monkeypatch.setattr(label, "read_labels", reading)
        monkeypatch.setattr(LabelScreen, "post_message", posting)
        screen.action_next()
        while slow:
            await pilot.pause()
        await pilot.press("g")
        await until(pilot, "2 of 12 · 1 labelled")
        go.set()
        while len(posted) < 2:
            await pilot.pause()
        await pilot.pause()
        assert "2 of 12 · 1 labelled" in screen_text(app)


async def test_before_anything_is_scored_it_says_what_is_missing(tmp_path: Path) -> None:
    made = rounds.project(tmp_path / "P", 5)
    (made.folder / "config.toml").write_text("", encoding="utf-8")
    app = MiddoApp(made.folder)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2", "L")
        text = await until(pilot, "Samples can be drawn once the score stage has run.")
        assert "enter draw" not in text
