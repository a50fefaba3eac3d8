"""A person's labels decide whether the judge is believed, where there are enough of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from engine.config.schema import Select
from engine.signals import judge_trust
from engine.store.judging import JudgeCheck
from engine.store.rows import Ratings
from tests.support import rounds, tiny


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """24 samples, rated 1 to 24 in their order by a judge that spoilt copies say cannot tell."""
    out = rounds.project(tmp_path, 24)
    ids = [s.id for s in rounds.dataset(out)]
    ratings = [Ratings(0, id, *(i + 1.0,) * 6, i + 1.0, 0.9) for i, id in enumerate(ids)]
    check = JudgeCheck(0, "tuned", "", done=True, pairs=32, auc=0.5, rated=24)
    out.ctx("judge").save([*ratings, check])
    return out


def label(made: tiny.Project, flawed: range, good: range) -> None:
    data = rounds.dataset(made)
    given = [(i, "flawed") for i in flawed] + [(i, "good") for i in good]
    made.db.executemany(
        "INSERT INTO label (sample_id, round, place, stratum, share, label) VALUES (?,0,?,0,1,?)",
        [(data[i].id, i, said) for i, said in given],
    )


@pytest.mark.parametrize(
    ("flawed", "good", "answer", "reason"),
    [
        (range(8), range(8, 16), "yes", "AUC 1.00 of 16 labelled samples"),
        (range(8, 16), range(8), "no", "AUC 0.00 of 16 labelled samples"),
        (range(7), range(8, 16), "no", "AUC 0.50 of 32 pairs"),
    ],
)
def test_enough_labels_decide(made: tiny.Project, flawed: range, good: range, answer: str, reason: str) -> None:
    label(made, flawed, good)
    for trust in (judge_trust.of_stage(made.ctx("select")), judge_trust.of_round(made.db, 0)):
        assert (trust.answer, reason in trust.reason) == (answer, True)
    facts = judge_trust.facts(made.db, 0, Select())
    assert facts is not None
    assert facts["quality_axis"] is (answer == "yes")
    assert bool(judge_trust.warning(made.db, 0, Select())) is (answer == "no")


def test_labels_outlive_their_round_and_ratings_do_not(made: tiny.Project) -> None:
    label(made, range(8), range(8, 16))
    assert judge_trust.of_round(made.db, 1).answer == "unknown"
    assert judge_trust.of_stage(made.ctx("select", 1)).answer == "unknown"


@pytest.mark.parametrize(("counted", "counts"), [(False, False), (True, True), (None, True)])
def test_labels_given_after_its_stage_change_nothing_of_the_flaw_scores(
    made: tiny.Project, counted: bool | None, counts: bool
) -> None:
    ctx = made.ctx("verify")
    ctx.save([structs.replace(check, counted=counted) for check in ctx.rows(JudgeCheck)])
    label(made, range(8), range(8, 16))
    assert judge_trust.of_stage(ctx).answer == "yes"
    assert judge_trust.counts(ctx) is counts
