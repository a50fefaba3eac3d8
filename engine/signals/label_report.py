"""What a person's labels say of the signals on this dataset: how well each ranks, and how much is flawed.

Labels come from a stratified draw (``engine.store.labels``), so every figure weights a sample by its stratum's part of
the dataset: the figures are those of the whole dataset, not of the drawn rows. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from engine.store.labels import SIGNALS, Labelled

LOW_IS_FLAWED = ("similarity", "quality")
LEAST = 3
"""Labels of each kind that a ranking is worth talking about."""
Z95 = 1.959964
WIDEST = 0.6
"""An interval that is wider says too little for an estimate in its middle."""


class SignalRanking(Struct, frozen=True):
    """How well a signal ranks flawed samples before good ones. ``auc``: .5 is chance, 1 perfect."""

    signal: str
    auc: float
    low: float
    high: float


class LabelReport(Struct, frozen=True):
    """``share``: the estimated share of flawed samples in the dataset, with its 95 % interval. ``even``: the flaw score
    at which a sample is as likely flawed as good; None where the labels never say so. ``kappa``: agreement of the
    round's selection with the labels, by axis and for all of them (``all``). ``stale``: why the flaw scores are not as
    the labels would have them; empty: they are.
    """

    labelled: int
    flawed: int
    pending: int
    share: float | None
    low: float | None
    high: float | None
    even: float | None
    rankings: tuple[SignalRanking, ...]
    kappa: Mapping[str, float]
    kinds: Mapping[str, int]
    stale: str = ""


def too_wide(low: float, high: float) -> bool:
    """Whether an interval of a share, or of an area under a curve, says so little that no estimate is given."""
    return high - low > WIDEST


def report(
    rows: Sequence[Labelled], signals: Mapping[int, Mapping[str, float]], selected: Mapping[str, set[int]]
) -> LabelReport:
    """All figures of the labels given so far.

    Args:
        rows: the drawn samples.
        signals: their signals by sample id.
        selected: the samples that the round selected, by axis; empty before the select stage.
    """
    given = [row for row in rows if row.label is not None]
    weights = _weights(given)
    flawed = [row.label == "flawed" for row in given]
    share, low, high = _share(given) if given else (None, None, None)
    rankings = [_ranking(name, given, weights, signals) for name in SIGNALS]
    kinds: dict[str, int] = {}
    for row in given:
        if row.kind:
            kinds[row.kind] = kinds.get(row.kind, 0) + 1
    every = set().union(*selected.values()) if selected else set()
    picks = {**selected, "all": every} if selected else {}
    return LabelReport(
        len(given),
        sum(flawed),
        len(rows) - len(given),
        share,
        low,
        high,
        _even(given, weights, signals),
        tuple(found for found in rankings if found is not None),
        {axis: kappa([row.sample_id in ids for row in given], flawed, weights) for axis, ids in picks.items()},
        kinds,
    )


def _weights(given: Sequence[Labelled]) -> list[float]:
    """What part of the dataset each label stands for; they sum to 1."""
    count: dict[int, int] = {}
    for row in given:
        count[row.stratum] = count.get(row.stratum, 0) + 1
    raw = [row.share / count[row.stratum] for row in given]
    return [weight / sum(raw) for weight in raw]


def _share(given: Sequence[Labelled]) -> tuple[float, float, float]:
    """The stratified estimate of the flawed share with its 95 % interval.

    A stratum without variation still gets some (one pseudo-label of each kind), so that a few equal labels are not
    taken for certainty.
    """
    strata: dict[int, list[Labelled]] = {}
    for row in given:
        strata.setdefault(row.stratum, []).append(row)
    total = sum(rows[0].share for rows in strata.values())
    mean = variance = 0.0
    for rows in strata.values():
        n, hits, weight = len(rows), sum(row.label == "flawed" for row in rows), rows[0].share / total
        smooth = (hits + 1) / (n + 2)
        mean += weight * hits / n
        variance += weight**2 * smooth * (1 - smooth) / n
    half = Z95 * math.sqrt(variance)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _ranking(
    name: str, given: Sequence[Labelled], weights: Sequence[float], signals: Mapping[int, Mapping[str, float]]
) -> SignalRanking | None:
    """The weighted area under the ROC curve of one signal; None with fewer than ``LEAST`` labels of either kind."""
    sign = -1.0 if name in LOW_IS_FLAWED else 1.0
    bad: list[tuple[float, float]] = []
    good: list[tuple[float, float]] = []
    for row, weight in zip(given, weights, strict=True):
        if (value := signals.get(row.sample_id, {}).get(name)) is not None:
            (bad if row.label == "flawed" else good).append((sign * value, weight))
    if min(len(bad), len(good)) < LEAST:
        return None
    won = sum(w * v * ((a > b) + 0.5 * (a == b)) for a, w in bad for b, v in good)
    auc = won / (sum(w for _, w in bad) * sum(v for _, v in good))
    half = Z95 * _auc_error(auc, _effective(bad), _effective(good))
    return SignalRanking(name, auc, max(0.0, auc - half), min(1.0, auc + half))


def _effective(values: Sequence[tuple[float, float]]) -> float:
    """How many equally weighted values tell as much (Kish)."""
    return sum(weight for _, weight in values) ** 2 / sum(weight**2 for _, weight in values)


def _auc_error(auc: float, bad: float, good: float) -> float:
    """The standard error of an area under the ROC curve (Hanley and McNeil 1982)."""
    both, twice = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (bad - 1) * (both - auc**2) + (good - 1) * (twice - auc**2)
    return math.sqrt(max(spread, 0.25 / max(bad, good)) / (bad * good))


def kappa(picked: Sequence[bool], flawed: Sequence[bool], weights: Sequence[float]) -> float:
    """Cohen's κ of two yes/no judgements: 1 is full agreement, 0 what chance gives."""
    agreed = sum(w for a, b, w in zip(picked, flawed, weights, strict=True) if a == b)
    a = sum(w for yes, w in zip(picked, weights, strict=True) if yes)
    b = sum(w for yes, w in zip(flawed, weights, strict=True) if yes)
    chance = a * b + (1 - a) * (1 - b)
    return 0.0 if chance >= 1 else (agreed - chance) / (1 - chance)


def _even(
    given: Sequence[Labelled], weights: Sequence[float], signals: Mapping[int, Mapping[str, float]]
) -> float | None:
    """The flaw score where P(flawed) reaches one half, by isotonic regression (pool adjacent violators)."""
    points: dict[float, list[float]] = {}  # weight and weighted sum of flawed by score: equal scores are one point
    for row, weight in zip(given, weights, strict=True):
        if (score := signals.get(row.sample_id, {}).get("flaw")) is not None:
            point = points.setdefault(score, [0.0, 0.0])
            point[0] += weight
            point[1] += weight * (row.label == "flawed")
    blocks: list[list[float]] = []  # first score, weight, weighted sum of flawed
    for score, (weight, bad) in sorted(points.items()):
        blocks.append([score, weight, bad])
        while len(blocks) > 1 and blocks[-2][2] * blocks[-1][1] >= blocks[-1][2] * blocks[-2][1]:
            _, more, sum_ = blocks.pop()
            blocks[-1][1] += more
            blocks[-1][2] += sum_
    return next((score for score, weight, sum_ in blocks if sum_ >= weight / 2), None)
