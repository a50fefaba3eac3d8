"""``middo-tui flips``, its wording and the Flips screen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.store import write
from engine.store.connect import transaction
from engine.store.conversation import dump_messages
from engine.store.flips import HeldOutQuestion, QuestionComparison
from engine.store.rows import EvalItem, Message
from middo_tui.app import MiddoApp
from middo_tui.cli.commands import main
from middo_tui.feed.flips import listed, load
from middo_tui.text import flip_wording
from tests.support.screens import screen_text, until
from tests.support.stores import Store

ESCAPE = "\x1b]0;owned\x07"
MARKS = {0: (False, True, False), 1: (True, False, False), 2: (True, True, False)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    store = Store(tmp_path / "P").plan().round(0, 9).round(1, 9).round(2, 2, closing=True)
    with transaction(store.db):
        for item in range(3):
            text = dump_messages([Message("user", f"question {item} {ESCAPE}"), Message("assistant", f"answer {item}")])
            store.db.execute("INSERT INTO heldout (item, messages, source) VALUES (?, ?, '')", (item, text))
    for number, marks in MARKS.items():
        items = [EvalItem(number, at, 1.0, 4, f"reply {number} {ESCAPE}", mark) for at, mark in enumerate(marks)]
        write.save(store.db, number, "evaluate", items, None)
    store.db.close()
    return store.project


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["flips", *map(str, args)], catch_exceptions=False)


def test_the_newest_rounds_are_compared_question_by_question(project: Path) -> None:
    said = run(project).output
    assert said.startswith(
        "From round 1 to round 2, 1 of 3 questions went from wrong to right and 0 from right to wrong"
    )
    assert "+33.3 ±27.2 points, within chance." in said
    assert "✔ 1     question 1" in said
    assert "round 1       reply 1" in said
    assert "question 0" not in said
    assert "\x1b" not in said


def test_others_can_be_asked_for(project: Path) -> None:
    assert "✘ 1     question 1" in run(project, "--round", "1", "--show", "lost").output
    whole = run(project, "--since", "0", "--show", "all").output
    assert "From round 0 to round 2" in whole
    assert "right answer  answer 2" in whole, "both were wrong"
    assert "1 of 3 questions shown" in run(project, "--show", "all", "--limit", "1").output
    assert "No such question." in run(project, "--show", "lost").output


def test_json_has_the_texts_as_they_are(project: Path) -> None:
    head, row = map(json.loads, run(project, "--json").output.splitlines())
    assert (head["before"], head["after"], head["questions"]) == (1, 2, 1)
    assert (row["item"], row["flip"], row["after"]) == (1, 1, f"reply 2 {ESCAPE}")


@pytest.mark.parametrize(("args", "says"), [
    (("--round", "7"), "Round 7 was not evaluated. Evaluated: 0, 1, 2."),
    (("--round", "1", "--since", "2"), "Round 2 does not come before round 1."),
])  # fmt: skip
def test_a_round_that_was_not_evaluated_is_refused(project: Path, args: tuple[str, ...], says: str) -> None:
    done = run(project, *args)
    assert (done.exit_code, done.output) == (2, f"middo-tui: {says}\n")


def test_without_two_evaluated_rounds_there_is_nothing_to_compare(tmp_path: Path) -> None:
    store = Store(tmp_path / "P").round(0, 1)
    store.db.close()
    assert "Fewer than two rounds" in run(store.project).output


def comparison(gained: int, lost: int, same: int, marked: bool = True) -> QuestionComparison:
    pairs = [(False, True)] * gained + [(True, False)] * lost + [(True, True)] * same
    rows = enumerate(pairs if marked else [(None, None)] * len(pairs))
    return QuestionComparison(0, 1, tuple(HeldOutQuestion(at, right, (1.0, 1.0 + at % 3 - 1)) for at, right in rows))


@pytest.mark.parametrize(("gained", "lost", "same", "mark", "words"), [
    (79, 21, 380, "▲", "beyond chance"), (30, 21, 429, "≈", "within chance"), (2, 20, 100, "▼", "beyond chance"),
    (1, 0, 0, "", "too few questions to tell"), (0, 0, 50, "≈", "within chance"),
])  # fmt: skip
def test_beyond_chance_is_more_than_two_standard_errors(
    gained: int, lost: int, same: int, mark: str, words: str
) -> None:
    whole = comparison(gained, lost, same)
    assert flip_wording.mark(whole) == mark
    assert flip_wording.verdict(whole).endswith(f"points, {words}.")


def test_without_replies_the_largest_changes_of_loss_come_first() -> None:
    whole = comparison(3, 3, 0, marked=False)
    assert [one.loss_change for one in listed(whole, "changed")] == [-1, 1, -1, 1, 0, 0]
    assert [one.item for one in listed(whole, "gained")] == [0, 3]
    assert [one.item for one in listed(whole, "lost")] == [2, 5]
    assert "set [evaluate] exact_match = true" in flip_wording.verdict(whole)


async def test_the_screen_opens_from_rounds_and_shows_both_replies(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        await until(pilot, "f flips")
        await pilot.press("f")
        await until(pilot, "From round 1 to round 2")
        await until(pilot, "reply: round 1 wrong → round 2 right")
        assert "{+2+}" in screen_text(app)
        await pilot.press("b")
        await until(pilot, "From round 0 to round 2")
        await pilot.press("b", "left_square_bracket", "tab", "tab")
        await until(pilot, "Shown: right → wrong, 1 question.")
        assert "From round 0 to round 1" in screen_text(app)
        assert "\x1b]" not in screen_text(app)
        await pilot.press("escape")
        await until(pilot, "next tab")


def test_rows_are_limited_and_all_are_counted(project: Path) -> None:
    view = load(project, 2, 0, "all", 2)
    assert (view.total, len(view.rows), view.rounds) == (3, 2, (0, 1, 2))
