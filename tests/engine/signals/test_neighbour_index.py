"""An index finds the neighbours that comparing all pairs finds, or is not used; the same seed finds the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.signals import nearest, neighbour_index
from engine.signals.neighbour_index import IndexFind

K = 5


def grouped(rows: int, width: int) -> NDArray[Any]:
    """Rows of few inner dimensions around some centres, with copies, a zero row and one that is not finite.

    All point much the same way, as a model's embeddings do.
    """
    rng = np.random.default_rng(0)
    inner = rng.normal(size=(40, 16))[rng.integers(0, 40, rows)] + 0.2 * rng.normal(size=(rows, 16))
    out = (inner @ rng.normal(size=(16, width)) + 3).astype(np.float16)
    out[100:110] = out[0]
    out[7] = 0
    out[8, 3] = np.nan
    return out


@pytest.mark.parametrize("width", [16, 160])
def test_an_index_finds_what_comparing_all_pairs_finds(width: int) -> None:
    rows = grouped(3_000, width)
    index = IndexFind(seed=1)
    similarity, found = nearest.neighbours(rows, K, find=index)
    exact, true = nearest.neighbours(rows, K)
    assert index.probes is not None
    assert index.recall is not None
    assert index.recall >= neighbour_index.RECALL
    same = np.array([np.isin(a, b).mean() for a, b in zip(true, found, strict=True)])
    assert same.mean() >= 0.99
    right = found == true
    np.testing.assert_array_equal(similarity[right], exact[right])  # ranked by the same arithmetic
    assert (found != np.arange(len(rows))[:, None]).all()
    assert (found[8] == -1).all()
    assert not np.isin(found, 8).any()
    assert found[100].tolist() == [0, 101, 102, 103, 104]
    assert f"{index.recall:.2%}" in index.describe(len(rows))


def test_the_same_seed_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbour_index, "RECALL", 0.5)  # so that it misses some
    monkeypatch.setattr(neighbour_index, "PROBES", (1,))
    rows = np.random.default_rng(0).normal(size=(2_000, 6)).astype(np.float16)
    finds = [IndexFind(seed) for seed in (3, 3, 4)]
    first, second, other = (nearest.neighbours(rows, K, find=find)[1] for find in finds)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert finds[0].recall == finds[1].recall


def test_where_the_index_finds_too_few_all_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbour_index, "PROBES", (1, 2))
    rows = np.random.default_rng(0).normal(size=(2_000, 48)).astype(np.float16)
    index = IndexFind(seed=0)
    found = nearest.neighbours(rows, K, find=index)
    for one, other in zip(found, nearest.neighbours(rows, K), strict=True):
        np.testing.assert_array_equal(one, other)
    assert index.probes is None
    assert index.recall is not None
    assert index.recall < neighbour_index.RECALL
    assert "all pairs were compared" in index.describe(len(rows))


def test_a_few_rows_need_no_index() -> None:
    index = IndexFind(seed=0)
    rows = grouped(120, 8)[:12]
    np.testing.assert_array_equal(nearest.neighbours(rows, K, find=index)[1], nearest.neighbours(rows, K)[1])
    assert index.recall is None
    assert index.describe(12) == ""
