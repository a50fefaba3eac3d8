"""Embeddings in two dimensions: the principal axes of the first round's, for a person to look at.

Rows are brought to unit length first, as for neighbours and clusters, so that distance on the map is a shadow of cosine
similarity. Axes and centre are those of the first round that has a map: places of later rounds can be compared. How
much of a round's variance the two axes show is kept beside the places, as it is little, as a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.files import durable, embedding_map_file
from engine.files.embedding_map_file import MAP, NAME, STEPS, Box, MapFile, MapHead
from engine.signals.nearest import Floats, spans, widened
from engine.stage import Ctx

FITTED = 10_000
"""Rows that the axes are computed from, evenly spread over the dataset: more move them by less than is seen."""
BLOCK = 8192
TRIM = 0.002
"""Share of the samples at each end of an axis outside of the first window: one outlier must not shrink the rest."""
MARGIN = 0.03
"""Room around the window, as a share of it."""
LEAST_SPREAD = 1e-9
"""A variance below this is rounding: all rows are one."""

Wide = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Basis:
    """``mean`` [D] and ``axes`` [2, D], orthonormal rows, of round ``round``."""

    round: int
    mean: Wide
    axes: Wide


@dataclass(frozen=True, slots=True)
class MapPlaces:
    """``places`` [N, 2], NaN where a row has no embedding; ``shares`` of the rows' variance along each axis."""

    places: Wide
    shares: tuple[float, float]


def fit(embeddings: Floats, round: int, seed: int) -> Basis | None:
    """The principal axes of ``embeddings`` [N, D], each turned so that its largest entry is positive.

    None: fewer than two of the rows looked at have an embedding.
    """
    from sklearn.decomposition import PCA

    total = len(embeddings)
    rows, _ = _units(embeddings[np.linspace(0, max(0, total - 1), min(FITTED, total)).astype(np.int64)])
    if len(rows) < 2:
        return None
    mean = rows.mean(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # the shares, which are not asked for, of rows that are all equal
        found = PCA(min(2, *rows.shape), random_state=seed).fit(rows - mean.astype(np.float32)).components_
    axes = np.zeros((2, rows.shape[1]))
    axes[: len(found)] = found
    largest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    return Basis(round, mean, axes * np.where(largest < 0, -1.0, 1.0)[:, None])


def project(embeddings: Floats, basis: Basis) -> MapPlaces:
    """Where the rows of ``embeddings`` [N, D] lie on the axes. Reads them once, in blocks."""
    places = np.full((len(embeddings), 2), np.nan)
    mean, axes = basis.mean.astype(np.float32), basis.axes.astype(np.float32)
    total, count = np.zeros(embeddings.shape[1]), 0
    for block in spans(len(embeddings), BLOCK):
        rows, known = _units(embeddings[block])
        places[block][known] = (rows - mean) @ axes.T
        total += rows.sum(axis=0, dtype=np.float64)
        count += len(rows)
    spread = 1.0 - float(((total / max(1, count)) ** 2).sum())  # of unit vectors: mean of squares less squared mean
    if count < 2 or spread <= LEAST_SPREAD:
        return MapPlaces(places, (0.0, 0.0))
    first, second = (np.nanvar(places, axis=0) / spread).tolist()
    return MapPlaces(places, (first, second))


def _units(rows: Floats) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Those of ``rows`` that are finite, at unit length; and which they are."""
    wide = widened(np.array(rows), np.dtype(np.float32))
    known: NDArray[np.bool_] = np.asarray(np.isfinite(wide).all(axis=1))
    wide = wide[known]
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(length > 0, length, np.float32(1)), known


def publish(ctx: Ctx, ids: Sequence[int], embeddings: Floats, space: str) -> None:
    """Make the map of this round's dataset an artifact. ``ids``: of the samples, in the order of ``embeddings``.

    ``space``: the base model and how it embeds; axes of another one are not used.
    """
    path = ctx.workdir(MAP) / NAME
    last = ctx.artifact(MAP, ctx.round - 1) if ctx.round else None
    try:
        meta = make(path, last, ids, embeddings, ctx.round, ctx.config.project.seed, space)
    except ValueError as error:
        ctx.event(f"{error}. The map of this round has axes of its own.", "warning")
        meta = make(path, None, ids, embeddings, ctx.round, ctx.config.project.seed, space)
    if meta is None:
        ctx.event("fewer than two samples could be embedded, so this round has no map")
    else:
        ctx.publish(MAP, path, meta)


def make(
    path: Path, last: Path | None, ids: Sequence[int], embeddings: Floats, round: int, seed: int, space: str
) -> dict[str, object] | None:
    """Write the map ``path`` on the axes of the map ``last``, if that is of the same ``space``; returns what the
    artifact's row says. None: there are no two embeddings, and so no map.

    Raises:
        ValueError: ``last`` is damaged.
    """
    basis = _earlier(last, embeddings.shape[1], space) or fit(embeddings, round, seed)
    if basis is None:
        return None
    found = project(embeddings, basis)
    save(path, ids, found, basis, space)
    return {"basis_round": basis.round, "variance": sum(found.shares)}


def save(path: Path, ids: Sequence[int], found: MapPlaces, basis: Basis, space: str) -> None:
    """Write the map file ``path``, whole or not at all."""
    new = path.with_suffix(".new")
    with new.open("wb") as out:
        embedding_map_file.write(out, *_laid_out(ids, found, basis, space))
    durable.replace(new, path)


def _earlier(path: Path | None, width: int, space: str) -> Basis | None:
    """The axes of an earlier map, if they are of the same space."""
    if path is None or not path.exists():
        return None
    last = MapFile(path)
    rows = np.array(last.basis, dtype=np.float64).reshape(3, -1)
    if last.head.space != space or rows.shape[1] != width:
        return None
    return Basis(last.head.basis_round, rows[0], rows[1:])


def _laid_out(
    ids: Sequence[int], found: MapPlaces, basis: Basis, space: str
) -> tuple[MapHead, bytes, bytes, bytes, bytes, bytes]:
    """What ``embedding_map_file.write`` takes: the placed samples from left to right, of equals the lower id first."""
    known = np.array(ids, dtype=np.int64)
    by_id = np.argsort(known, kind="stable")
    places = found.places[by_id]
    rank = np.flatnonzero(np.isfinite(places[:, 0]))
    places = places[rank]
    low, high = (edge(places, axis=0) if len(places) else np.zeros(2) for edge in (np.min, np.max))
    width = np.where(high > low, high - low, 1.0)
    steps = np.rint((places - low) / width * STEPS).astype("<u2")
    order = np.argsort(steps[:, 0], kind="stable")
    head = MapHead(
        rows=len(known),
        basis_round=basis.round,
        space=space,
        shares=found.shares,
        ends=_box(low, low + width),
        frame=_frame(places, low, low + width),
        dataset=embedding_map_file.sums(len(known), int((known >> 32).sum()), int((known & 0xFFFFFFFF).sum())),
    )
    x, y = steps[order].T
    whole = np.concatenate([basis.mean[None], basis.axes]).astype("<f8")
    rising = known[by_id].astype("<i8").tobytes()
    return head, rank[order].astype("<u4").tobytes(), x.tobytes(), y.tobytes(), whole.tobytes(), rising


def _frame(places: Wide, low: Wide, high: Wide) -> Box:
    """The first window: nearly all of the places, and some room around them."""
    if len(places):
        low, top = np.quantile(places, (TRIM, 1 - TRIM), axis=0)
        high = np.where(top > low, top, low + 1.0)
    room = (high - low) * MARGIN
    return _box(low - room, high + room)


def _box(low: Wide, high: Wide) -> Box:
    (left, lower), (right, upper) = low.tolist(), high.tolist()
    return left, lower, right, upper
