"""The flaw score: a rank on the lens that looks worst."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.signals import flaw_score
from engine.store.rows import Lenses

NAN = float("nan")
columns = st.integers(1, 12).flatmap(
    lambda n: st.fixed_dictionaries(
        {name: st.lists(st.floats(-9, 9) | st.just(NAN), min_size=n, max_size=n) for name in flaw_score.SIGN}
    )
)


def test_ranks_are_shares_and_equal_values_keep_their_order() -> None:
    found = flaw_score.ranks(np.array([3.0, NAN, 1.0, 3.0, 2.0]))
    assert found == pytest.approx([0.625, NAN, 0.125, 0.875, 0.375], nan_ok=True)
    assert flaw_score.ranks(np.array([NAN])) == pytest.approx([NAN], nan_ok=True)


def test_a_sample_is_as_flawed_as_its_worst_lens_says() -> None:
    lenses = {
        "end_of_turn": np.array([9.0, 1.0, 2.0, NAN]),
        "ifd": np.array([0.1, 0.9, 0.2, NAN]),
        "worst_window": np.array([1.0, 2.0, 3.0, NAN]),
    }
    scores, worst = flaw_score.flaw_scores(lenses)
    assert scores == pytest.approx([5 / 6, 5 / 6, 5 / 6, NAN], nan_ok=True)
    assert worst[:3].tolist() == [0, 1, 2]
    rows = flaw_score.flaws(4, [7, 8, 9, 10], lenses)
    assert [(row.round, row.sample_id, row.flaw_lens) for row in rows] == [
        (4, 7, "end_of_turn"),
        (4, 8, "ifd"),
        (4, 9, "worst_window"),
    ]


def test_of_the_judge_low_ratings_look_flawed() -> None:
    scores, _ = flaw_score.flaw_scores({"quality": np.array([1.0, 9.0])})
    assert scores.tolist() == [0.75, 0.25]


def test_what_the_text_alone_shows_comes_before_all_ranks() -> None:
    lenses = {"ifd": np.array([0.1, 0.9, NAN, NAN]), "text": np.array([2.0, 0.0, 5.0, 0.0])}
    scores, worst = flaw_score.flaw_scores(lenses)
    assert scores == pytest.approx([1.0, 0.75, 1.0, NAN], nan_ok=True)
    assert worst[:3].tolist() == [1, 0, 1]
    assert [(row.sample_id, row.flaw_lens) for row in flaw_score.flaws(0, [7, 8, 9, 10], lenses)] == [
        (7, "loop"),
        (8, "ifd"),
        (9, "refusal"),
    ]
    assert flaw_score.text_value("Say hi.", "") == 1.0
    assert flaw_score.text_value("Say hi.", "Hi.") == 0.0
    assert flaw_score.place(lenses, {"ifd": 0.2, "text": 1.0}) == (1.0, "empty")
    assert flaw_score.place(lenses, {"ifd": 0.2, "text": 0.0}) == (0.5, "ifd")


@given(columns)
def test_scores_lie_between_0_and_1_and_are_missing_only_where_all_are(lenses: dict[str, list[float]]) -> None:
    arrays = {name: np.array(values) for name, values in lenses.items()}
    scores, worst = flaw_score.flaw_scores(arrays)
    missing = np.all([np.isnan(a) for a in arrays.values()], axis=0)
    assert (np.isnan(scores) == missing).all()
    assert ((scores[~missing] > 0) & (scores[~missing] < 1)).all()
    names = list(arrays)
    for i in np.flatnonzero(~missing):
        assert flaw_score.ranks(flaw_score.SIGN[names[worst[i]]] * arrays[names[worst[i]]])[i] == scores[i]


def test_a_rewrite_is_placed_among_the_samples() -> None:
    lenses = {"end_of_turn": np.array([1.0, 2.0, 3.0, NAN]), "quality": np.array([2.0, 4.0, 6.0, 8.0])}
    assert flaw_score.place(lenses, {"end_of_turn": 2.5, "quality": 9.0}) == (0.625, "end_of_turn")
    assert flaw_score.place(lenses, {"end_of_turn": None, "quality": 1.0}) == (0.9, "quality")
    assert flaw_score.place(lenses, {"end_of_turn": None, "ifd": 1.0}) is None
    assert flaw_score.place({"ifd": np.array([NAN])}, {"ifd": 1.0}) is None


def test_columns_are_in_the_datasets_order() -> None:
    rows = [Lenses(0, 5, 1.0, None, None, 3.0, None, None), Lenses(0, 6, None, 1.0, 0.5, 2.0, 0, 9)]
    found = flaw_score.columns([6, 4, 5], rows)
    assert found["end_of_turn"] == pytest.approx([NAN, NAN, 1.0], nan_ok=True)
    assert found["ifd"] == pytest.approx([0.5, NAN, NAN], nan_ok=True)
    assert found["worst_window"] == pytest.approx([2.0, NAN, 3.0], nan_ok=True)
