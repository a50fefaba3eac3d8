"""From embeddings to rows of the store: each sample's neighbours, its cluster, and what became of the clusters.

One search for nearest neighbours serves both: the diversity axis takes the first few of them, the clusters' graph all.
It is made over *different* prompts. What copies of a prompt are to each other is a setting:

- ``select.parity = "ours"``: a copy is no neighbour. Else two copies of an odd prompt would be each other's nearest
  with similarity 1 and hide that nothing else is near;
- ``"reference"``: every other row counts, and a copy has similarity 1, as in the published scripts.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from engine.plurals import counted
from engine.signals import cluster_changes, clusters, nearest, neighbour_index
from engine.signals.clusters import Clustering, Floats, Ints
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.rows import Cluster, Neighbourhood, Row


@dataclass(frozen=True, slots=True)
class Prompts:
    """The different prompts among rows: of each the rows that have it, ascending; and of each row its prompt's number
    (None: it has no embedding).
    """

    rows: list[list[int]]
    of_row: list[int | None]

    @classmethod
    def of(cls, keys: Sequence[Hashable | None]) -> Prompts:
        """Prompts by what tells them apart, in the order of their first rows; None: a row without an embedding."""
        numbers: dict[Hashable, int] = {}
        rows: list[list[int]] = []
        of_row: list[int | None] = []
        for i, key in enumerate(keys):
            if key is None:
                of_row.append(None)
                continue
            number = numbers.setdefault(key, len(rows))
            if number == len(rows):
                rows.append([])
            rows[number].append(i)
            of_row.append(number)
        return cls(rows, of_row)

    def rows_near(self, row: int, near: Floats, index: Ints, k: int, copies: bool) -> list[tuple[float, int]]:
        """The ``k`` nearest other rows of ``row`` with their similarities, from its prompt's nearest prompts.

        ``copies``: every other row counts, those with the same prompt first. Else each other prompt counts once.
        """
        own = self.of_row[row]
        if own is None:
            return []
        if not copies:
            return [(float(s), self.rows[j][0]) for s, j in zip(near[:k], index[:k], strict=True) if j >= 0]
        out = [(1.0, i) for i in self.rows[own][: k + 1] if i != row][:k]
        for s, j in zip(near, index, strict=True):
            if len(out) == k or j < 0:
                break
            out += [(float(s), i) for i in self.rows[j][: k - len(out)]]
        return out


def rows(
    ctx: Ctx, samples: Dataset, keys: Sequence[Hashable | None], array: NDArray[Any]
) -> tuple[list[Row], float | None]:
    """The neighbourhoods of all samples that have one, and the round's clusters; and which share of the neighbours of
    a sample of the prompts an index found (None: all pairs were compared).

    Args:
        ctx: the score stage's.
        samples: D_r.
        keys: per sample what tells its prompt from others; None: it has no embedding.
        array: the embeddings, [N, D].
    """
    settings = ctx.config.select
    copies = settings.parity == "reference"
    prompts = Prompts.of(keys)
    if len(prompts.rows) < 2 and not (copies and prompts.rows and len(prompts.rows[0]) > 1):
        ctx.event("fewer than two distinct prompts could be embedded, so diversity selects nothing")
        return [], None
    first = np.array([group[0] for group in prompts.rows])
    grouped = ctx.config.score.clusters
    wanted = max(settings.neighbours, clusters.NEIGHBOURS) if grouped else settings.neighbours
    near, index, recall = _search(ctx, array, first, min(wanted, max(1, len(first) - 1)))
    clustering = clusters.cluster(near, index, ctx.config.score.min_cluster_size) if grouped else None
    near, index = near[:, : settings.neighbours].copy(), index[:, : settings.neighbours].copy()  # the graph is done
    placed = (
        (i, number, prompts.rows_near(i, near[number], index[number], settings.neighbours, copies))
        for i, number in enumerate(prompts.of_row)
        if number is not None
    )
    if clustering is None:
        return [_row(ctx.round, i, samples.ids, found) for i, _, found in placed if found], recall
    return _grouped(ctx, samples, placed, clustering), recall


Placed = Iterable[tuple[int, int, list[tuple[float, int]]]]
"""Rows with the number of their prompt, and their neighbours' similarities and rows, nearest first."""


def _grouped(ctx: Ctx, samples: Dataset, placed: Placed, clustering: Clustering) -> list[Row]:
    """Neighbourhoods with their clusters, and the clusters; copies of a prompt share its cluster."""
    out: list[Neighbourhood] = []
    for i, number, found in placed:
        outlier = float(clustering.outlier[number])
        known = outlier if np.isfinite(outlier) else None
        if found:
            out.append(_row(ctx.round, i, samples.ids, found, int(clustering.label[number]), known))
    label = {row.sample_id: row.cluster for row in out if row.cluster is not None}
    fates = cluster_changes.follow(_before(ctx), label, _stands_for(ctx.round, samples), _used(ctx))
    numbers = {fate.found: fate.number for fate in fates if fate.found is not None} | {
        cluster_changes.NOISE: cluster_changes.NOISE
    }
    out = [replace(row, cluster=numbers[label[row.sample_id]]) for row in out]
    ctx.event(describe(fates, label))
    return [*out, *_clusters(ctx, fates, out)]


def _row(
    round: int,
    i: int,
    ids: Sequence[int],
    found: Sequence[tuple[float, int]],
    cluster: int | None = None,
    outlier: float | None = None,
) -> Neighbourhood:
    mean = float(np.mean([s for s, _ in found], dtype=np.float64))
    return Neighbourhood(round, ids[i], mean, json.dumps([ids[j] for _, j in found]), cluster, outlier)


def _search(ctx: Ctx, array: NDArray[Any], which: Ints, k: int) -> tuple[Floats, Ints, float | None]:
    """The nearest neighbours of ``array[which]``: of many on a CPU by an index, if it finds nearly all there are."""
    device = _device(ctx.config.model.device)
    exact = ctx.config.score.neighbour_search == "exact" or ctx.config.select.parity == "reference"
    if exact or device != "cpu" or len(which) < neighbour_index.LEAST_ROWS:
        return *nearest.neighbours(array, k, device, which=which), None
    index = neighbour_index.IndexFind(ctx.config.project.seed)
    near, found = nearest.neighbours(array, k, device, index, which)
    if text := index.describe(len(which)):
        ctx.event(text)
    return near, found, index.recall if index.probes else None


def _device(device: str) -> str:
    """Where the search runs: on the model's device."""
    from engine.backends.model_loading import torch_device

    return str(torch_device(device))


def _before(ctx: Ctx) -> dict[int, int]:
    """Last round's cluster numbers by sample id; empty in the first round."""
    rows = ctx.rows(Neighbourhood, ctx.round - 1) if ctx.round else []
    return {row.sample_id: row.cluster for row in rows if row.cluster is not None}


def _used(ctx: Ctx) -> list[int]:
    """The cluster numbers of all earlier rounds."""
    return [row.cluster for r in range(ctx.round) for row in ctx.rows(Cluster, r)]


def _stands_for(round: int, samples: Dataset) -> dict[int, int]:
    """The samples that the last merge put in another's place, and whose."""
    return {
        s.id: s.parent_id
        for s in samples
        if s.born_round == round and s.parent_id is not None and s.axis != "diversity"
    }


def _clusters(ctx: Ctx, fates: Sequence[cluster_changes.Fate], placed: Sequence[Neighbourhood]) -> list[Cluster]:
    """The round's cluster rows. A cluster's exemplar is the least outlying of its members, of equals the one that is
    most like its neighbours; a cluster that died keeps the one it had.
    """
    best: dict[int, Neighbourhood] = {}
    for row in placed:
        other = best.get(row.cluster) if row.cluster is not None else None
        if row.cluster is not None and (other is None or _centrality(row) < _centrality(other)):
            best[row.cluster] = row
    last = ctx.rows(Cluster, ctx.round - 1) if ctx.round else []
    before: Mapping[int, int | None] = {row.cluster: row.exemplar for row in last}
    return [
        Cluster(
            ctx.round,
            fate.number,
            fate.size,
            before.get(fate.previous)
            if fate.found is None and fate.previous is not None
            else best[fate.number].sample_id,
            fate.change,
            fate.previous,
            fate.previous_size,
        )
        for fate in fates
    ]


def _centrality(row: Neighbourhood) -> tuple[float, float]:
    return (1.0 if row.outlier is None else row.outlier, -row.similarity)


def describe(fates: Sequence[cluster_changes.Fate], label: Mapping[int, int]) -> str:
    """The log line: how many clusters, how many samples of none, and what changed."""
    living = sum(fate.found is not None for fate in fates)
    noise = sum(value == cluster_changes.NOISE for value in label.values())
    text = f"{counted(living, 'cluster')} of {counted(len(label) - noise, 'sample')} ({noise} unclustered)"
    if all(fate.change == "born" for fate in fates):
        return text
    counts = {change: sum(fate.change == change for fate in fates) for change in cluster_changes.CHANGES}
    return f"{text}: " + ", ".join(f"{n} {change}" for change, n in counts.items() if n)
