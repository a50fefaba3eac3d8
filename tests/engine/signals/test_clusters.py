"""Clusters find planted groups, agree with hdbscan on raw vectors, and never raise on degenerate input."""

from __future__ import annotations

import tracemalloc

import hdbscan
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from engine.selection.thresholds import neighbours
from engine.signals import clusters
from engine.signals.clusters import Clustering, Floats, Ints, cluster

NAN = float("nan")


def planted(count: int, groups: int, noise: float = 0.2, seed: int = 0) -> tuple[Floats, Ints]:
    """Blobs of 16 dimensions and noise around them, shuffled; and which row is of which blob."""
    rng = np.random.default_rng(seed)
    strays = int(count * noise)
    centres = rng.normal(size=(groups, 16))
    truth = np.concatenate([np.arange(count - strays) % groups, np.full(strays, -1)])
    near = centres[truth[: count - strays]] + 0.15 * rng.normal(size=(count - strays, 16))
    order = rng.permutation(count)
    return np.vstack([near, rng.normal(size=(strays, 16))])[order].astype(np.float32), truth[order]


def found(rows: Floats, least: int = 0) -> Clustering:
    return cluster(*neighbours(rows, clusters.NEIGHBOURS), least)


def test_planted_groups_are_found_and_noise_is_outlying() -> None:
    rows, truth = planted(1200, 9)
    got = found(rows)
    assert adjusted_rand_score(truth, got.label) > 0.9
    assert got.label.max() + 1 == 9
    assert roc_auc_score(truth < 0, got.outlier) > 0.95
    sizes = np.bincount(got.label[got.label >= 0])
    assert (np.diff(sizes) <= 0).all(), "0 is the largest"
    assert got.outlier.min() >= 0
    assert got.outlier.max() <= 1


def test_far_groups_that_no_edge_connects() -> None:
    rows, truth = planted(400, 4, noise=0.0)
    got = found(rows)
    assert adjusted_rand_score(truth, got.label) > 0.95


def test_agrees_with_hdbscan_on_the_vectors() -> None:
    rows, _ = planted(700, 6, seed=3)
    least = clusters.automatic_size(len(rows))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float64)
    raw = hdbscan.HDBSCAN(min_cluster_size=least, min_samples=clusters.REACH, algorithm="generic").fit(unit)
    got = found(rows)
    assert adjusted_rand_score(raw.labels_, got.label) > 0.97
    assert np.corrcoef(raw.outlier_scores_, got.outlier)[0, 1] > 0.99


def test_the_same_rows_give_the_same_clusters() -> None:
    rows, _ = planted(500, 5)
    one, two = found(rows), found(rows)
    assert one.label.tolist() == two.label.tolist()
    assert one.outlier.tolist() == two.outlier.tolist()


@pytest.mark.parametrize(
    ("count", "least"), [(0, 0), (1, 0), (2, 0), (3, 0), (6, 0), (0, 2), (1, 2), (2, 2), (3, 2), (6, 7), (6, 1000)]
)
def test_too_few_rows_are_noise(count: int, least: int) -> None:
    got = found(np.random.default_rng(0).normal(size=(count, 4)), least)
    assert got.label.tolist() == [-1] * count
    assert len(got.outlier) == count


@pytest.mark.parametrize("count", [1, 2, 3, 40, 300])
def test_equal_rows_are_noise_and_no_outliers(count: int) -> None:
    got = found(np.ones((count, 4), dtype=np.float32))
    assert got.label.tolist() == [-1] * count
    assert not (got.outlier > 0).any()


def test_rows_that_are_not_finite_belong_nowhere() -> None:
    rows, _ = planted(300, 3, noise=0.0)
    rows[::7] = NAN
    got = found(rows)
    assert (got.label[::7] == -1).all()
    assert np.isnan(got.outlier[::7]).all()
    whole = found(rows[np.isfinite(rows[:, 0])])
    assert got.label[np.isfinite(rows[:, 0])].tolist() == whole.label.tolist()
    assert found(np.full((50, 4), NAN)).label.tolist() == [-1] * 50


@given(st.integers(0, 60), st.integers(1, 3), st.integers(0, 8), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_never_raises(count: int, width: int, least: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, 2, (count, width)).astype(np.float32)
    rows[rng.random(count) < 0.1] = NAN
    got = found(rows, least)
    assert len(got.label) == len(got.outlier) == count
    assert not np.isinf(got.outlier).any()


def test_the_tree_joins_all_rows_once() -> None:
    rows, _ = planted(300, 4, noise=0.0)
    similarity, index = neighbours(rows, 5)
    tree = clusters.spanning_tree(similarity, index)
    assert tree.nnz == 2 * 299
    assert connected_components(tree, directed=False)[0] == 1
    assert (tree.data == clusters.BRIDGE).sum() == 2 * 3


def test_memory_grows_with_the_rows_alone() -> None:
    peaks = []
    for count in (1000, 4000):
        rows, _ = planted(count, 8)
        similarity, index = neighbours(rows, clusters.NEIGHBOURS)
        tracemalloc.start()
        cluster(similarity, index, 20)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 5 * peaks[0]
