"""The same held-out questions under two rounds' models."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.store import flips, paired_difference, write
from engine.store.connect import transaction
from engine.store.conversation import dump_messages
from engine.store.rows import EvalItem, EvalScore, Message
from tests.support.stores import Store

RIGHT = {0: (0, 0, 1, 1, 1, 0), 1: (1, 1, 0, 1, 1, 0)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Six questions under two rounds; the third held-out sample is a copy of the second, and is not asked."""
    made = Store(tmp_path / "P").round(0, 9).round(1, 9)
    with transaction(made.db):
        for item in range(7):
            place = item - (item > 1)
            text = dump_messages([Message("user", f"question {place}"), Message("assistant", f"answer {place}")])
            made.db.execute("INSERT INTO heldout (item, messages, source) VALUES (?, ?, '')", (item, text))
    for number, marks in RIGHT.items():
        items = [
            EvalItem(number, i, 1.0 - i * number / 10, 4, f"{number} says {i}", bool(r)) for i, r in enumerate(marks)
        ]
        score = EvalScore(number, "accuracy", sum(marks) / 6, 0.2, 6)
        write.save(made.db, number, "evaluate", [*items, score], None)
    return made


def test_flips_are_counted_both_ways(store: Store) -> None:
    whole = flips.compare(store.db, 0, 1)
    assert [one.item for one in whole.gained] == [0, 1]
    assert [one.item for one in whole.lost] == [2]
    assert (whole.asked, len(whole.questions)) == (6, 6)
    assert whole.change == pytest.approx(1 / 6)


def test_the_error_of_the_change_is_that_of_the_score(store: Store) -> None:
    error = flips.compare(store.db, 0, 1).stderr
    mean = 1 / 6
    by_hand = math.sqrt(2 * (1 - mean) ** 2 + (-1 - mean) ** 2 + 3 * mean**2) / 6
    assert error == pytest.approx(by_hand) == pytest.approx(paired_difference.errors(store.db, 1)["accuracy"])


def test_a_question_is_the_sample_that_was_asked(store: Store) -> None:
    samples = flips.evaluated(store.db)
    assert [one.prompt for one in samples] == [f"question {n}" for n in range(6)], "without the copy"
    said = flips.replies(store.db, samples, 0, 1, 2)
    assert said == flips.QuestionReplies(2, "question 2", "answer 2", "0 says 2", "1 says 2")


def test_an_item_without_a_sample_is_said_and_ends_nothing(store: Store) -> None:
    said = flips.replies(store.db, flips.evaluated(store.db)[:2], 0, 1, 2)
    assert (said.prompt, said.after) == (flips.GONE, "1 says 2")


def test_questions_that_were_not_marked_have_no_flips(store: Store) -> None:
    with transaction(store.db):
        store.db.execute("UPDATE eval_item SET correct=NULL, reply=NULL WHERE round=1")
    whole = flips.compare(store.db, 0, 1)
    assert (whole.asked, whole.gained, whole.lost, whole.change, whole.stderr) == (0, (), (), None, None)
    assert whole.questions[3].loss_change == pytest.approx(-0.3)


def test_only_rounds_whose_evaluation_ended_are_offered(store: Store) -> None:
    assert flips.evaluated_rounds(store.db) == [0, 1]
    store.job(1, "evaluate", "running", 3, 6)
    assert flips.evaluated_rounds(store.db) == [0]
    assert flips.compare(store.db, 0, 7).questions == ()
