"""The flaw score: a rank by the lenses together, for which one bad lens is enough."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.signals import flaw_score
from engine.store.rows import Lenses, Message, Sample

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


def test_one_bad_lens_is_enough_and_a_second_one_breaks_the_tie() -> None:
    n = 101
    good = np.arange(n) / n
    lenses = {name: good.copy() for name in flaw_score.LENSES}
    lenses["end_of_turn"][3] = 9.0  # the worst on one lens, among the best on the others
    lenses["ifd"][[4, 60]] = 9.0, 9.5
    lenses["worst_window"][60] = 0.995
    scores, worst = flaw_score.flaw_scores(lenses)
    order = np.argsort(-scores)
    assert order[0] == 60
    assert {3, 4} <= set(order[:12].tolist()), "of 99 samples only those that are high on all three come before"
    assert [flaw_score.LENSES[worst[i]] for i in (3, 4, 60)] == ["end_of_turn", "ifd", "ifd"]


def test_the_score_is_a_rank_and_the_worst_lens_is_named() -> None:
    lenses = {
        "end_of_turn": np.array([9.0, 1.0, 2.0, NAN]),
        "ifd": np.array([0.1, 0.9, 0.2, NAN]),
        "worst_window": np.array([2.0, 1.0, 3.0, NAN]),
    }
    scores, worst = flaw_score.flaw_scores(lenses)
    assert scores == pytest.approx([3 / 6, 1 / 6, 5 / 6, NAN], nan_ok=True)
    assert worst[:3].tolist() == [0, 1, 2]
    rows = flaw_score.flaws(4, [7, 8, 9, 10], lenses)
    assert [(row.round, row.sample_id, row.flaw_lens) for row in rows] == [
        (4, 7, "end_of_turn"),
        (4, 8, "ifd"),
        (4, 9, "worst_window"),
    ]


def test_a_lens_without_a_value_counts_as_middling() -> None:
    table = np.array([[0.9, 0.9, 0.9], [0.5, NAN, 0.1]])
    high, none, low = flaw_score.combined(table)
    assert high == none > low


def test_of_the_judge_low_ratings_look_flawed() -> None:
    scores, _ = flaw_score.flaw_scores({"quality": np.array([1.0, 9.0])})
    assert scores.tolist() == [0.75, 0.25]


def test_what_the_text_alone_shows_comes_before_all_ranks() -> None:
    lenses = {"ifd": np.array([0.1, 0.9, NAN, NAN]), "text": np.array([2.0, 0.0, 5.0, 0.0])}
    scores, worst = flaw_score.flaw_scores(lenses)
    assert scores == pytest.approx([1.0, 5 / 6, 1.0, NAN], nan_ok=True)
    assert worst[:3].tolist() == [1, 0, 1]
    assert [(row.sample_id, row.flaw_lens) for row in flaw_score.flaws(0, [7, 8, 9, 10], lenses)] == [
        (7, "loop"),
        (8, "ifd"),
        (9, "refusal"),
    ]
    assert flaw_score.text_value("Say hi.", "") == 1.0
    assert flaw_score.text_value("Say hi.", "Hi.") == 0.0
    standings = flaw_score.Standings(lenses)
    assert standings.place({"ifd": 0.2, "text": 1.0}) == (1.0, "empty")
    assert standings.place({"ifd": 0.2, "text": 0.0}) == (0.5, "ifd")


@given(columns)
def test_scores_lie_between_0_and_1_and_are_missing_only_where_all_are(lenses: dict[str, list[float]]) -> None:
    arrays = {name: np.array(values) for name, values in lenses.items()}
    scores, worst = flaw_score.flaw_scores(arrays)
    missing = np.all([np.isnan(a) for a in arrays.values()], axis=0)
    assert (np.isnan(scores) == missing).all()
    assert ((scores[~missing] > 0) & (scores[~missing] < 1)).all()
    names = list(arrays)
    badness = np.array([flaw_score.ranks(flaw_score.SIGN[name] * arrays[name]) for name in names])
    for i in np.flatnonzero(~missing):
        assert badness[worst[i], i] == np.nanmax(badness[:, i])


def test_a_rewrite_is_placed_among_the_samples() -> None:
    standings = flaw_score.Standings({"end_of_turn": np.array([1.0, 2.0, 3.0, NAN])})
    assert standings.place({"end_of_turn": 2.5}) == (0.625, "end_of_turn")
    assert standings.place({"end_of_turn": None, "ifd": 1.0}) is None
    assert flaw_score.Standings({"ifd": np.array([NAN])}).place({"ifd": 1.0}) is None
    assert flaw_score.Standings({}).place({"ifd": 1.0}) is None


def test_a_sample_is_placed_where_it_already_stands() -> None:
    rng = np.random.default_rng(0)
    lenses = {name: rng.normal(size=200) for name in flaw_score.LENSES}
    scores, worst = flaw_score.flaw_scores(lenses)
    standings = flaw_score.Standings(lenses)
    for i in range(0, 200, 20):
        placed = standings.place({name: float(values[i]) for name, values in lenses.items()})
        assert placed is not None
        assert placed[0] == pytest.approx(scores[i], abs=0.02)
        assert placed[1] == flaw_score.LENSES[worst[i]]


def test_columns_are_in_the_datasets_order() -> None:
    rows = [Lenses(0, 5, 1.0, None, None, 3.0, None, None), Lenses(0, 6, None, 1.0, 0.5, 2.0, 0, 9)]
    found = flaw_score.columns([6, 4, 5], rows)
    assert found["end_of_turn"] == pytest.approx([NAN, NAN, 1.0], nan_ok=True)
    assert found["ifd"] == pytest.approx([0.5, NAN, NAN], nan_ok=True)
    assert found["worst_window"] == pytest.approx([2.0, NAN, 3.0], nan_ok=True)


def answered(place: int, answer: str) -> Sample:
    return Sample(place, (Message("user", f"question {place}"), Message("assistant", answer)), place)


def test_a_form_that_many_answers_have_is_no_odd_one() -> None:
    plain = [answered(i, "just words") for i in range(18)]
    one = flaw_score.text_column([*plain, answered(18, '{"a": 1}')])
    assert (one > 0).sum() == 1
    many = flaw_score.text_column([*plain, *(answered(18 + i, '{"a": 1}') for i in range(6)), answered(99, "")])
    assert np.flatnonzero(many).tolist() == [24]  # an empty answer is one whatever the others are


def test_it_is_no_odd_one_in_a_rewrite_either() -> None:
    odd = flaw_score.text_of(answered(1, '{"a": 1}'))
    usual = [answered(i, '{"a": 1}' if i < 6 else "just words") for i in range(18)]
    assert flaw_score.OwnForm(usual).forgiven(odd) == 0.0
    assert flaw_score.OwnForm(usual[5:]).forgiven(odd) == odd
    empty = flaw_score.text_of(answered(1, ""))
    assert flaw_score.OwnForm(usual).forgiven(empty) == empty


@pytest.mark.parametrize(
    "messages",
    [
        (Message("system", "Reply in JSON."), Message("user", "The next one?"), Message("assistant", '{"a": 1}')),
        (
            Message("user", "Write a function."),
            Message("assistant", "```f```"),
            Message("user", "Now the other way round, please."),
            Message("assistant", "```g```"),
        ),
        (Message("user", "用Python写一个排序"), Message("assistant", "```python\nsorted(x)\n```")),
        (Message("user", "写一个函数"), Message("assistant", "```python\nf()\n```")),
        (Message("user", "Schreibe eine Funktion."), Message("assistant", "```python\nf()\n```")),
    ],
)
def test_a_form_may_be_asked_for_earlier_or_in_another_language(messages: tuple[Message, ...]) -> None:
    assert flaw_score.text_column([Sample(1, messages, 0)]).tolist() == [0.0]


def test_a_form_that_the_system_asks_for_is_no_sign_in_a_rewrite_either() -> None:
    """Verify measures a rewrite by the same function as score a sample."""
    asked, answered = Message("user", "Name a planet."), Message("assistant", '{"answer": "Mercury is a planet."}')
    told = Sample(1, (Message("system", "Reply in JSON only."), asked, answered), 0)
    assert flaw_score.text_of(told) == 0.0
    assert flaw_score.text_of(Sample(2, (asked, answered), 1)) > 0.0
    assert flaw_score.text_column([told]).tolist() == [flaw_score.text_of(told)]
