"""The Review screen on real stores, by keys: a whole sitting, texts, batches, two apps, and what there is to say."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.store import commands, connect
from engine.store.rows import Message, dump_messages
from middo_tui.app import MiddoApp
from middo_tui.feed.review import REASONS
from middo_tui.screens.confirm import Confirm
from middo_tui.screens.review.edit import Box, EditRewrite
from middo_tui.screens.review.screen import ReviewScreen
from tests.support.reviews import reviewing
from tests.support.screens import on_top, screen_text, settle, until


def fates(project: Path, wanted: Sequence[tuple[int, str]]) -> list[tuple[str, str | None]]:
    db = connect.reader(project)
    try:
        found = {(r["sample_id"], r["axis"]): (r["state"], r["reason"]) for r in db.execute("SELECT * FROM rewrite")}
    finally:
        db.close()
    return [found[key] for key in wanted]


def rewrite(project: Path, key: tuple[int, str]) -> sqlite3.Row:
    db = connect.reader(project)
    try:
        row: sqlite3.Row = db.execute("SELECT * FROM rewrite WHERE sample_id=? AND axis=?", key).fetchone()
    finally:
        db.close()
    return row


async def opened(pilot: Pilot[int], first: str = "#1000") -> ReviewScreen:
    """The Review screen with its first rewrite on it."""
    await pilot.press("4")
    await until(pilot, first)
    assert isinstance(pilot.app.screen, ReviewScreen)
    return pilot.app.screen


async def done(pilot: Pilot[int], screen: ReviewScreen) -> None:
    """Until everything that was asked for is in the store and read back."""
    await settle(pilot)
    for _ in range(2000):
        if not screen._under_way and not screen._asked:
            break
        await pilot.pause(0.01)
    assert not screen._asked
    await pilot.pause()


async def test_bulk_accept_says_that_none_improved(tmp_path: Path) -> None:
    project = tmp_path / "p"
    reviewing(project, 4)
    with closing(sqlite3.connect(project / "middo.db")) as db, db:
        db.execute("UPDATE rewrite SET improved = 0")
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("A")
        await until(pilot, "A is unavailable here: no undecided rewrite improved.")


async def test_a_whole_sitting_by_keys(tmp_path: Path, started: list[Path]) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 6)
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        text = screen_text(app)
        parts = ("0 / 6", "C complexity", "base loss 3.20 → 1.40 ▲", "[-number-] {+fact+}", "improved: number 0")
        assert [part for part in parts if part not in text] == []
        await pilot.press("a", "r", "5", "s", "r", "r")
        await done(pilot, screen)
        assert fates(project, wanted)[:4] == [
            ("accepted", None),
            ("rejected", REASONS[4]),
            ("proposed", None),
            ("rejected", None),
        ]
        assert screen.key == wanted[4]
        await pilot.press("enter")
        await until(pilot, "enter is unavailable here: 3 rewrites are undecided.")
        await pilot.press("u")
        await done(pilot, screen)
        assert screen.key == wanted[3], "undo shows what it was about"
        assert fates(project, wanted)[3] == ("proposed", None)
        await pilot.press("U")
        await done(pilot, screen)
        assert fates(project, wanted)[3] == ("rejected", None)
        await pilot.press("g", "j", "j", "a", "a", "a")
        await done(pilot, screen)
        await until(pilot, "All 6 rewrites are decided. Press enter to merge")
        assert "enter merge" in screen_text(app)
        assert "6 / 6 decided   4 ✔  2 ✘" in screen_text(app)
        await pilot.press("enter")
        card = await until(pilot, "Merge round 0? 4 rewrites accepted.")
        assert started == [], "the first enter only asks"
        assert "C complexity 1 of 2 · D diversity 1 of 2 · Q quality 2 of 2" in card
        await pilot.press("enter")
        await settle(pilot)
    assert started == [project]


async def test_typing_ahead_loses_no_key_and_no_decision(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 9)
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("a", "r", "2", "a", "r", "enter", "a", "r", "9", "a", "a", "a")
        await done(pilot, screen)
    states = [state for state, _ in fates(project, wanted)]
    assert states == ["accepted", "rejected"] * 3 + ["accepted"] * 3


async def test_a_digit_is_a_reason_only_while_one_is_asked_for(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 3)
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("r")
        await until(pilot, "Reject?")
        assert "1-9 reason" in screen_text(app)
        assert "screens" not in screen_text(app).split("\n")[-1]
        await pilot.press("escape")
        await pilot.pause()
        assert "Reject?" not in screen_text(app)
        assert app.screen is screen
        await pilot.press("1")
        await pilot.pause()
        assert on_top(app) is app.loop
    assert fates(project, wanted) == [("proposed", None)] * 3


async def test_an_edit_is_saved_marked_and_undone(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 3)
    before = tuple(rewrite(project, wanted[0]))
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("e")
        await pilot.pause()
        assert isinstance(app.screen, EditRewrite)
        box = app.screen.query_one("#prompt", Box)
        box.text = ""
        await pilot.press("ctrl+s")
        await until(pilot, "must not be empty")
        box.text = "Which volcano is active?"
        await pilot.press("ctrl+s")
        await done(pilot, screen)
        await until(pilot, "✎ edited, not rechecked")
        assert "1 ✎" in screen_text(app)
        assert rewrite(project, wanted[0])["response"] == "Volcano 0 is hot inside.\nIt is very hot."
        await pilot.press("u")
        await done(pilot, screen)
        assert tuple(rewrite(project, wanted[0])) == before


async def test_giving_an_edit_up_asks_once_and_changes_nothing(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 3)
    before = tuple(rewrite(project, wanted[0]))
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("e", "x", "escape")
        await until(pilot, "esc again to discard your changes")
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is screen
        await pilot.press("e")
        await pilot.pause()
        await pilot.press("ctrl+s")
        await done(pilot, screen)
    assert tuple(rewrite(project, wanted[0])) == before


async def test_no_editor_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    reviewing(tmp_path / "p", 3)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("E")
        await until(pilot, "$EDITOR is not set")


async def test_a_batch_over_a_filter_shows_its_count_and_is_one_undo(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 60)
    app = MiddoApp(project)
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await opened(pilot)
        assert "A accept 30 improved" in screen_text(app)
        assert "R reject 30 others" in screen_text(app)
        await pilot.press("A")
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        assert "Accept 30 improved rewrites?" in screen_text(app)
        await pilot.press("n", "f", *"q worse", "enter")
        await until(pilot, "10 listed")
        assert "R reject 10 listed" in screen_text(app)
        await pilot.press("R")
        await done(pilot, screen)
        await until(pilot, "10 rejected.")
        assert [state for state, _ in fates(project, wanted)].count("rejected") == 10
        await pilot.press("u")
        await done(pilot, screen)
        await until(pilot, "10 decisions")
    assert fates(project, wanted) == [("proposed", None)] * 60


async def test_marks_and_ranges(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 9)
    app = MiddoApp(project)
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("space", "j", "v", "j", "j", "v")
        await until(pilot, "● 4 marked")
        assert "A accept 4 marked" in screen_text(app)
        await pilot.press("A")
        await done(pilot, screen)
        states = [state for state, _ in fates(project, wanted)]
        assert [at for at, state in enumerate(states) if state == "accepted"] == [0, 2, 3, 4]
        await pilot.press("g", "v", "j")
        await until(pilot, "● 2 marked")
        assert "R reject 2 marked" in screen_text(app)
        await pilot.press("R")
        await done(pilot, screen)
        assert [state for state, _ in fates(project, wanted)][:2] == ["rejected", "rejected"]
        assert screen.range_from is None
        await pilot.press("space", "escape")
        await pilot.pause()
        assert "marked" not in screen_text(app)
        assert app.screen is screen


async def test_search_filter_order_and_their_end(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 9)
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("slash", *"FACT 7", "enter")
        await until(pilot, "1 found")
        await until(pilot, "#1007")
        await pilot.press("g", "n")
        await until(pilot, "#1007")
        await pilot.press("escape", "o")
        await until(pilot, "Order: improved first")
        await until(pilot, "#1007")
        await pilot.press("g")
        await until(pilot, "#1000")
        await pilot.press("j")
        await until(pilot, "#1002")
        await pilot.press("f", *"nosuchword", "enter")
        await until(pilot, "No rewrite matches the filter")
        await pilot.press("escape")
        await until(pilot, "[-number-]")
        assert len(screen.queue.rows) == len(wanted)


async def test_a_place_can_be_jumped_to(tmp_path: Path) -> None:
    reviewing(tmp_path / "p", 9)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        for typed, place in (("5", 4), ("100%", 8), ("#1002", 2)):
            await pilot.press("colon", *typed, "enter")
            await pilot.pause()
            assert screen.cursor == place
        await pilot.press("colon", *"#77", "enter")
        await until(pilot, "No rewrite of #77 is listed.")
        assert screen.cursor == 2


async def test_what_is_undecided_is_counted_apart_from_what_the_checks_refused(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 6)
    db = connect.writer(project)
    with connect.transaction(db):
        db.execute("UPDATE rewrite SET state='rejected', reason='duplicate' WHERE sample_id=?", (wanted[5][0],))
    db.close()
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await until(pilot, "5 undecided · 3 improved · 2 not improved · 1 failed check")
        await pilot.press("r", "2")
        await done(pilot, screen)
        await until(pilot, "4 undecided")
        assert "1 failed check" in screen_text(app)


async def test_the_verdict_is_said_once_where_it_fits(tmp_path: Path) -> None:
    reviewing(tmp_path / "p", 3)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(140, 40)) as pilot:
        await opened(pilot)
        await until(pilot, "why it was selected")
        assert screen_text(app).count("improved: number 0") == 1


async def test_a_note_is_kept_and_shown(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 3)
    app = MiddoApp(project)
    async with app.run_test(size=(80, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("c", *"ask Jo [b]", "enter")
        await done(pilot, screen)
        await until(pilot, "ask Jo [b]")
    assert rewrite(project, wanted[0])["note"] == "ask Jo [b]"


async def test_what_is_sent_back_waits_for_the_teacher(tmp_path: Path, started: list[Path]) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 3)
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("X")
        await done(pilot, screen)
        await until(pilot, "1 ↻")
        assert fates(project, wanted)[0][0] == "owed"
        await until(pilot, "enter rewrite 1 again")
        await pilot.press("k")
        await until(pilot, "pending")
        await pilot.press("enter")
        await settle(pilot)
    assert started == [project]


async def test_another_app_s_decision_is_seen_and_not_written_over(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 3)
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        seen = screen.detail
        assert seen is not None
        text = dump_messages((Message("user", "theirs"), Message("assistant", "theirs")))
        commands.edit(project, 0, wanted[0], "theirs", "theirs", source="another app")
        screen._details[0, wanted[0]] = seen  # as if it had not been read again yet
        await pilot.press("a")
        await done(pilot, screen)
        await until(pilot, "changed in the meantime")
        assert rewrite(project, wanted[0])["messages"] == text
        assert fates(project, wanted)[0] == ("proposed", None)
        commands.decide(project, 0, wanted[1:2], "rejected", source="another app")
        await until(pilot, "1 ✘")


async def test_signs_for_better_and_worse_stand_only_where_the_axis_judges(tmp_path: Path) -> None:
    """A rewrite for diversity lies nearer to its neighbours as a rule: that is neither better nor worse."""
    reviewing(tmp_path / "p", 6)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(140, 40)) as pilot:
        await pilot.press("4")
        for axis, signed in (("complexity", "base loss"), ("diversity", ""), ("quality", "quality")):
            await until(pilot, f"{axis[0].upper()} {axis}")
            facts = next(row for row in screen_text(app).split("\n") if row.startswith(" ▸ #"))
            signals = [part.strip() for part in facts.split("   ") if "→" in part]
            assert len(signals) == 4
            assert all((part[-1] in "▲▼") == bool(signed and part.startswith(signed)) for part in signals), signals
            await pilot.press("j", "j")
