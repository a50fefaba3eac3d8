"""Selection agrees sample for sample with a naive re-implementation."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.selection import thresholds
from engine.signals import axes

SEEDS = range(5)
NAN = float("nan")


def naive_complexity(before: list[float], after: list[float], m: float) -> list[bool]:
    high_before = np.mean(before) + m * np.std(before)
    high_after = np.mean(after) + m * np.std(after)
    return [bool(b > high_before and a > high_after) for b, a in zip(before, after, strict=True)]


def naive_quality(ratings: list[list[float]], m: float) -> list[bool]:
    means = [sum(row) / len(row) for row in ratings]
    low = statistics.mean(means) - m * statistics.stdev(means)
    return [q < low for q in means]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("m", [0.0, 0.5, 1.0, 2.0])
def test_every_axis_agrees_with_the_naive_rule(seed: int, m: float) -> None:
    rng = np.random.default_rng(seed)
    before, after = rng.gamma(2, 1, 400), rng.gamma(2, 0.7, 400)
    similarity = rng.beta(8, 2, 400)
    ratings = rng.integers(0, 10, (400, 6)).astype(float)
    expected = naive_complexity(before.tolist(), after.tolist(), m)
    assert thresholds.complexity(before, after, m).tolist() == expected
    low = np.mean(similarity) - m * np.std(similarity)
    assert thresholds.diversity(similarity, m).tolist() == [bool(s < low) for s in similarity]
    assert thresholds.quality(ratings, m).tolist() == naive_quality(ratings.tolist(), m)


def test_sigma_is_the_populations_for_losses_and_the_samples_for_ratings() -> None:
    values = np.array([1.0, 2.0, 3.0, 7.0])
    assert thresholds.cut(values, 1.0, "above").sigma == pytest.approx(np.std(values))
    assert thresholds.cut(values, 1.0, "below", ddof=1).sigma == statistics.stdev(values.tolist())


def test_the_cut_itself_is_not_beyond() -> None:
    values = np.array([1.0, 3.0])
    assert thresholds.cut(values, 1.0, "above").cut == 3.0
    assert not thresholds.beyond(values, 3.0, "above").any()
    assert not thresholds.beyond(values, 1.0, "below").any()


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, 1e-9, 0.0])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 49, 1000])
@pytest.mark.parametrize("m", [0.0, 0.5, 1.0])
def test_equal_values_select_nothing(value: float, count: int, m: float) -> None:
    same = np.full(count, value)
    assert not thresholds.complexity(same, same, m).any()
    assert not thresholds.diversity(same, m).any()
    assert not thresholds.quality(np.full((count, 6), value), m).any()


def test_missing_values_are_never_selected_and_do_not_shift_the_cut() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.gamma(2, 1, 60), rng.gamma(2, 1, 60)
    gaps = np.arange(0, 60, 7)
    holed_before, holed_after = before.copy(), after.copy()
    holed_before[gaps] = NAN
    holed_after[gaps] = NAN
    kept = np.setdiff1d(np.arange(60), gaps)
    got = thresholds.complexity(holed_before, holed_after, 0.5)
    assert not got[gaps].any()
    assert got[kept].tolist() == thresholds.complexity(before[kept], after[kept], 0.5).tolist()
    ratings = rng.uniform(0, 9, (60, 6))
    ratings[5, 2] = NAN
    assert not thresholds.quality(ratings, -5.0)[5]
    assert thresholds.quality(ratings, -5.0).sum() == 59


@pytest.mark.parametrize("values", [[], [NAN], [NAN, NAN]])
def test_nothing_known_selects_nothing(values: list[float]) -> None:
    array = np.array(values, dtype=float)
    assert thresholds.diversity(array, 1.0).tolist() == [False] * len(values)
    assert not thresholds.quality(np.full((len(values), 6), NAN), 1.0).any()


def test_one_sample_has_no_samples_sigma() -> None:
    assert np.isnan(thresholds.cut(np.array([4.0]), 1.0, "below", ddof=1).cut)


@pytest.mark.parametrize(
    ("side", "relative", "floor", "expected"),
    [("above", 2.0, 3.0, 3.0), ("above", 4.0, 3.0, 4.0), ("below", 2.0, 3.0, 2.0), ("below", 4.0, 3.0, 3.0)],
)
def test_the_stricter_of_cut_and_floor_holds(
    side: thresholds.Side, relative: float, floor: float, expected: float
) -> None:
    assert axes.effective_threshold(relative, floor, side) == expected
    assert axes.effective_threshold(relative, None, side) == relative


@given(st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 6)), min_size=1, max_size=40), st.floats(0, 3))
@example([0.0, 1e-6], 2.0)
def test_at_most_the_tail_is_selected(values: list[float], m: float) -> None:
    """Chebyshev's bound: at most 1 / m² of any numbers lie m sigma beyond their mean. (Of numbers near 1e-160 the
    variance is 0: squares so small do not exist.)
    """
    got = thresholds.diversity(np.array(values), m)
    assert got.sum() <= len(values) / max(m, 1e-9) ** 2
