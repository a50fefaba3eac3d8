"""Two groups are found where there are two, none where there is one hump of whatever shape, and the cut parts them."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.selection import mixture
from engine.selection.thresholds import Side
from engine.signals.nearest import Bools, Floats

Draw = Callable[[np.random.Generator, int], Floats]
ONE: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: rng.lognormal(0, 0.8, n),
    "gamma": lambda rng, n: rng.gamma(2, 1, n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "t": lambda rng, n: rng.standard_t(2, n),
    "beta": lambda rng, n: rng.beta(20, 2, n),
    "uniform": lambda rng, n: rng.random(n),
    "laplace": lambda rng, n: rng.laplace(size=n),
    "steps": lambda rng, n: np.round(rng.normal(6, 1, n) * 6) / 6,
}


def two(seed: int, size: int, share: float, apart: float) -> tuple[Floats, Bools]:
    """Values around 0, a share of them around ``apart``; and which these are."""
    flawed = np.arange(size) < share * size
    return np.random.default_rng(seed).normal(size=size) + apart * flawed, flawed


@pytest.mark.parametrize("size", [300, 3_000, 30_000])
@pytest.mark.parametrize("name", ONE)
def test_one_hump_has_no_cut(name: str, size: int) -> None:
    for seed in range(3):
        values = ONE[name](np.random.default_rng(seed), size)
        for side in ("above", "below"):
            found = mixture.split(values, side)
            assert found.cut is None, (seed, side, found.verdict)
            assert found.verdict.startswith("one group: ")


@pytest.mark.parametrize("size", [600, 20_000])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_two_groups_are_found_and_parted(size: int, share: float) -> None:
    values, flawed = two(1, size, share, 4.5)
    found = mixture.split(values, "above")
    assert found.cut is not None
    assert found.groups is not None
    beyond = values > found.cut
    assert (beyond & flawed).sum() / flawed.sum() > 0.9
    assert (beyond & flawed).sum() / beyond.sum() > 0.9
    assert found.groups.weights[1] == pytest.approx(share, abs=0.05)
    assert found.groups.separation == pytest.approx(4.5, abs=0.8)
    assert found.verdict.startswith("two groups, ")


def test_the_cut_lies_where_both_groups_are_equally_likely() -> None:
    found = mixture.split(two(0, 20_000, 0.4, 5.0)[0], "above")
    assert found.groups is not None
    assert found.cut is not None
    w, m, s = found.groups.weights, found.groups.means, found.groups.sigmas
    low, high = (w[i] / s[i] * np.exp(-((found.cut - m[i]) ** 2) / (2 * s[i] ** 2)) for i in (0, 1))
    assert low == pytest.approx(high, rel=0.05)


def test_below_is_above_mirrored() -> None:
    values, _ = two(3, 5_000, 0.2, 4.5)
    up, down = mixture.split(values, "above"), mixture.split(-values, "below")
    assert up.cut is not None
    assert down.cut is not None
    assert down.cut == pytest.approx(-up.cut, abs=0.03)
    assert "the lower one with 20%" in down.verdict


def test_losses_are_looked_at_on_the_logarithm() -> None:
    values, flawed = two(4, 2_000, 0.3, 5.0)
    losses = np.exp(0.4 * values)
    found = mixture.split(losses, "above", log=True)
    assert found.cut is not None
    beyond = losses > found.cut
    assert (beyond == flawed).mean() > 0.97
    assert mixture.split(np.where(flawed, losses, 0.0), "above", log=True).groups is not None, "a loss of 0 is a number"


def test_a_large_flawed_group_and_a_handful_are_none() -> None:
    assert "needed" in mixture.split(two(5, 2_000, 0.7, 6.0)[0], "above").verdict
    assert mixture.split(two(5, 2_000, 0.7, 6.0)[0], "below").cut is not None
    assert mixture.split(two(5, 2_000, 0.005, 8.0)[0], "above").cut is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "only 0 values"),
        ([1.0] * 99, "only 99 values"),
        ([float("nan")] * 500 + [1.0] * 50, "only 50 values"),
        ([2.5] * 500, "all values are the same"),
        ([0.0] + [4.5e-187] * 499, "all values are the same"),
    ],
)
def test_too_little_to_tell(values: list[float], says: str) -> None:
    found = mixture.split(np.array(values), "above")
    assert found.cut is None
    assert says in found.verdict


def test_neither_order_nor_missing_values_matter() -> None:
    values, _ = two(6, 3_000, 0.2, 4.5)
    holed = np.concatenate([np.random.default_rng(0).permutation(values), [np.nan, np.inf]])
    assert mixture.split(values, "above") == mixture.split(holed, "above")


def test_unit_and_origin_do_not_matter() -> None:
    values, _ = two(7, 3_000, 0.2, 4.5)
    one, other = mixture.split(values, "above"), mixture.split(1000 * values - 7, "above")
    assert one.cut is not None
    assert other.cut == pytest.approx(1000 * one.cut - 7, abs=1.0)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.integers(0, 400),
        elements=st.one_of(st.sampled_from([0.0, 1.0, 5.0]), st.floats(-1e6, 1e6), st.just(float("nan"))),
    ),
    st.sampled_from(["above", "below"]),
    st.booleans(),
)
def test_whatever_the_values_there_is_an_answer(values: Floats, side: Side, log: bool) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = mixture.split(values, side, log)
    assert (found.cut is None) == (not found.verdict.startswith("two groups"))
    assert json.loads(json.dumps(found.detail(), allow_nan=False))["verdict"] == found.verdict
    if found.cut is not None:
        assert np.isfinite(found.cut)
        known = values[np.isfinite(values)]
        assert known.min() <= found.cut <= known.max()
