"""The key table: what the footer shows is what works, and the help page holds every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from middo_tui.app import MiddoApp
from middo_tui.feed.loop_notice import notice
from middo_tui.feed.view import DecisionCounts, LoopView, StageView
from middo_tui.keys import tables
from middo_tui.keys.tables import Key
from middo_tui.screens.help import help_lines
from middo_tui.screens.loop_keys import FINISH, KEYS
from middo_tui.widgets.lines import plain, width_of

RUN = StageView("judge", "running", 1, 2)
STATES = {
    "new": LoopView(next=(0, "train")),
    "running": LoopView(round=0, worker="running", stages=(RUN,), next=(0, "judge")),
    "pausing": LoopView(round=0, worker="running", want="pause", stages=(RUN,), next=(0, "judge")),
    "locked": LoopView(
        round=0, worker="running", trouble="locked", held="Waiting for it.", stages=(RUN,), next=(0, "judge")
    ),
    "full": LoopView(
        round=0, worker="running", want="pause", trouble="full", held="No room.", stages=(RUN,), next=(0, "judge")
    ),
    "cancelling": LoopView(round=0, worker="running", want="cancel", stages=(RUN,), next=(0, "judge")),
    "lost": LoopView(round=0, worker="lost", stages=(RUN,), next=(0, "judge")),
    "interrupted": LoopView(round=0, stages=(RUN,), next=(0, "judge")),
    "paused": LoopView(round=0, stages=(StageView("judge", "paused"),), next=(0, "judge")),
    "cancelled": LoopView(round=0, stages=(StageView("judge", "cancelled"),), next=(0, "judge")),
    "failed": LoopView(round=0, stages=(StageView("judge", "failed", error="no memory left"),), next=(0, "judge")),
    "waiting": LoopView(
        round=0, stages=(StageView("review", "waiting"),), next=(0, "review"), waiting=DecisionCounts(open=3)
    ),
    "idle": LoopView(round=0, stages=(StageView("train", "done"),), next=(0, "score")),
    "done": LoopView(round=2, closing=True, stages=(StageView("train", "done"),), reason="2 rounds are done"),
}
WORKS = {
    "new": "run step auto",
    "running": "pause cancel auto",
    "pausing": "cancel auto",
    "locked": "pause cancel auto",
    "full": "cancel auto",
    "cancelling": "auto",
    "lost": "cancel auto",
    "interrupted": "run step auto",
    "paused": "run pause step auto",
    "cancelled": "run step auto",
    "failed": "run step auto",
    "waiting": "accept_improved accept_all reject_all auto",
    "idle": "run step auto",
    "done": "more",
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_itself_and_offers_what_works_in_it(state: str) -> None:
    view = STATES[state]
    assert view.state == state
    works = {row.id for row in KEYS if row.works(view)} - {FINISH, "written", "log"}
    assert works == set(WORKS[state].split())


def test_the_teacher_can_be_watched_while_it_writes_and_read_afterwards() -> None:
    writing = LoopView(round=0, worker="running", stages=(StageView("rewrite", "running"),))
    offered = {name: {row.id for row in KEYS if "w" in row.keys and row.works(view)} for name, view in STATES.items()}
    assert {row.id for row in KEYS if "w" in row.keys and row.works(writing)} == {"writing"}
    assert {name for name, found in offered.items() if found == {"written"}} == STATES.keys() - {"new"}
    assert offered["new"] == set(), "no round, so nothing was written"


@pytest.mark.parametrize("state", STATES)
def test_every_state_but_a_quiet_run_says_something(state: str) -> None:
    assert notice(STATES[state]).text or state == "running"


@pytest.mark.parametrize("state", STATES)
def test_with_a_broken_store_no_key_of_the_loop_works(state: str) -> None:
    broken = replace(STATES[state], problem="the disk is full")
    assert [row.id for row in KEYS if row.works(broken)] == []
    assert notice(broken).text == "the disk is full"


def test_when_everything_is_decided_enter_merges() -> None:
    view = replace(STATES["waiting"], waiting=DecisionCounts(accepted=3))
    assert ("enter", "merge") in tables.footer(KEYS, view)
    assert "accept_all" not in {row.id for row in KEYS if row.works(view)}


def test_leaving_a_run_says_that_it_goes_on() -> None:
    assert tables.footer(tables.EVERYWHERE, STATES["running"])[-1] == ("q", "quit (run continues)")
    assert tables.footer(tables.EVERYWHERE, STATES["paused"])[-1] == ("q", "quit")


def test_a_failure_shows_its_error_and_the_way_out() -> None:
    assert "no memory left" in notice(STATES["failed"]).text
    assert "enter" in notice(STATES["failed"]).text
    assert "enter" not in notice(STATES["failed"], keys=False).text


def test_no_key_is_given_away_twice_in_one_state() -> None:
    for view in STATES.values():
        used = [key for row in KEYS if row.works(view) and row.id != FINISH for key in row.keys]
        assert len(used) == len(set(used))


def test_ids_are_unique_and_bound() -> None:
    table: tuple[Key[Any], ...] = (*KEYS, *tables.EVERYWHERE)
    assert len({row.id for row in table}) == len(table)
    assert len(tables.bindings(table, "loop")) == sum(len(row.keys) for row in table)


def test_the_help_page_holds_every_key_and_fits_eighty_columns() -> None:
    page = help_lines("loop", KEYS)
    table: tuple[Key[Any], ...] = (*KEYS, *tables.EVERYWHERE)
    assert all(row.help in plain(page) for row in table if not row.id.startswith("go"))
    assert all(f"{n} {screen}" in plain(page) for n, screen in enumerate(tables.SCREENS, start=1))
    assert all(width_of(line) <= 80 for line in page)


@pytest.mark.parametrize(("waiting", "said"), [
    (DecisionCounts(open=16, improved=16, by_axis=(0, 10, 6)), "16 undecided rewrites, all improved (D"),
    (DecisionCounts(open=5, improved=0), "5 undecided rewrites, 0 improved."),
    (DecisionCounts(open=1, improved=1, by_axis=(1, 0, 0)), "1 undecided rewrite, improved."),
    (DecisionCounts(open=1), "1 undecided rewrite, not improved."),
])  # fmt: skip
def test_what_waits_is_counted_in_words_that_fit_the_number(waiting: DecisionCounts, said: str) -> None:
    assert said in notice(replace(STATES["waiting"], waiting=waiting)).text


@pytest.mark.parametrize("screen", [*tables.SCREENS, *tables.UNNUMBERED])
def test_each_screen_is_found_by_its_name_with_the_table_that_it_binds(screen: str, tmp_path: Path) -> None:
    opened = MiddoApp(tmp_path)._open(screen)
    assert (screen, tables.of_screen(screen)) == (opened.NAME, opened.KEYS)
