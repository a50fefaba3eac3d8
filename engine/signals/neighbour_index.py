"""Candidates for the nearest neighbours from an index (faiss, MIT licence), where comparing all pairs takes too long.

The rows, scaled to length 1, are reduced to their principal components and sorted into lists by k-means; a row is
compared with the rows of the nearest lists only (an inverted file). What is found is more than is wanted:
``engine.signals.nearest`` computes the candidates' similarities again, whole and in double precision, and ranks them.

How many lists must be read depends on the data, so it is tried out: for a sample of the rows the true neighbours are
found by comparing them with all, and the number of lists is doubled until nearly all of them are found. Where no
number of lists does, the index is of no use and all pairs are compared after all.

The same rows, seed and threads give the same candidates: whatever is drawn is drawn from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.signals import nearest
from engine.signals.nearest import EmbeddingTable, Floats, Ints

LEAST_ROWS = 50_000
"""From so many rows on an index is faster (docs/benchmarks/neighbours.md)."""
RECALL = 0.995
"""Share of the sample's true neighbours that must be found: then .99 of all rows' are, beyond doubt."""
SAMPLE = 1_000
"""Rows whose true neighbours are found by comparing them with all."""
PROBES = (16, 32, 64, 128)
"""Lists that are read for a row, tried in turn. More of them cost more than comparing all pairs."""
LISTS = 4
"""Lists per square root of the rows."""
COMPONENTS = 128
"""Principal components that the index keeps of a row."""
LEARNED_ROWS = 20_000
"""Rows that the components are learned from."""
ROWS_A_LIST = 32
"""Rows per list that k-means sees."""
WIDER = 2
"""Candidates per one that is asked for: what fewer components misplace is among them."""
BLOCK = 4_096
"""Rows that are read, reduced and asked for at a time."""


@dataclass(slots=True)
class IndexFind:
    """A ``nearest.Find`` by an index. Tells afterwards how it went.

    seed: of what is drawn. recall: share of the sample's true neighbours that the index found; None: not tried.
    probes: lists that were read for a row; None: all pairs were compared.
    """

    seed: int
    recall: float | None = None
    probes: int | None = None

    def __call__(self, table: EmbeddingTable, alone: Ints, count: int) -> Ints:
        """The candidates of all rows of ``table``; see ``nearest.Find``."""
        places = np.flatnonzero(table.usable)
        if len(places) <= WIDER * count:
            return nearest.mutual_scan(table, alone, count)
        index = _Index.of(table, places, self.seed)
        asked = np.sort(np.random.default_rng(self.seed).choice(places, min(SAMPLE, len(places)), replace=False))
        truth = _true(table, asked, alone[asked], count)
        for probes in PROBES:
            found = index.search(table, asked, alone[asked], WIDER * count, probes)
            self.recall = _recall(truth, found)
            if self.recall >= RECALL:
                self.probes = probes
                return _all(index, table, alone, WIDER * count, probes)
        return nearest.mutual_scan(table, alone, count)

    def describe(self, rows: int) -> str:
        """A sentence for the log; "" where no index was tried."""
        if self.recall is None:
            return ""
        found = f"{self.recall:.2%} of the true neighbours of {min(SAMPLE, rows):,} sampled prompts"
        if self.probes is None:
            return f"an index found only {found}, so all pairs were compared: the neighbours are exact"
        return f'neighbours were found by an index ({found}; exact with score.neighbour_search = "exact")'


def _true(table: EmbeddingTable, asked: Ints, alone: Ints, count: int) -> Ints:
    """The nearest rows of the rows ``asked``, by comparing them with all."""
    wanted = max(1, count - nearest.SPARE)
    scanned = nearest.scan(table.some(asked), table, alone, count, "cpu")
    return np.concatenate([found[:, :wanted] for _, found in scanned])


def _recall(truth: Ints, found: Ints) -> float:
    """The share of ``truth`` ([n, k], -1: none) that is among ``found`` ([n, c])."""
    there = truth >= 0
    hits = np.array([np.isin(one, other) for one, other in zip(truth, found, strict=True)])
    return float(hits[there].mean()) if there.any() else 1.0


def _all(index: _Index, table: EmbeddingTable, alone: Ints, count: int, probes: int) -> Ints:
    """The candidates of every row that is in the index."""
    out = np.full((len(table), count + 1), -1, dtype=np.int64)
    for places in index.in_order():  # rows of a list read the same lists, which are then in the cache
        out[places] = index.search(table, places, alone[places], count, probes)
    return out


@dataclass(frozen=True, slots=True)
class _Index:
    """The inverted file, and what reduces a row to its components (None: it has no more than are kept)."""

    file: Any
    reduce: Any
    places: Ints

    @classmethod
    def of(cls, table: EmbeddingTable, places: Ints, seed: int) -> _Index:
        """An index of the rows at ``places`` of ``table``."""
        import faiss
        import torch

        faiss.omp_set_num_threads(torch.get_num_threads())
        drawn = np.random.default_rng(seed).permutation(places)
        width, reduce = table.rows.shape[1], None
        if width > COMPONENTS:
            reduce = faiss.PCAMatrix(width, COMPONENTS)
            reduce.train(_single(table, np.sort(drawn[:LEARNED_ROWS])))
            width = COMPONENTS
        lists = max(1, min(int(LISTS * len(places) ** 0.5), len(places) // ROWS_A_LIST))
        file = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatL2(width), width, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2, False
        )
        file.cp.seed, file.cp.niter = seed % 2**31, 6
        file.cp.max_points_per_centroid, file.cp.min_points_per_centroid = ROWS_A_LIST, 1
        out = cls(file, reduce, places)
        file.train(np.concatenate([out._reduced(table, b) for b in _blocks(np.sort(drawn[: lists * ROWS_A_LIST]))]))
        for part in nearest.spans(len(places), BLOCK):
            file.add(out._reduced(table, places[part]))
        return out

    def _reduced(self, table: EmbeddingTable, places: Ints) -> Floats:
        rows = _single(table, places)
        return np.asarray(rows if self.reduce is None else self.reduce.apply(rows))

    def search(self, table: EmbeddingTable, places: Ints, alone: Ints, count: int, probes: int) -> Ints:
        """[n, count + 1] the rows nearest to those at ``places``; -1 for ``alone`` and where there are no more."""
        self.file.nprobe = probes
        found = self.file.search(self._reduced(table, places), count + 1)[1]
        found = np.where(found >= 0, self.places[found], -1)
        return np.where(found == alone[:, None], -1, found)

    def in_order(self) -> Iterator[Ints]:
        """All rows' places, list by list, in blocks."""
        import faiss

        lists = self.file.invlists
        ids = [faiss.rev_swig_ptr(lists.get_ids(n), lists.list_size(n)).copy() for n in range(self.file.nlist)]
        return _blocks(self.places[np.concatenate(ids)])


def _single(table: EmbeddingTable, places: Ints) -> Floats:
    return np.ascontiguousarray(table.unit(places), dtype=np.float32)


def _blocks(places: Ints) -> Iterator[Ints]:
    return (places[part] for part in nearest.spans(len(places), BLOCK))
