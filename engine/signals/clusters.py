"""Groups of samples that mean something alike: HDBSCAN over the nearest-neighbour graph, with GLOSH outlier scores.

HDBSCAN is single linkage over mutual reachability: the distance of two rows, but at least how far each of them must
reach to have a few neighbours. Given raw vectors it searches all pairs (minutes at 50,000 rows); given a sparse graph
it walks it in Python, raises where the graph is disconnected, and loses edges of length zero. So the nearest neighbours
that the diversity axis needs anyway make the graph here, its minimum spanning tree is taken first, parts that no edge
connects are joined by the greatest distance there is, and hdbscan is given that tree alone: it is a distance matrix
with N - 1 entries, and its hierarchy is the graph's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.signals import nearest

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

NEIGHBOURS = 15
"""Edges per row that the graph is made of."""
REACH = 5
"""A row is as far from everything as it is from its fifth neighbour (hdbscan's ``min_samples``)."""
LEAST_DISTANCE = 1e-3
"""Embeddings in half precision tell nothing closer apart; a length of zero would be no edge and an infinite density."""
BRIDGE = 2.0
"""The distance of opposite unit vectors: nothing is further apart."""
BLOCK = 4096
"""Rows whose edges are looked at together."""
SMALLEST = 5
"""Least members of a cluster in a small dataset."""


@dataclass(frozen=True, slots=True)
class Clustering:
    """label: [N] cluster of every row, 0 the largest; -1: of none (noise, or nothing is known of the row).

    outlier: [N] GLOSH score, 0 (as dense as its cluster gets) to 1; NaN: unknown.
    """

    label: Ints
    outlier: Floats


def automatic_size(rows: int) -> int:
    """Least members of a cluster among so many rows: half of their square root (12 of 600, 114 of 52,000)."""
    return max(SMALLEST, round(math.sqrt(rows) / 2))


def cluster(similarity: Floats, index: Ints, min_cluster_size: int = 0) -> Clustering:
    """Clusters of the rows whose nearest neighbours are ``index`` ([N, k], -1: none) at cosine ``similarity``.

    ``min_cluster_size`` 0: ``automatic_size``. The same neighbours give the same labels. Memory is O(N·k). Where there
    are too few rows for two clusters, all are noise.
    """
    size = len(index)
    out = Clustering(np.full(size, -1, dtype=np.int64), np.full(size, np.nan))
    known = np.flatnonzero((index >= 0).any(axis=1))
    least = max(2, min_cluster_size) if min_cluster_size else automatic_size(len(known))
    if len(known) < max(3, least):
        return out
    place = np.full(size + 1, -1, dtype=np.int32)  # the last is where -1 points to
    place[known] = np.arange(len(known))
    near, where = (similarity, index) if len(known) == size else (similarity[known], index[known])
    tree = spanning_tree(near, place[where])
    out.label[known], out.outlier[known] = _hdbscan(tree, least)
    return out


def distances(similarity: Floats) -> Floats:
    """Cosines as the distance of the unit vectors: what HDBSCAN on those vectors would see. Unknown: infinite."""
    lengths = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * similarity.astype(np.float64)))
    return np.where(np.isnan(lengths), np.inf, np.maximum(lengths, LEAST_DISTANCE))


def spanning_tree(similarity: Floats, index: NDArray[np.integer[Any]]) -> Any:
    """The minimum spanning tree, as a symmetric CSR matrix [N, N], of the graph of neighbours ([N, k], -1: none) under
    mutual reachability, its parts joined by bridges.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

    size = len(index)
    reach = np.empty(size)
    for rows in nearest.spans(size, BLOCK):
        distance = distances(similarity[rows, : min(REACH, index.shape[1])])
        reach[rows] = np.where(np.isfinite(distance), distance, -np.inf).max(axis=1)
    forest = minimum_spanning_tree(_graph(similarity, index, reach), overwrite=True).tocoo()
    count, part = connected_components(forest, directed=False)
    hubs = np.lexsort((np.arange(size), reach, part))  # of each part the row in its densest place
    hubs = hubs[np.unique(part[hubs], return_index=True)[1]]
    low = np.concatenate([forest.row, np.repeat(hubs[:1], count - 1)])
    high = np.concatenate([forest.col, hubs[1:]])
    length = np.concatenate([forest.data, np.full(count - 1, BRIDGE)])
    both = (np.concatenate([low, high]), np.concatenate([high, low]))
    return coo_array((np.concatenate([length, length]), both), shape=(size, size)).tocsr()


def _graph(similarity: Floats, index: NDArray[np.integer[Any]], reach: Floats) -> Any:
    """The edges to the neighbours, each once, as a CSR matrix [N, N] with the lower row first.

    Most edges are found from both of their ends: then the one from the lower row is taken.
    """
    from scipy.sparse import coo_array

    parts: list[tuple[NDArray[np.int32], NDArray[np.int32], Floats]] = []
    for rows in nearest.spans(len(index), BLOCK):
        start, end = np.arange(rows.start, rows.stop, dtype=np.int32)[:, None], index[rows]
        mutual = (index[end] == start[:, :, None]).any(axis=2)
        line, column = np.nonzero((end >= 0) & ~(mutual & (end < start)))
        one, other = line.astype(np.int32) + np.int32(rows.start), end[line, column].astype(np.int32)
        length = np.maximum(distances(similarity[rows])[line, column], np.maximum(reach[one], reach[other]))
        parts.append((np.minimum(one, other), np.maximum(one, other), length))
    low, high, length = (np.concatenate(column) for column in zip(*parts, strict=True))
    parts.clear()
    graph = coo_array((length, (low, high)), shape=(len(index), len(index))).tocsr()
    graph.sort_indices()  # among edges of one length the tree takes the first
    return graph


def _hdbscan(tree: Any, least: int) -> tuple[Ints, Floats]:
    """Labels by size (the larger first, equals by their first row) and outlier scores of a spanning tree's rows."""
    import hdbscan
    from scipy.sparse import csr_matrix

    # with one sample the reach of a row is its shortest edge, so the tree's lengths stay what they are
    model = hdbscan.HDBSCAN(metric="precomputed", min_cluster_size=least, min_samples=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.asarray(model.fit_predict(csr_matrix(tree)), dtype=np.int64)
        outlier = np.clip(np.asarray(model.outlier_scores_, dtype=np.float64), 0.0, 1.0)
    names, first, counts = np.unique(found[found >= 0], return_index=True, return_counts=True)
    first = np.flatnonzero(found >= 0)[first]
    rank = np.full(len(names) + 1, -1, dtype=np.int64)
    rank[names[np.lexsort((first, -counts))]] = np.arange(len(names))
    return rank[found], outlier
