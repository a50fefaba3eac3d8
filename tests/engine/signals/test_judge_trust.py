"""Can the judge tell? By labels where there are some, else by pairs; and what that means for the quality axis."""

from __future__ import annotations

import pytest
from msgspec import structs

from engine.config.schema import Select
from engine.signals import judge_trust
from engine.signals.judge_trust import JudgeTrust
from engine.store.judging import JudgeCheck

RATINGS = {id: float(id) for id in range(20)}
"""By sample id; the higher, the better."""
WORST_ARE_FLAWED = {id: id < 10 for id in RATINGS}
EVERY_OTHER = {id: id % 2 == 0 for id in RATINGS}


def tried(auc: float | None, pairs: int = 32) -> JudgeCheck:
    return JudgeCheck(0, "tuned", "", done=True, pairs=pairs, auc=auc)


@pytest.mark.parametrize(
    ("auc", "pairs", "answer"),
    [
        (0.48, 24, "no"),
        (0.97, 32, "yes"),
        (0.65, 32, "no"),
        (0.71, 17, "no"),
        (1.0, 15, "unknown"),
        (None, 0, "unknown"),
    ],
)
def test_pairs_decide_where_there_are_enough(auc: float | None, pairs: int, answer: str) -> None:
    assert judge_trust.trusted(tried(auc, pairs)).answer == answer


def test_chance_is_a_coin() -> None:
    assert judge_trust.by_chance(0, 5) == 1
    assert judge_trust.by_chance(5, 5) == pytest.approx(1 / 32)
    assert judge_trust.by_chance(2.5, 3) == pytest.approx(4 / 8)  # a tie does not round up


@pytest.mark.parametrize(
    ("flawed", "answer"), [(WORST_ARE_FLAWED, "yes"), (EVERY_OTHER, "no"), ({id: id < 7 for id in RATINGS}, "unknown")]
)
def test_labels_are_by_rank(flawed: dict[int, bool], answer: str) -> None:
    assert judge_trust.of_labels(RATINGS, flawed).answer == answer


def test_labels_outweigh_pairs() -> None:
    good, bad = tried(0.97), tried(0.48)
    assert judge_trust.trusted(good, RATINGS, EVERY_OTHER).answer == "no"
    assert judge_trust.trusted(bad, RATINGS, WORST_ARE_FLAWED).answer == "yes"
    few = {0: True, 19: False}
    assert judge_trust.trusted(bad, RATINGS, few) == judge_trust.trusted(bad)


def test_ties_count_half() -> None:
    assert judge_trust.rank_auc([1.0, 2.0], [2.0, 3.0]) == 0.875


def test_a_judge_that_rates_too_little_is_not_believed() -> None:
    check = structs.replace(tried(0.97), rated=40, errors=60)
    assert judge_trust.trusted(check) == JudgeTrust("no", "the judge could rate only 40 of 100 samples")


def test_who_was_not_tried_is_unknown() -> None:
    assert judge_trust.trusted(None).answer == "unknown"
    assert judge_trust.trusted(JudgeCheck(0, "tuned", "Rating: ")).answer == "unknown"


NO, YES = judge_trust.of_pairs(0.48, 24), judge_trust.of_pairs(0.97, 32)


@pytest.mark.parametrize(
    ("settings", "trust", "used", "said"),
    [
        ({}, YES, True, "the judge tells good from bad on your data (AUC 0.97 of 32 pairs)"),
        (
            {},
            NO,
            False,
            "the judge cannot tell good from bad on your data (AUC 0.48 of 24 pairs): the quality axis is off",
        ),
        ({"quality": "on"}, NO, True, 'the quality axis is on anyway ([select] quality = "on")'),
        ({"quality": "off"}, YES, False, 'the quality axis is off ([select] quality = "off")'),
        ({"parity": "reference"}, NO, True, '([select] parity = "reference")'),
        ({"parity": "reference", "quality": "off"}, NO, True, '([select] parity = "reference")'),
    ],
)
def test_the_axis_follows_unless_a_setting_says_otherwise(
    settings: dict[str, str], trust: JudgeTrust, used: bool, said: str
) -> None:
    select = Select(**settings)  # type: ignore[arg-type]
    assert judge_trust.uses_quality(select, trust) is used
    assert said in judge_trust.verdict(select, trust)


@pytest.mark.parametrize(
    ("rated", "errors", "alarm"), [(100, 0, False), (10, 2, False), (97, 3, False), (90, 10, True), (0, 3, True)]
)
def test_more_than_a_few_errors_are_an_alarm(rated: int, errors: int, alarm: bool) -> None:
    check = structs.replace(tried(None), rated=rated, errors=errors)
    said = f"the judge could not rate {errors} of {rated + errors} samples"
    assert judge_trust.alarm(check) == (said if alarm else "")


@pytest.mark.parametrize(("won", "pairs"), [(15, 22), (13, 23), (15, 26)])
def test_no_win_is_lost_to_rounding(won: int, pairs: int) -> None:
    assert judge_trust.by_chance(won / pairs * pairs, pairs) == judge_trust.by_chance(won, pairs)
