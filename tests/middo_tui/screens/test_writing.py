"""The Writing screen: the newest rewrites, old against new, and what was refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store import write
from engine.store.connect import transaction, writer
from engine.store.conversation import dump_messages
from engine.store.rows import Message, Rewrite, Sample, content_id
from engine.store.teacher import TeacherCall
from middo_tui.app import MiddoApp
from middo_tui.feed.writing import load, speed
from tests.support.screens import screen_text, until
from tests.support.stores import NOON, Store

ESCAPE = "\x1b]0;owned\x07"


def sample(at: int) -> Sample:
    turns = Message("user", f"Old prompt {at} {ESCAPE}"), Message("assistant", f"old reply {at}")
    return Sample(content_id(turns), turns, 5_000 + at)


def call(at: int, axis: str, when: float) -> TeacherCall:
    return TeacherCall(0, sample(at).id, axis, "answer", NOON + when, "t", 1.5, 100, 40, 0.0)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A round that is being rewritten: one done, one refused, one a false alarm, one with only its prompt."""
    store = Store(tmp_path / "P").plan().round(0, 5).worker()
    store.job(0, "rewrite", "running", 3, 20)
    with transaction(store.db):
        write.add_samples(store.db, [sample(at) for at in range(5)])
    new = f"New prompt 0 {ESCAPE}", "new reply 0"
    messages = dump_messages([Message("user", new[0]), Message("assistant", new[1])])
    rows: list[Rewrite | TeacherCall] = [
        Rewrite(0, sample(0).id, "quality", "proposed", 1, *new, messages),
        Rewrite(
            0, sample(1).id, "quality", "failed", 3, raw="junk reply", reason="duplicate: nearly that of #112: 68%"
        ),
        Rewrite(0, sample(2).id, "complexity", "kept", 1, "p", "r", reason="false alarm: the teacher's answer agrees"),
        Rewrite(0, sample(3).id, "diversity", "prompted", 1, "A new question"),
        *(call(at, axis, at * 2.0) for at, axis in enumerate(("quality", "quality", "complexity", "diversity"))),
    ]
    write.save(store.db, 0, "rewrite", rows, None)
    store.db.close()
    return store.project


def test_the_newest_call_comes_first_with_old_and_new_text(project: Path) -> None:
    view = load(project)
    assert [(row.seq, row.state) for row in view.rows] == [
        (5_003, "being written"), (5_002, "kept"), (5_001, "failed"), (5_000, "undecided"),
    ]  # fmt: skip
    parts = {(part.kind, part.text.strip()) for block in view.rows[3].blocks for part in block.parts}
    assert {("old", "Old"), ("new", "New"), ("old", "old"), ("new", "new")} <= parts
    assert [block.title for block in view.rows[0].blocks] == ["prompt", "inspired by"]
    assert [block.title for block in view.rows[2].blocks] == ["teacher's reply", "prompt"]
    refused, alarms = view.refused.split(" · ")
    assert refused == "1 refused: 1 × duplicate: nearly that of …"
    assert alarms == "1 original kept: 1 × false alarm: the teacher's answer agrees"
    assert "3 of 20 done · 20 tokens/s" in view.head
    assert "\x1b" not in repr(view)


def test_a_project_whose_teacher_was_never_asked_has_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "P").round(0, 1)
    store.db.close()
    assert (load(store.project).round, load(store.project).rows) == (None, ())


def test_the_speed_is_that_of_the_last_minute() -> None:
    assert speed([]) is None
    assert speed([(100.0, 50)]) is None
    assert speed([(100.0, 50), (90.0, 30), (0.0, 1_000)]) == pytest.approx(5.0), "over the 10 s since the call before"
    assert speed([(100.0, 50), (100.0, 50)]) is None


async def test_the_cursor_follows_the_newest_until_it_is_moved(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, "w watch")
        await pilot.press("w")
        await until(pilot, "▸… ")
        assert "{+A new question+}" in screen_text(app)
        await pilot.press("j", "j")
        await until(pilot, "#5001 failed: duplicate: nearly that of #112")
        db = writer(project)
        write.save(db, 0, "rewrite", [Rewrite(0, sample(4).id, "quality", "owed"), call(4, "quality", 20.0)], None)
        db.close()
        await until(pilot, "#5004")
        assert "#5001 failed" in screen_text(app), "the cursor stayed"
        await pilot.press("g")
        await until(pilot, "Old prompt 4")
        assert "\x1b]" not in screen_text(app)
        await pilot.press("escape")
        await until(pilot, "w watch")
