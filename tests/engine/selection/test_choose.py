"""The rules of selection agree sample for sample with straightforward implementations of what docs/METHOD.md says."""

from __future__ import annotations

import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import schema as configs
from engine.errors import ConfigError
from engine.selection import choose
from engine.selection.choose import Earlier, Picks
from engine.signals.nearest import Bools, Floats
from engine.store.rows import AXES, Axis, Threshold

NAN = float("nan")
FEW = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 5.0, NAN])  # ties, values on the cut, constants, gaps
ANY = st.one_of(FEW, st.floats(-1e6, 1e6))
NAMES = ("loss_before", "loss_after", "similarity", "quality")
M = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0])


def high(values: list[float], m: float) -> float:
    """The reference's bound for losses: mean + m times the population's sigma, over the samples that have one."""
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known) + m * np.std(known)) if known else NAN


def low(values: list[float], m: float) -> float:
    """For similarities: mean - m times the population's sigma."""
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known) - m * np.std(known)) if known else NAN


def low_rating(values: list[float], m: float) -> float:
    """For ratings: mean - m times the sample's sigma."""
    known = [v for v in values if not math.isnan(v)]
    return statistics.mean(known) - m * statistics.stdev(known) if len(known) > 1 else NAN


def reference(columns: dict[str, list[float]], c: float, d: float, q: float) -> dict[Axis, list[int]]:
    """The three filters of the published method, one sample after the other."""
    before, after = columns["loss_before"], columns["loss_after"]
    one, two = high(before, c), high(after, c)
    sparse, poor = low(columns["similarity"], d), low_rating(columns["quality"], q)
    size = range(len(before))
    return {
        "complexity": [i for i in size if before[i] > one and after[i] > two],
        "diversity": [i for i in size if columns["similarity"][i] < sparse],
        "quality": [i for i in size if columns["quality"][i] < poor],
    }


def arrays(columns: dict[str, list[float]]) -> dict[str, Floats]:
    return {name: np.array(columns[name], dtype=np.float64) for name in NAMES}


def lists(values: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, list[float]]]:
    return st.integers(0, 40).flatmap(
        lambda size: st.fixed_dictionaries({name: st.lists(values, min_size=size, max_size=size) for name in NAMES})
    )


def settled(columns: dict[str, list[float]]) -> bool:
    """No signal is constant at a value whose mean is rounded: there the reference selects by the rounding."""
    known = [{v for v in columns[name] if not math.isnan(v)} for name in NAMES]
    return all(len(values) != 1 or (next(iter(values)) * 4).is_integer() for values in known)


@settings(max_examples=300, deadline=None)
@given(st.one_of(lists(FEW), lists(ANY)).filter(settled), M, M, M)
def test_parity_selects_what_the_reference_selects(
    columns: dict[str, list[float]], c: float, d: float, q: float
) -> None:
    text = f'[select]\nparity = "reference"\nm_complexity = {c}\nm_diversity = {d}\nm_quality = {q}\nmax_share = 0.0'
    config = configs.parse(text, "x")
    later = Earlier.of([[Threshold(0, name, "complexity", 0, 1, 1, 1e9, None) for name in NAMES]], config)
    thresholds = choose.cuts(arrays(columns), config.select, later, round=1)
    picks = choose.beyond_all(arrays(columns), thresholds)
    size = len(columns["quality"])
    chosen = choose.choose(picks, lambda: pytest.fail("there is no cap"), (), choose.rewrite_cap(config.select, size))
    assert {a: np.flatnonzero(chosen.selected[a]).tolist() for a in AXES} == reference(columns, c, d, q)


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, 6.3])
@pytest.mark.parametrize("m", [0.0, 1.0])
def test_a_constant_signal_selects_nobody(value: float, m: float) -> None:
    text = f'[select]\nparity = "reference"\nm_complexity = {m}\nm_diversity = {m}\nm_quality = {m}'
    settings = configs.parse(text, "x").select
    columns = arrays({name: [value] * 49 for name in NAMES})
    picks = choose.beyond_all(columns, choose.cuts(columns, settings, Earlier({}), 0))
    assert not any(mask.any() for mask in picks.values())


def plain_choice(
    picks: Picks, bad: dict[Axis, Floats], order: list[str], most: int
) -> tuple[set[tuple[Axis, int]], dict[Axis, list[int]]]:
    """One rewrite per replaced sample, the worst first, one after the other."""
    pending: list[tuple[Axis, int]] = []
    replacing: list[Axis] = ["quality", "complexity"] if order[0] == "quality" else ["complexity", "quality"]
    for i in range(len(picks["quality"])):
        pending += [(a, i) for a in replacing if picks[a][i]][:1]
        pending += [("diversity", i)] if picks["diversity"][i] else []
    pending.sort(key=lambda pair: (-bad[pair[0]][pair[1]], pair[1], AXES.index(pair[0])))
    kept = set(pending[:most])
    replaced = {i for a, i in kept if a != "diversity"}
    selected: dict[Axis, list[int]] = {
        a: [int(i) for i in np.flatnonzero(picks[a]) if ((a, i) in kept if a == "diversity" else i in replaced)]
        for a in AXES
    }
    return kept, selected


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(0, 12), st.integers(0, 30), st.permutations(["quality", "complexity"]))
def test_the_worst_are_kept_and_nobody_is_rewritten_twice(
    data: st.DataObject, size: int, most: int, order: list[str]
) -> None:
    def mask() -> Bools:
        return np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=np.bool_)

    picks: Picks = {axis: mask() for axis in AXES}
    far = st.lists(st.sampled_from([0.0, 1.0, 1.0, 2.5, -1.0]), min_size=size, max_size=size)
    bad: dict[Axis, Floats] = {axis: np.array(data.draw(far), dtype=np.float64) for axis in AXES}
    chosen = choose.choose(picks, lambda: choose.ranked(bad), order, most)
    kept, selected = plain_choice(picks, bad, order, most)
    assert set(chosen.rewrites()) == kept
    assert {a: np.flatnonzero(chosen.selected[a]).tolist() for a in AXES} == selected
    assert len(kept) + chosen.capped == len(plain_choice(picks, bad, order, 99)[0])


MIXTURE = configs.parse('[select]\nthreshold = "mixture"', "x")


def two_groups(size: int = 1_000) -> dict[str, Floats]:
    """A fifth of the samples has high losses; ratings and similarities are one hump."""
    rng = np.random.default_rng(0)
    flawed = np.arange(size) < size // 5
    return {
        "loss_before": np.exp(0.3 * rng.normal(size=size) + 1.6 * flawed),
        "loss_after": rng.gamma(3, 1, size),
        "similarity": rng.beta(9, 2, size),
        "quality": rng.normal(7, 1, size),
    }


def test_under_the_mixture_rule_a_signal_without_two_groups_selects_nobody() -> None:
    values = two_groups()
    marks = choose.cuts(values, MIXTURE.select, Earlier({}), 0)
    picks = choose.beyond_all(values, marks)
    assert picks["complexity"][:200].mean() > 0.97
    assert picks["complexity"][200:].mean() < 0.03
    assert not picks["diversity"].any()
    assert not picks["quality"].any()
    assert (marks["similarity"].cut, marks["quality"].cut) == (-np.inf, -np.inf)
    assert {t.rule for t in marks.values()} == {"mixture"}
    assert choose.verdict(marks["loss_before"]).startswith("two groups")
    assert choose.verdict(marks["quality"]).startswith("one group")
    found = json.loads(marks["loss_before"].detail or "")
    assert found["weights"][1] == pytest.approx(0.2, abs=0.02)
    assert found["separation"] > 4
    before = marks["loss_before"]
    assert before.mean + before.m * before.sigma == pytest.approx(before.cut)


def test_a_sample_without_a_loss_after_is_not_selected_by_its_loss_before() -> None:
    values = two_groups()
    values["loss_after"][0] = NAN
    assert not choose.beyond_all(values, choose.cuts(values, MIXTURE.select, Earlier({}), 0))["complexity"][0]


def test_the_first_mixture_cut_on_the_loss_before_is_frozen_while_the_base_is_the_model_before() -> None:
    marks = list(choose.cuts(two_groups(), MIXTURE.select, Earlier({}), 0).values())
    cut = next(t.cut for t in marks if t.signal == "loss_before")
    other = two_groups()
    other["loss_before"] = other["loss_before"] * 3
    later = choose.cuts(other, MIXTURE.select, Earlier.of([marks, []], MIXTURE), 2)["loss_before"]
    assert later.cut == cut
    assert json.loads(later.detail or "")["frozen"] == 0
    previous = configs.parse('[select]\nthreshold = "mixture"\n[train]\ninit = "previous"', "x")
    moved = choose.cuts(other, MIXTURE.select, Earlier.of([marks, []], previous), 2)["loss_before"]
    assert moved.cut == pytest.approx(3 * cut, rel=0.05)


def test_a_cut_that_selected_nobody_is_no_floor() -> None:
    marks = list(choose.cuts(two_groups(), MIXTURE.select, Earlier({}), 0).values())
    floors = Earlier.of([marks], configs.Config()).floors
    assert set(floors) == {"loss_before"}


def test_reference_and_mixture_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"\[select\]|select.*parity = .reference. needs"):
        configs.parse('[select]\nthreshold = "mixture"\nparity = "reference"', "x")
