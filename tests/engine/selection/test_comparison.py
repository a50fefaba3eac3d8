"""What an answer makes of a probe, and how its calls are counted."""

from __future__ import annotations

import json

from msgspec.structs import replace

from engine.config.schema import Teacher
from engine.selection.agreement import Bounds
from engine.selection.comparison import Comparison, asked_again, first_calls, with_more, without_prompt
from engine.store.rows import Rewrite, Sample
from engine.teacher.job import ANSWER
from engine.teacher.replies import most_tries
from tests.support import tiny

SAMPLE = Sample(7, tiny.chat("What is 1 + 1?", "3"), 0)
COMPARISON = Comparison(Bounds(), {7: SAMPLE}, {7: "ifd"})
HOW = Teacher(attempts=2, best_of=3)


def probe(tries: int, answer: str = "2") -> Rewrite:
    """Answered at the ``tries``th try."""
    row = Rewrite(0, 7, "quality", "proposed", prompt=SAMPLE.prompt, probe=True)
    return replace(row, response=answer, answer_attempts=tries)


def test_further_answers_have_seeds_that_no_try_had() -> None:
    more = with_more(COMPARISON.after_first(probe(2)))
    assert json.loads(str(more.draws)) == ["2"]
    assert ANSWER.tries(more) == 2, "the next one is the third"
    assert most_tries(HOW, ANSWER, more) - ANSWER.tries(more) >= 2


def test_after_two_answers_there_are_tries_for_all_others() -> None:
    again = asked_again(COMPARISON.after_first(probe(2)))
    assert (ANSWER.tries(again), most_tries(HOW, ANSWER, again)) == (0, 2)
    second = COMPARISON.after_second(replace(again, state="proposed", response="2", answer_attempts=2))
    assert (second.state, second.answer_attempts) == ("proposed", 4)
    more = with_more(second)
    assert ANSWER.tries(more) == 4
    assert most_tries(HOW, ANSWER, more) - ANSWER.tries(more) >= 2


def test_what_the_first_answer_took_is_known_whatever_follows() -> None:
    first = COMPARISON.after_first(probe(2))
    second = COMPARISON.after_second(replace(asked_again(first), state="failed", answer_attempts=2))
    later = [first, with_more(first), without_prompt(first), second, replace(first, answer_attempts=9, draws=None)]
    assert [first_calls(row) for row in later] == [2] * 5
    assert first_calls(replace(probe(2), state="failed")) == 2, "no answer came"
