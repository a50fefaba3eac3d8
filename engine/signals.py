"""Selection as pure numpy: which samples lie beyond which cut. No model, no store, no config.

Every rule is relative to the dataset it is applied to: mean ± m·sigma, strict. Sigma is the population's for
losses and similarities and the sample's for ratings, as in the published method. NaN (or any non-finite
value) means the signal is missing: such a sample is never selected on that axis and does not enter mean or
sigma.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Side = Literal["above", "below"]

# Rows and columns of one block of similarities: 2048 x 8192 float32 are 64 MiB, whatever the dataset's size.
BLOCK_ROWS = 2048
BLOCK_COLUMNS = 8192


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
    return Cut(mean, sigma, m, mean + m * sigma if side == "above" else mean - m * sigma)


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


def held(relative: float, floor: float | None, side: Side) -> float:
    """The threshold that holds: the stricter of the relative cut and the floor (None: there is no floor)."""
    if floor is None:
        return relative
    return max(relative, floor) if side == "above" else min(relative, floor)


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


def neighbours(embeddings: Floats, k: int) -> tuple[Floats, Ints]:
    """The ``k`` nearest others of every row of ``embeddings`` ([N, D]) by exact cosine similarity.

    Returns similarity [N, k] and index [N, k], nearest first, the lower index first among equals, a row never
    its own neighbour. Where there are fewer than ``k`` others, and for a row that is not finite, similarity
    is NaN and index -1; such a row is nobody's neighbour. A zero row has similarity 0 to all. Memory is
    O(N·k) plus one block, so a memory-mapped array is read in pieces. float64 input is computed in float64,
    all else in float32.
    """
    return against(embeddings, embeddings, k, own=np.arange(len(embeddings)))


def against(queries: Floats, embeddings: Floats, k: int, own: Ints) -> tuple[Floats, Ints]:
    """The ``k`` rows of ``embeddings`` ([N, D]) nearest to each of ``queries`` ([Q, D]), as ``neighbours`` gives
    them.

    ``own`` ([Q]) is the row that does not count for a query (itself, or what it would replace); -1: all count.
    """
    kind = np.dtype(np.float64 if embeddings.dtype == np.float64 else np.float32)
    similarity = np.full((len(queries), k), np.nan, dtype=kind)
    index = np.full((len(queries), k), -1, dtype=np.int64)
    table = _Table(embeddings, *_norms(embeddings, kind))
    asked = table if queries is embeddings else _Table(queries, *_norms(queries, kind))
    for rows in _spans(len(queries), BLOCK_ROWS):
        best, where = _nearest(asked.unit(rows), table, own[rows], k)
        known = np.isfinite(best) & asked.usable[rows, None]
        similarity[rows] = np.where(known, np.clip(best, -1.0, 1.0), np.nan)
        index[rows] = np.where(known, where, -1)
    return similarity, index


def _spans(total: int, size: int) -> Iterator[slice]:
    """[0, total) in slices of at most ``size``."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def _norms(embeddings: Floats, kind: np.dtype[Any]) -> tuple[Floats, Bools]:
    """Length of every row (1 for a zero row, so that it can be divided by) and whether the row is finite."""
    norms = np.ones(len(embeddings), dtype=kind)
    usable = np.zeros(len(embeddings), dtype=np.bool_)
    for rows in _spans(len(embeddings), BLOCK_COLUMNS):
        lengths = np.linalg.norm(np.asarray(embeddings[rows], dtype=kind), axis=1)
        usable[rows] = np.isfinite(lengths)
        norms[rows] = np.where(usable[rows] & (lengths > 0), lengths, 1)
    return norms, usable


@dataclass(frozen=True, slots=True)
class _Table:
    """Embeddings that may lie on disk, with the length of every row and whether it is finite."""

    rows: Floats
    norms: Floats
    usable: Bools

    def unit(self, which: slice) -> Floats:
        """A block of rows scaled to length 1; unusable rows are zero."""
        block = np.asarray(self.rows[which], dtype=self.norms.dtype)
        return np.asarray(np.where(self.usable[which, None], block, 0) / self.norms[which, None])


def _nearest(query: Floats, table: _Table, own: Ints, k: int) -> tuple[Floats, Ints]:
    """Best ``k`` for a block of unit rows against all of ``table``, merged block by block; -inf where there is
    none.
    """
    best = np.full((len(query), k), -np.inf, dtype=table.norms.dtype)
    where = np.full((len(query), k), -1, dtype=np.int64)
    for columns in _spans(len(table.norms), BLOCK_COLUMNS):
        block = query @ table.unit(columns).T
        block[:, ~table.usable[columns]] = -np.inf
        here = np.flatnonzero((own >= columns.start) & (own < columns.stop))
        block[here, own[here] - columns.start] = -np.inf
        top, at = _top(block, k)
        best, where = _merge(best, where, top, at + columns.start)
    return best, where


def _top(block: Floats, k: int) -> tuple[Floats, Ints]:
    """The ``k`` largest of each row, largest first; ``argmax`` takes the lower index among equals. Spoils
    ``block``.
    """
    lines = np.arange(len(block))
    values = np.full((len(block), k), -np.inf, dtype=block.dtype)
    index = np.zeros((len(block), k), dtype=np.int64)
    for rank in range(min(k, block.shape[1])):
        index[:, rank] = block.argmax(axis=1)
        values[:, rank] = block[lines, index[:, rank]]
        block[lines, index[:, rank]] = -np.inf
    return values, index


def _merge(best: Floats, where: Ints, top: Floats, at: Ints) -> tuple[Floats, Ints]:
    """The best of two ranked lists. The first holds the lower indices, so a stable sort keeps them first."""
    k = best.shape[1]
    values, index = np.hstack([best, top]), np.hstack([where, at])
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(index, order, axis=1)
