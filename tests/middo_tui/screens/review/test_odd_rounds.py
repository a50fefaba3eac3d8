"""The Review screen where there is little, nothing, or something odd to review; its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store import connect
from middo_tui.app import MiddoApp
from middo_tui.feed.review import pace
from middo_tui.feed.review_order import where
from middo_tui.keys import tables
from middo_tui.screens.review.keys import KEYS, ReviewState
from tests.middo_tui.screens.review.test_screen import done, fates, opened
from tests.support import stores
from tests.support.hostile import CORPUS
from tests.support.reviews import reviewing
from tests.support.screens import screen_text, settle, until


async def test_a_failed_rewrite_shows_its_reply_and_reason(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 3)
    db = connect.writer(project)
    raw = "no tags \x1b]0;owned\x07 here"
    sql = "UPDATE rewrite SET state='failed', raw=?, reason='no <prompt> tags', messages=NULL WHERE sample_id=?"
    db.execute(sql, (raw, wanted[0][0]))
    db.close()
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, "#1001")
        await pilot.press("g")
        await until(pilot, "unusable teacher reply")
        text = screen_text(app)
        assert "no tags ␛]0;owned␇ here" in text
        assert "failed: no <prompt> tags" in text
        assert "a accept" not in text
        await pilot.press("a", "e")
        await done(pilot, screen)
    assert fates(project, wanted)[0][0] == "failed"


async def test_before_there_are_rewrites(tmp_path: Path) -> None:
    stores.running(tmp_path / "p")
    db = connect.writer(tmp_path / "p")
    db.execute("DELETE FROM rewrite")
    db.close()
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await until(pilot, "No rewrites yet")
        await pilot.press("a", "r", "A", "e", "u", "X", "j", "tab", "escape")
        await pilot.pause()
        assert app.screen is app.loop


async def test_a_merged_round_can_only_be_read(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 3)
    db = connect.writer(project)
    db.execute("UPDATE rewrite SET state='accepted'")
    db.execute("UPDATE job SET state='done' WHERE stage IN ('review', 'merge')")
    db.close()
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await until(pilot, "Round 0 is merged; this is its history")
        await pilot.press("a", "r", "A", "e", "X")
        await settle(pilot)
        await pilot.press("f", "q", "enter")
        await until(pilot, "filter “q”: 1 listed, esc to clear. Round 0 is merged")
        await pilot.press("escape")
        await until(pilot, " Round 0 is merged; this is its history")
    assert fates(project, wanted) == [("accepted", None)] * 3


async def test_a_merge_is_undone_by_the_key_that_undoes(tmp_path: Path) -> None:
    project = tmp_path / "p"
    wanted = reviewing(project, 3)
    db = connect.writer(project)
    db.execute("UPDATE rewrite SET state='accepted'")
    db.execute("UPDATE job SET state='done' WHERE stage IN ('review', 'merge')")
    db.close()
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await until(pilot, "u undo merge")
        await pilot.press("u")
        await until(pilot, "Undid the merge of round 0")
        await until(pilot, "enter merge")
        assert fates(project, wanted) == [("accepted", None)] * 3
        await pilot.press("r", "r")
        await settle(pilot)
    assert fates(project, wanted)[0][0] == "rejected"


async def test_it_can_be_aimed_at_a_rewrite(tmp_path: Path) -> None:
    wanted = reviewing(tmp_path / "p", 9)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        app.loop.go("review", (0, *wanted[7]))
        await until(pilot, "#1007")


async def test_hostile_texts_are_shown_and_counted(tmp_path: Path) -> None:
    corpus = [text.encode("utf-8", "replace").decode() for text in CORPUS.values()]
    reviewing(
        tmp_path / "p", len(corpus), old=lambda i: (f"{i} {corpus[i]}", "x"), new=lambda i: ("y", f"{corpus[i]} z")
    )
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await opened(pilot)
        for at in range(len(corpus)):
            await until(pilot, f"#{1000 + at} ")
            assert all(row.isprintable() for row in screen_text(app).split("\n"))
            await pilot.press("j")
        assert screen.cursor == len(corpus) - 1


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (140, 40)])
async def test_it_fits_and_columns_follow_the_width(tmp_path: Path, size: tuple[int, int]) -> None:
    reviewing(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot)
        await pilot.press("t", "w", "ctrl+d", "right_square_bracket", "w", "t", "tab")
        await pilot.pause()
        text = screen_text(app)
        assert max(len(row) for row in text.split("\n")) <= size[0]
        assert "▸" in text
        assert screen.is_split == (size[0] >= 120)


# ------------------------------------------------------------------------------------------------- parts


def test_the_pace_is_that_of_this_sitting() -> None:
    assert pace([], 0.0) is None
    assert pace([100.0, 97.0], 101.0) is None
    assert pace([112.0, 109.0, 106.0, 103.0, 100.0], 113.0) == pytest.approx(20.0)
    assert pace([112.0, 109.0, 106.0, -5000.0], 113.0) == pytest.approx(20.0)
    assert pace([112.0, 109.0, 106.0], 9000.0) is None
    assert pace([312.0, 309.0, 306.0, 106.0, 103.0], 313.0) == pytest.approx(20.0)  # a break of 200 s
    assert pace([400.0, 300.0, 200.0], 401.0) == pytest.approx(0.6)  # slow, but no break


def test_a_filter_never_becomes_sql() -> None:
    condition, values = where("d open '); DROP TABLE rewrite; --")
    assert "DROP" not in condition
    assert values["word3"] == "drop"


def test_key_ids_are_unique_and_every_key_has_one_meaning_in_a_state() -> None:
    assert len({row.id for row in KEYS}) == len(KEYS)
    from middo_tui.feed.review import Queue, QueueEntry, ReviewCounts
    from middo_tui.feed.view import LoopView

    rows = (QueueEntry((1, "quality"), 1, "proposed", True, False, False, "x"),)
    queue = Queue(round=0, rounds=(0,), rows=rows, counts=ReviewCounts(open=1), hits=(0,))
    view = LoopView(round=0, next=(0, "review"))
    for state in (
        ReviewState(view, queue, "proposed", accepts=1, rejects=1),
        ReviewState(view, queue, "proposed", rejecting=True),
        ReviewState(view, queue, "failed", marked=2),
        ReviewState(view, Queue(), ""),
    ):
        used = [key for row in KEYS if row.works(state) for key in row.keys]
        assert len(used) == len(set(used)), sorted(key for key in used if used.count(key) > 1)
    assert tables.footer(KEYS, ReviewState(view, queue, "proposed", rejecting=True))[0][1] == "no reason"
