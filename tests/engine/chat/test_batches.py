"""Batches hold every row once, stay within the budget, and waste little of it on padding."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.chat import batches


@given(lengths=st.lists(st.integers(0, 3000), max_size=200), budget=st.integers(1, 20_000))
def test_every_row_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    plan = batches.plan(lengths, budget)
    assert sorted(i for batch in plan for i in batch) == list(range(len(lengths)))
    assert all(batch for batch in plan)
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget for batch in plan)
    longest = [max(lengths[i] for i in batch) for batch in plan]
    assert longest == sorted(longest, reverse=True), "what may not fit comes first"


@pytest.mark.parametrize("count", [60, 200, 1000, 10_000])
def test_little_of_a_batch_is_padding(count: int) -> None:
    draw = random.Random(count)
    lengths = [min(2048, 1 + int(draw.lognormvariate(5.7, 0.7))) for _ in range(count)]
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches.plan(lengths, 16_384))
    assert 1 - sum(lengths) / padded <= 0.05


@given(lengths=st.lists(st.integers(0, 3000), max_size=200), budget=st.integers(1, 20_000))
def test_filled_batches_hold_every_row_once_and_no_more_than_fits(lengths: list[int], budget: int) -> None:
    filled = batches.fill(lengths, budget)
    assert sorted(i for batch in filled for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or sum(lengths[i] for i in batch) <= budget for batch in filled)
    for batch, after in pairwise(filled):
        assert sum(lengths[i] for i in batch) + lengths[after[0]] > budget, "none ends before it is full"
