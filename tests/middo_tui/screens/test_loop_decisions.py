"""What the Loop screen asks before it does it: decisions, auto-review, cancelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store.connect import reader
from middo_tui.app import MiddoApp
from middo_tui.feed.view import LoopView, StageView
from middo_tui.screens.confirm import Confirm
from middo_tui.screens.loop import cancel_question
from tests.middo_tui.screens.test_loop import dump, plan
from tests.support import stores
from tests.support.screens import on_top, screen_text, settle, until


@pytest.mark.parametrize(("answer", "want"), [("y", "cancel"), ("enter", "run"), ("n", "run"), ("escape", "run")])
async def test_cancel_asks_first(tmp_path: Path, answer: str, want: str) -> None:
    stores.running(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("c")
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        assert "Cancel the running stage (train of round 1)?" in screen_text(app)
        await pilot.press(answer)
        await pilot.pause()
        await settle(pilot)
        assert not isinstance(on_top(app), Confirm)
    assert plan(tmp_path / "p").want == want


@pytest.mark.parametrize(
    ("view", "asks"),
    [
        (LoopView(round=1, worker="running", stages=(StageView("train", "running"),)), "stage (train of round 1)?"),
        (LoopView(round=1, worker="running", stages=(StageView("train", "pending"),)), "No stage is running"),
        (LoopView(round=1, worker="lost", stages=(StageView("train", "running"),)), "worker is not responding?"),
    ],
)
def test_a_cancel_asks_about_what_there_is(view: LoopView, asks: str) -> None:
    assert asks in cancel_question(view)


async def test_no_improved_rewrite_is_no_question_about_improved_ones(tmp_path: Path) -> None:
    store = stores.waiting(tmp_path / "p")
    with store.db:
        store.db.execute("UPDATE rewrite SET improved=0")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("e")
        await until(pilot, "None is improved. Reject all 15 rewrites?")


@pytest.mark.parametrize(("key", "accepted", "rejected"), [("e", 9, 6), ("A", 15, 0), ("R", 0, 15)])
async def test_the_three_decisions_wait_for_enter_and_can_be_undone(
    tmp_path: Path, started: list[Path], key: str, accepted: int, rejected: int
) -> None:
    stores.waiting(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        for decision in (key, "u", key):
            await pilot.press(decision)
            await pilot.pause()
            if decision == "u":
                await until(pilot, "Undone: 15 rewrites restored.")
                await until(pilot, "A accept all")
                assert counts(tmp_path / "p") == {"proposed": 15}
                continue
            await pilot.press("y")
            await until(pilot, f"Accepted {accepted}, rejected {rejected}. Press enter to merge, u to undo.")
            await until(pilot, "u undo")
        assert started == []
        assert {"accepted": 0, "rejected": 0, **counts(tmp_path / "p")} == {"accepted": accepted, "rejected": rejected}
        await until(pilot, "enter merge")
        await pilot.press("enter")
        await until(pilot, f"{accepted} rewrites accepted.")
        assert started == [], "the card asks once more"
        await pilot.press("enter")
        await settle(pilot)
        assert started == [tmp_path / "p"]
    assert plan(tmp_path / "p").hold_s > 0


def counts(project: Path) -> dict[str, int]:
    """Rewrites of round 0 by state."""
    db = reader(project)
    try:
        return dict(db.execute("SELECT state, count(*) FROM rewrite WHERE round=0 GROUP BY state").fetchall())
    finally:
        db.close()


async def test_a_decision_can_be_thought_over(tmp_path: Path, started: list[Path]) -> None:
    stores.waiting(tmp_path / "p")
    before = dump(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("A")
        await pilot.pause()
        await pilot.press("n")
        await pilot.pause()
    assert dump(tmp_path / "p") == before
    assert started == []


async def test_auto_review_is_toggled(tmp_path: Path) -> None:
    stores.waiting(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a")
        await settle(pilot)
        assert "Auto-review is on" in screen_text(app)
    assert plan(tmp_path / "p").auto
