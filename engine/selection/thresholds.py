"""Selection as pure numpy: which samples lie beyond which cut. No model, no store, no config.

Every rule is relative to the dataset it is applied to: mean ± m·sigma, strict. Sigma is the population's for
losses and similarities and the sample's for ratings, as in the published method. NaN (or any non-finite
value) means the signal is missing: such a sample is never selected on that axis and does not enter mean or
sigma.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from engine.signals.axes import Side as Side
from engine.signals.axes import relative_threshold
from engine.signals.nearest import Bools as Bools
from engine.signals.nearest import Floats as Floats
from engine.signals.nearest import against as against
from engine.signals.nearest import neighbours as neighbours


@dataclass(frozen=True, slots=True)
class Cut:
    """A relative threshold: ``cut = mean ± m * sigma``. All NaN when there were too few values to have a
    sigma.
    """

    mean: float
    sigma: float
    m: float
    cut: float


def cut(values: Floats, m: float, side: Side, ddof: int = 0) -> Cut:
    """The cut of ``values`` (shape [N]) at ``m`` sigma ``above`` or ``below`` their mean; missing values are
    left out.

    ``ddof`` 0 is the population's sigma, 1 the sample's.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if len(known) <= ddof:
        return Cut(float("nan"), float("nan"), m, float("nan"))
    mean, sigma = _moments(known, ddof)
    return Cut(mean, sigma, m, relative_threshold(mean, sigma, m, side))


def _moments(known: Floats, ddof: int) -> tuple[float, float]:
    """Mean and sigma. Equal values have sigma 0 exactly: rounding of their mean must not select all of them.

    The sample's sigma is computed exactly (``statistics.stdev``), the population's by numpy: that is what the
    published numbers were made with, and a rating on the cut must fall on the same side.
    """
    if known.min() == known.max():
        return float(known[0]), 0.0
    if ddof:
        values = known.tolist()
        return statistics.mean(values), statistics.stdev(values)
    return float(np.mean(known)), float(np.std(known))


def beyond(values: Floats, threshold: float, side: Side) -> Bools:
    """Which ``values`` lie strictly beyond ``threshold``; a missing value or a NaN threshold is never
    beyond.
    """
    numbers = np.asarray(values, dtype=np.float64)
    hit = numbers > threshold if side == "above" else numbers < threshold
    return np.asarray(hit & np.isfinite(numbers), dtype=np.bool_)


def complexity(before: Floats, after: Floats, m: float) -> Bools:
    """Hard before training and still hard after: both losses ([N], nats per response token) above mean +
    m·sigma.
    """
    hard = beyond(before, cut(before, m, "above").cut, "above")
    return hard & beyond(after, cut(after, m, "above").cut, "above")


def diversity(similarity: Floats, m: float) -> Bools:
    """In a sparse region: mean similarity ([N]) to the nearest neighbours below mean - m·sigma."""
    return beyond(similarity, cut(similarity, m, "below").cut, "below")


def quality(ratings: Floats, m: float) -> Bools:
    """Rated low by the model itself: the mean of six ratings ([N, 6]) below mean - m·sigma (the sample's
    sigma).
    """
    means = mean_rating(ratings)
    return beyond(means, cut(means, m, "below", ddof=1).cut, "below")


def mean_rating(ratings: Floats) -> Floats:
    """The mean of each row of [N, 6] ratings; missing when any of the six is."""
    numbers = np.asarray(ratings, dtype=np.float64)
    return np.asarray(numbers.sum(axis=1) / numbers.shape[1], dtype=np.float64)
