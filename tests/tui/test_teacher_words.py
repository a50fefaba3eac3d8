"""What the teacher takes, said before it is asked, while it is asked, and at the cap."""

from __future__ import annotations

from pathlib import Path

import pytest
from tui.stores import Store

from engine.store import write
from engine.store.teacher import Projected
from middo_tui.feed.reader import Reader
from middo_tui.feed.view import LoopView
from middo_tui.notice import notice
from middo_tui.plain import describe
from middo_tui.screens.loop_keys import KEYS
from middo_tui.status import exit_code, gather
from middo_tui.widgets.score_facts import Scores


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
    assert "texts go to api." in said
    assert "\x1b" not in said
    lines = describe(gather(store.project))
    assert "teacher  0 of about 30 calls" in lines
    assert "\x1b" not in lines


def test_what_is_spent_is_shown_while_it_runs(store: Store) -> None:
    store.rewrites(0, "proposed").job(0, "rewrite", "running", 10, 30).worker()
    said = told(store)
    assert said.startswith("teacher: 15 of about 30 calls · 18.1k of about 29k tokens · $0.15 of about $0.40, cap")
    assert gather(store.project)["rounds"][0]["teacher"]["cost"] == pytest.approx(0.15)
    reader = Reader(store.project)
    view = reader.view()
    reader.close()
    assert Scores.of(view).tokens == 0, "it is said once on the screen"
    assert notice(view, keys=False).text == "", "and once in the plain lines"
    assert Scores.of(LoopView(table=view.table)).tokens > 0, "else it stands among the facts"


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
