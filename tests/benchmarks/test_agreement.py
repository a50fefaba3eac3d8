"""The benchmark of a teacher with words of its own, on a handful of pairs."""

from __future__ import annotations

import random

from benchmarks.engine import agreement
from benchmarks.world.planted_flaws import Row

RNG = random.Random(0)
TOPICS = [[f"t{topic}w{i}" for i in range(60)] for topic in range(48)]


def text(words: list[str]) -> str:
    """A text of 40 of the topic's words."""
    return f"The {' '.join(RNG.sample(words, 40))}."


ROWS = [Row(f"Tell all about topic {i}.", text(words)) for i, words in enumerate(TOPICS)]
ANSWERS = [text(words) for words in TOPICS]


def test_a_teacher_that_words_it_otherwise_disagrees_with_another_topic_alone() -> None:
    found = agreement.measured(ROWS, ANSWERS, draws=2)
    assert found[""]["today"] <= 0.1
    assert found["swapped"]["today"] >= 0.9
    assert found["refusal"]["today"] == 1.0
    page = agreement.page(found, len(ROWS), 2)
    assert "| **nothing** |" in page
    assert "| swapped | " in page
