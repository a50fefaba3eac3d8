"""Comparing answers: each text is taken apart as often as its words are counted, not once for every other."""

from __future__ import annotations

import pytest

from engine.selection import agreement
from engine.selection.agreement import Bounds, Rarity, similarity

PAIRS = [(f"the {i} red fish swim in pond {i}", f"in pond {i} there swim {i} fish") for i in range(12)]


def test_a_text_is_taken_apart_a_few_times_however_many_it_is_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    tokens = agreement.tokens

    def noted(text: str) -> list[str]:
        read.append(text)
        return tokens(text)

    monkeypatch.setattr(agreement, "tokens", noted)
    Bounds.of(PAIRS[:6], PAIRS)
    assert max(read.count(text) for pair in PAIRS for text in pair) <= 5


@pytest.mark.parametrize("rarity", [Rarity(), Rarity.of([text for pair in PAIRS for text in pair])])
def test_the_words_that_both_have_count_as_often_as_both_have_them(rarity: Rarity) -> None:
    one, other = rarity.of_word("one"), rarity.of_word("other")
    first, second = rarity.of_pair(("one", "one")), rarity.of_pair(("one", "other"))
    words = 2 * (2 * one) / ((3 * one) + (2 * one + other))
    pairs = 2 * first / ((2 * first) + (first + second))
    assert similarity("One, one one", "one one other", rarity) == pytest.approx((words + pairs) / 2)
