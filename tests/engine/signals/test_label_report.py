"""The figures of a person's labels: equal to scikit-learn's where it has them, unbiased, and honest with few labels."""

from __future__ import annotations

import random

import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from engine.signals import label_report
from engine.store.labels import Labelled


def rows(labels: list[str | None], strata: list[int], shares: list[float]) -> list[Labelled]:
    return [Labelled(i, i, i, strata[i], shares[strata[i]], labels[i], "") for i in range(len(labels))]


@pytest.fixture
def invented() -> tuple[list[Labelled], dict[int, dict[str, float]], list[float]]:
    """90 labels in three strata of unequal parts of the dataset, signals with ties, and the weights by hand."""
    chance = random.Random(1)
    strata = [i % 3 for i in range(90)]
    shares = [0.7, 0.2, 0.1]
    labels: list[str | None] = ["flawed" if chance.random() < 0.1 + 0.3 * s else "good" for s in strata]
    signals = {
        i: {"flaw": round(chance.gauss(s + (labels[i] == "flawed"), 1), 1), "quality": chance.gauss(5 - s, 1)}
        for i, s in enumerate(strata)
    }
    return rows(labels, strata, shares), signals, [shares[s] / 30 for s in strata]


def test_rankings_and_agreement_are_scikit_learns(
    invented: tuple[list[Labelled], dict[int, dict[str, float]], list[float]],
) -> None:
    given, signals, weights = invented
    flawed = [row.label == "flawed" for row in given]
    picked = {row.sample_id for row in given if signals[row.sample_id]["flaw"] > 1.5}
    found = label_report.report(given, signals, {"quality": picked})
    by_name = {one.signal: one for one in found.rankings}
    assert set(by_name) == {"flaw", "quality"}
    scores = [signals[row.sample_id]["flaw"] for row in given]
    assert by_name["flaw"].auc == pytest.approx(roc_auc_score(flawed, scores, sample_weight=weights))
    worse = [-signals[row.sample_id]["quality"] for row in given]
    assert by_name["quality"].auc == pytest.approx(roc_auc_score(flawed, worse, sample_weight=weights))
    chosen = [row.sample_id in picked for row in given]
    expected = cohen_kappa_score(flawed, chosen, sample_weight=weights)
    assert found.kappa == pytest.approx({"quality": expected, "all": expected})
    fitted = IsotonicRegression().fit(scores, flawed, sample_weight=weights).predict(scores)
    assert found.even == min(score for score, p in zip(scores, fitted, strict=True) if p >= 0.5)


def test_the_share_is_that_of_the_dataset_not_of_the_drawn_rows() -> None:
    labels: list[str | None] = [*["good"] * 10, *["flawed"] * 10]
    found = label_report.report(rows(labels, [0] * 10 + [1] * 10, [0.9, 0.1]), {}, {})
    assert found.share == pytest.approx(0.1)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < 0.1 < found.high < 0.4
    assert found.kappa == {}


def test_the_interval_holds_the_true_share_as_often_as_it_says() -> None:
    chance, hits = random.Random(2), 0
    true, shares = [0.02, 0.1, 0.3, 0.9], [0.25] * 4
    for _ in range(400):
        strata = [i % 4 for i in range(80)]
        labels: list[str | None] = ["flawed" if chance.random() < true[s] else "good" for s in strata]
        found = label_report.report(rows(labels, strata, shares), {}, {})
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= sum(true) / 4 <= found.high
    assert 0.93 <= hits / 400 <= 1.0


def test_few_labels_rank_nothing_and_pending_ones_count_for_nothing() -> None:
    labels: list[str | None] = ["flawed", "flawed", "good", "good", "good", None]
    signals = {i: {"flaw": i / 10} for i in range(6)}
    found = label_report.report(rows(labels, [0] * 6, [1.0]), signals, {})
    assert (found.labelled, found.flawed, found.pending, found.rankings) == (5, 2, 1, ())
    empty = label_report.report(rows([None], [0], [1.0]), {}, {})
    assert (empty.labelled, empty.share, empty.even) == (0, None, None)
