"""What the teacher takes, said before it is asked, while it is asked, and at the cap."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engine.store import write
from engine.store.teacher import Projected, TeacherBatch
from middo_tui.app import MiddoApp
from middo_tui.cli.plain import Narrator, describe
from middo_tui.feed.loop_notice import notice
from middo_tui.feed.reader import Reader
from middo_tui.feed.view import LoopView
from middo_tui.screens.loop_keys import KEYS
from middo_tui.text.status import exit_code, gather
from middo_tui.text.teacher_wording import spending, writing
from middo_tui.widgets.paragraph import Paragraph, wrap
from middo_tui.widgets.score_facts import RoundScores
from tests.support.screens import screen_text
from tests.support.stores import NOON, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Round 0 up to select, with a projection."""
    made = Store(tmp_path / "P").plan().round(0, 5)
    write.save(made.db, 0, "select", [Projected(0, 15, 30, 20_000, 9_000, 0.4, 0, 0.5, "api.\x1b[31mexample")], None)
    return made


def told(store: Store) -> str:
    reader = Reader(store.project)
    try:
        return notice(reader.view()).text
    finally:
        reader.close()


def test_the_projection_is_shown_before_the_first_call(store: Store) -> None:
    said = told(store)
    assert "0 of about 30 calls · 0 of about 29k tokens · $0.00 of about $0.40, cap $0.50" in said
    assert "texts are sent to api." in said
    assert "\x1b" not in said
    lines = describe(gather(store.project))
    assert "teacher  0 of about 30 calls" in lines
    assert "\x1b" not in lines


def test_where_nothing_is_to_be_asked_nothing_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path / "P").plan().round(0, 5)
    write.save(store.db, 0, "select", [Projected(0, 0, 0, 0, 0, 0.0, 0, 0.0, "")], None)
    assert "teacher" not in describe(gather(store.project))
    assert "teacher" not in told(store).lower()


def test_what_is_spent_is_shown_while_it_runs(store: Store) -> None:
    store.rewrites(0, "proposed").job(0, "rewrite", "running", 10, 30).worker()
    said = told(store)
    assert said.startswith("Teacher: 15 of about 30 calls · 18.1k of about 29k tokens · $0.15 of about $0.40, cap")
    assert gather(store.project)["rounds"][0]["teacher"]["cost"] == pytest.approx(0.15)
    reader = Reader(store.project)
    view = reader.view()
    reader.close()
    assert RoundScores.of(view).tokens == 0, "it is said once on the screen"
    assert notice(view, keys=False).text == "", "and once in the plain lines"
    assert RoundScores.of(LoopView(table=view.table)).tokens > 0, "else it stands among the facts"


def test_at_the_cap_the_screen_says_how_to_go_on_and_enter_does(store: Store) -> None:
    error = "teacher budget exhausted: 0.50 of 0.50 used. Raise [teacher] budget_cost"
    store.rewrites(0, "proposed").job(0, "rewrite", "waiting", 10, 30, error)
    said = told(store)
    assert said.startswith(error)
    assert exit_code(gather(store.project)) == 4
    reader = Reader(store.project)
    view = reader.view()
    reader.close()
    run = next(key for key in KEYS if key.id == "run")
    assert run.works(view)
    assert not next(key for key in KEYS if key.id == "accept_improved").works(view), "it is not the review that waits"


OTHER = {"token": "u"}


def batch(**more: object) -> TeacherBatch:
    """A batch of 2,000 calls that the provider made at noon."""
    facts = {
        "state": "open",
        "status": "in_progress",
        "completed": 812,
        "created_at": NOON,
        "expires_at": NOON + 86_400,
    }
    told = {"token": "t", "round": 0, "url": "https://api.example/v1", "model": "m", "calls": 2_000, "id": "batch_1"}
    return TeacherBatch(planned_at=NOON, options="{}", **(told | facts | more))  # type: ignore[arg-type]


def seen(store: Store, after_s: float) -> LoopView:
    reader = Reader(store.project, clock=lambda: NOON + after_s)
    try:
        return reader.view()
    finally:
        reader.close()


def test_a_batch_says_how_far_it_is_and_that_nobody_need_wait(store: Store) -> None:
    store.job(0, "rewrite", "running", 812, 4_000).worker()
    write.save(store.db, 0, "rewrite", [batch()], None)
    view = seen(store, 4_320)
    until = time.strftime("%a %H:%M", time.localtime(NOON + 86_400))
    said = f"atch of 2,000 calls: 812 done · 72 min elapsed, due by {until}"
    assert notice(view).text.startswith(f"B{said}. This may take hours. You can quit (q); the run continues")
    shown = wrap(notice(view).text, 78, Paragraph.MOST)
    assert "…" not in "".join(shown), "all of it fits at 80 columns"
    assert "texts are sent to api." in " ".join(shown)
    lines: list[str] = []
    teller = Narrator(lines.append, clock=lambda: NOON)
    teller.tell(view)
    teller.tell(seen(store, 8_640))
    assert sum("batch of 2,000 calls" in line for line in lines) == 1, "once for each batch"
    assert f"b{said}" in next(line for line in lines if "batch of" in line)
    facts = gather(store.project)["rounds"][0]["teacher"]["batch"]
    assert (facts["calls"], facts["completed"], facts["failed"], facts["ids"]) == (2_000, 812, 0, ["batch_1"])
    assert (facts["since"], facts["until"], facts["cancelling"]) == (NOON, NOON + 86_400, False)
    assert "batch    batch of 2,000 calls: 812 done" in describe(gather(store.project))


async def test_a_cancel_says_first_that_it_ends_the_batch_too(store: Store) -> None:
    store.job(0, "rewrite", "running", 812, 4_000).worker()
    write.save(store.db, 0, "rewrite", [batch()], None)
    app = MiddoApp(store.project)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("c")
        await pilot.pause()
        assert "This also cancels the provider's batch; pausing (p) does not." in " ".join(screen_text(app).split())


def test_a_pause_says_that_the_batch_goes_on(store: Store) -> None:
    store.job(0, "rewrite", "paused", 812, 4_000)
    write.save(store.db, 0, "rewrite", [batch(failed=3), batch(**OTHER, id="batch_2", state="cancelling")], None)
    said = notice(seen(store, 60)).text
    assert "The provider keeps working on its 2 batches of 4,000 calls: 1,624 done, 3 failed, cancelling · 60 s" in said
    write.save(store.db, 0, "rewrite", [batch(state="done"), batch(**OTHER, state="dropped")], None)
    assert "provider" not in notice(seen(store, 60)).text


def test_what_a_teacher_here_writes_in_words() -> None:
    facts = {"step": "prompt", "attempt": 1, "done": 12, "total": 60, "tokens": 3412, "seconds": 130.0, "at": 0.0}
    facts |= {"per_s": 84.2, "left_s": 360.0, "text": "Name\n\x1b[31mthree"}
    assert writing(facts) == (
        "writing prompts: 12 of 60 done · 3.41k tokens, 84/s · 2 min elapsed, about 6 min left · “… Name⏎␛[31mthree”"
    )
    slow = facts | {"step": "answer", "attempt": 2, "per_s": 0.52, "left_s": None, "text": ""}
    assert writing(slow) == "writing answers, attempt 2: 12 of 60 done · 3.41k tokens, 0.5/s · 2 min elapsed"
    assert "done · 1 token · 2 min elapsed" in writing(slow | {"tokens": 1, "per_s": None})
    assert writing(facts | {"step": "load"}) == "loading the teacher model"
    assert writing(None) == ""


ASKED = {"calls": 390, "tokens_in": 8_000, "tokens_out": 2_500, "cost": 0.0, "failed": 0}
AHEAD = {"calls": 38, "tokens_in": 850, "tokens_out": 1_000, "cost": 0.0, "cap_tokens": 0, "cap_cost": 0, "sent_to": ""}
NONE_YET = {**ASKED, "calls": 0, "tokens_in": 0, "tokens_out": 0}


@pytest.mark.parametrize(
    ("asked", "evidence", "said"),
    [
        (ASKED, {}, "390 calls · 10.5k tokens · asks in batches until it no longer pays"),
        ({**ASKED, "calls": 12}, {}, "12 calls · 10.5k tokens · asks in batches until it no longer pays"),
        (
            NONE_YET,
            {},
            "first batch: 0 of about 38 calls · 0 of about 1.85k tokens · asks in batches until it no longer pays",
        ),
        (ASKED, {"stopped": "it no longer pays"}, "390 calls · 10.5k tokens"),
        (ASKED, None, "390 calls · 10.5k tokens"),
        ({**ASKED, "calls": 12}, None, "12 of about 38 calls · 10.5k of about 1.85k tokens"),
    ],
)
def test_a_forecast_is_not_shown_as_if_it_were_a_bound(
    asked: dict[str, object], evidence: dict[str, object] | None, said: str
) -> None:
    assert spending(asked, AHEAD, evidence) == said
