"""The nearest others of every row by exact cosine similarity, without the N x N matrix that this usually takes.

Two steps. A scan in blocks finds a few more candidates than are wanted, in the input's own precision: on the CPU with
numpy, or with torch on a GPU. Then the similarity of the candidates alone is computed again in double precision, with
one and the same order of additions for every pair, and decides. A matrix product may give two equal columns values
that differ in their last bit (measured with OpenBLAS, at the edges of its kernels), so it must not decide which of
two equals comes first, and a GPU must find what a CPU finds.

Exact copies of a row are scanned once and put back afterwards, so that any number of them is ranked by index.

A scan looks at all pairs. Where that takes long, an index may find the candidates (``engine.signals.neighbour_index``);
the second step is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# Rows and columns of one block of similarities: 4 MiB of float32, so that it is still in the cache when it is searched.
BLOCK_ROWS = 1024
BLOCK_COLUMNS = 1024
DEVICE_COLUMNS = 65536
"""Columns of a block on a GPU, whose memory it fills better: 256 MiB of float32."""
SPARE = 4
"""Candidates beyond the k that are wanted: as many as could be misplaced by the scan's rounding."""
FEW = 0.1
"""Under this share of queries that find something in a block, their lines are looked at alone."""
REFINED_BYTES = 16 * 2**20
"""Of candidate rows that are held in double precision at a time."""


def neighbours(
    embeddings: Floats, k: int, device: str = "cpu", find: Find | None = None, which: Ints | None = None
) -> tuple[Floats, Ints]:
    """The ``k`` nearest others of every row of ``embeddings[which]`` ([N, D]; None: all) by exact cosine similarity.

    Returns similarity [N, k] and index [N, k], nearest first, the lower index first among equals, a row never
    its own neighbour. Where there are fewer than ``k`` others, and for a row that is not finite, similarity
    is NaN and index -1; such a row is nobody's neighbour. A zero row has similarity 0 to all. Memory is
    O(N·k) plus one block, so a memory-mapped array is read in pieces. float64 input gives float64 similarities,
    all else float32. ``device``: ``cpu`` (numpy) or what torch calls a GPU. ``find``: what finds the candidates on the
    CPU, if not a scan of all pairs.
    """
    which = np.arange(len(embeddings)) if which is None else which
    asked = embeddings, which
    return _search(asked, asked, k, np.arange(len(which)), device, find or mutual_scan if device == "cpu" else None)


def against(
    queries: Floats, embeddings: Floats, k: int, own: Ints, device: str = "cpu", which: Ints | None = None
) -> tuple[Floats, Ints]:
    """The ``k`` rows of ``embeddings[which]`` ([N, D]; None: all rows) nearest to each of ``queries`` ([Q, D]), as
    ``neighbours`` gives them.

    ``own`` ([Q]) is the row that does not count for a query (itself, or what it would replace); -1: all count.
    """
    which = np.arange(len(embeddings)) if which is None else which
    return _search((queries, np.arange(len(queries))), (embeddings, which), k, own, device, None)


Part = tuple[Floats, Ints]
"""An array that may lie on disk, and which of its rows are meant."""


def _search(queries: Part, rows_of: Part, k: int, own: Ints, device: str, find: Find | None) -> tuple[Floats, Ints]:
    """``against``; ``find``: the queries are the rows, each its own, and it finds the candidates of all at once."""
    embeddings, which = rows_of
    total = len(queries[1])
    kind = np.dtype(np.float64 if embeddings.dtype == np.float64 else np.float32)
    similarity = np.full((total, k), np.nan, dtype=kind)
    index = np.full((total, k), -1, dtype=np.int64)
    copies = _Copies.of(embeddings, which, k)
    table = EmbeddingTable.of(embeddings, kind, which[copies.first])
    asked = EmbeddingTable.of(queries[0], kind, queries[1])
    count = min(k + SPARE, len(table))
    scanned: Iterator[tuple[slice, Ints]]
    if find:
        found_of = find(table, copies.without(copies.first), count)
        scanned = ((rows, found_of[copies.of_row[rows]]) for rows in spans(total, BLOCK_ROWS))
    else:
        scanned = (scan if device == "cpu" else _device_scan)(asked, table, copies.without(own), count, device)
    for rows, found in scanned:
        near, where = copies.spread(_refined(asked, table, rows, found), found, own[rows])
        width = min(k, near.shape[1])
        near, where = _ranked(near, where, width)
        known = np.isfinite(near) & asked.usable[rows, None]
        similarity[rows, :width] = np.where(known, np.clip(near, -1.0, 1.0), np.nan)
        index[rows, :width] = np.where(known, where, -1)
    return similarity, index


def spans(total: int, size: int) -> Iterator[slice]:
    """[0, total) in slices of at most ``size``."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def widened(rows: Floats, kind: np.dtype[Any]) -> Floats:
    """A copy of ``rows`` in ``kind``. numpy takes 11 times as long as torch to widen half precision: at 896 dimensions
    a third of the search."""
    if rows.dtype == np.float16:
        import torch

        rows = torch.from_numpy(rows).float().numpy()
        return rows if kind == np.float32 else rows.astype(kind)
    return rows.astype(kind)


@dataclass(frozen=True, slots=True)
class EmbeddingTable:
    """Rows of an array that may lie on disk, with the inverse of every row's length (1 for a zero row) and whether
    the row is finite.
    """

    rows: Floats
    which: Ints
    inverse: Floats
    usable: Bools
    kind: np.dtype[Any]

    @classmethod
    def of(cls, rows: Floats, kind: np.dtype[Any], which: Ints) -> EmbeddingTable:
        """``rows[which]``, to be read in ``kind``."""
        inverse = np.ones(len(which))
        usable = np.zeros(len(which), dtype=np.bool_)
        for part in spans(len(which), BLOCK_ROWS):
            lengths = np.linalg.norm(widened(rows[which[part]], np.dtype(np.float64)), axis=1)
            usable[part] = np.isfinite(lengths)
            np.divide(1.0, lengths, out=inverse[part], where=usable[part] & (lengths > 0))
        return cls(rows, which, inverse, usable, kind)

    def __len__(self) -> int:
        return len(self.which)

    def some(self, places: Ints) -> EmbeddingTable:
        """The rows at ``places`` alone."""
        return EmbeddingTable(self.rows, self.which[places], self.inverse[places], self.usable[places], self.kind)

    def unit(self, part: slice | Ints) -> Floats:
        """A block of rows scaled to length 1, in ``kind``; unusable rows are zero."""
        block = widened(self.rows[self.which[part]], self.kind)
        block *= self.inverse[part, None].astype(self.kind)
        if not self.usable[part].all():
            block[~self.usable[part]] = 0
        return np.asarray(block)


Find = Callable[[EmbeddingTable, Ints, int], Ints]
"""Finds candidates among the rows of a table: (table, the row [N] that each leaves out or -1, how many) to their
places, [N, count or more], -1 where there is none."""


@dataclass(frozen=True, slots=True)
class _Copies:
    """Which rows are copies of one another, byte for byte.

    first: [U] the first row of each kind, ascending. of_row: [N] the kind of every row. members: [U, w] the first rows
    of each kind, -1 where there are no more; w is k + 1 at most, for no more can be anybody's neighbours.
    """

    first: Ints
    of_row: Ints
    members: Ints

    @classmethod
    def of(cls, rows: Floats, which: Ints, k: int) -> _Copies:
        """The copies among ``rows[which]``, told by a hash of 128 bits."""
        seen: dict[bytes, int] = {}
        of_row = np.zeros(len(which), dtype=np.int64)
        for part in spans(len(which), BLOCK_ROWS):
            for i, row in enumerate(np.ascontiguousarray(rows[which[part]]), start=part.start):
                of_row[i] = seen.setdefault(hashlib.blake2b(row, digest_size=16).digest(), len(seen))
        first = np.unique(of_row, return_index=True)[1].astype(np.int64)
        counts = np.bincount(of_row, minlength=len(first))
        order = np.argsort(of_row, kind="stable")
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        members = np.full((len(first), min(k + 1, int(counts.max(initial=1)))), -1, dtype=np.int64)
        kept = place < members.shape[1]
        members[of_row[order[kept]], place[kept]] = order[kept]
        return cls(first, of_row, members)

    def without(self, own: Ints) -> Ints:
        """[Q] the kind that need not be scanned for a query because it has no row but the query's own; -1: none."""
        kinds = np.where(own >= 0, self.of_row[own] if len(self.of_row) else -1, -1)
        if self.members.shape[1] == 1:
            return kinds
        return np.where((kinds >= 0) & (self.members[kinds, 1] < 0), kinds, -1)

    def spread(self, near: Floats, kinds: Ints, own: Ints) -> tuple[Floats, Ints]:
        """The rows behind ``kinds`` ([n, c]; -1: none) with similarity ``near``, ``own`` ([n]) left out."""
        rows = np.where(kinds[:, :, None] >= 0, self.members[kinds], -1).reshape(len(kinds), -1)
        values = np.repeat(near, self.members.shape[1], axis=1)
        values[(rows < 0) | (rows == own[:, None])] = -np.inf
        return values, rows


def scan(
    asked: EmbeddingTable, table: EmbeddingTable, alone: Ints, count: int, device: str
) -> Iterator[tuple[slice, Ints]]:
    """Block by block of ``asked``, the ``count`` nearest rows of ``table`` ([n, count], -1 where there is none).

    ``alone`` ([Q]) is left out for a query.
    """
    room = np.empty((min(BLOCK_ROWS, len(asked)), min(BLOCK_COLUMNS, len(table))), dtype=table.kind)
    for rows in spans(len(asked), BLOCK_ROWS):
        query, own = asked.unit(rows), alone[rows]
        best = np.full((len(query), count), -np.inf, dtype=table.kind)
        where = np.full((len(query), count), -1, dtype=np.int64)
        for columns in spans(len(table), BLOCK_COLUMNS):
            block = np.matmul(query, table.unit(columns).T, out=room[: len(query), : columns.stop - columns.start])
            if not table.usable[columns].all():
                block[:, ~table.usable[columns]] = -np.inf
            here = np.flatnonzero((own >= columns.start) & (own < columns.stop))
            block[here, own[here] - columns.start] = -np.inf
            _absorb(best, where, block, columns.start)
        yield rows, where


def mutual_scan(table: EmbeddingTable, alone: Ints, count: int) -> Ints:
    """The ``count`` nearest rows of every row of ``table``, [N, count], -1 where there is none: of the square of
    blocks only the half above the diagonal is computed, for its rows and its columns.
    """
    best = np.full((len(table), count), -np.inf, dtype=table.kind)
    where = np.full((len(table), count), -1, dtype=np.int64)
    side = min(BLOCK_ROWS, len(table))
    room = np.empty((side, side), dtype=table.kind)
    parts, usable = list(spans(len(table), BLOCK_ROWS)), table.usable.all()
    for n, rows in enumerate(parts):
        query = table.unit(rows)
        for columns in parts[n:]:
            other = query if columns is rows else table.unit(columns)
            block = np.matmul(query, other.T, out=room[: len(query), : len(other)])
            if not usable:
                block[:, ~table.usable[columns]] = -np.inf
                block[~table.usable[rows]] = -np.inf
            if columns is rows:
                itself = np.flatnonzero(alone[rows] >= 0)
                block[itself, itself] = -np.inf
            else:
                _absorb(best[columns], where[columns], block, rows.start, across=True)
            _absorb(best[rows], where[rows], block, columns.start)
    return where


def _absorb(best: Floats, where: Ints, block: Floats, start: int, across: bool = False) -> None:
    """Merge a block of similarities ([n, m], columns from ``start``) into the best ones so far, in place.

    ``across``: the block is [m, n], and is not spoiled.

    Once a query knows its full number, only what is greater than the least of them is looked at: few queries find any
    in a block, after the first ones, and a block's greatest tell which. Spoils ``block``.
    """
    if np.isneginf(best[:, -1]).any():
        values, at = _top(block.T.copy() if across else block, best.shape[1])
        best[:], where[:] = _merge(best, where, values, np.where(np.isneginf(values), -1, at + start))
        return
    least = best[:, -1]
    lines = np.flatnonzero(block.max(axis=0 if across else 1) > least)
    if not len(lines):
        return
    part = block.T if across else block
    if len(lines) < FEW * len(best):
        part, least = part[lines], least[lines]
        line, column = np.divmod(np.flatnonzero(part > least[:, None]), part.shape[1])
    else:
        lines = np.arange(len(best))
        line, column = _hits(block, least, across)
    counts = np.bincount(line, minlength=len(lines))
    place = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
    values = np.full((len(lines), int(counts.max())), -np.inf, dtype=best.dtype)
    index = np.full(values.shape, -1, dtype=np.int64)
    values[line, place] = part[line, column]
    index[line, place] = column + start
    best[lines], where[lines] = _merge(best[lines], where[lines], values, index)


def _hits(block: Floats, least: Floats, across: bool) -> tuple[Ints, Ints]:
    """Line by line, where a block exceeds the ``least`` of its lines (its columns, ``across``)."""
    line, column = np.divmod(np.flatnonzero(block > (least if across else least[:, None])), block.shape[1])
    if across:
        order = np.argsort(column, kind="stable")
        return column[order], line[order]
    return line, column


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
    """The best of two lists. The first holds the lower indices, so a stable sort keeps them first."""
    values, index = np.hstack([best, top]), np.hstack([where, at])
    order = np.argsort(-values, axis=1, kind="stable")[:, : best.shape[1]]
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(index, order, axis=1)


def _device_scan(
    asked: EmbeddingTable, table: EmbeddingTable, alone: Ints, count: int, device: str
) -> Iterator[tuple[slice, Ints]]:
    """``scan`` with torch on ``device``. The rows are sent once if they fit into half of its memory, else block by
    block.
    """
    import torch

    torch_kind = torch.float64 if table.kind == np.float64 else torch.float32
    parts = list(spans(len(table), DEVICE_COLUMNS))

    def send(columns: slice) -> Any:
        return torch.from_numpy(table.unit(columns)).to(device, torch_kind)

    fits = device.startswith("cuda") and table.rows.shape[1] * len(table) * table.kind.itemsize < (
        torch.cuda.mem_get_info(device)[0] // 2
    )
    resident = [send(columns) for columns in parts] if fits else None
    unusable = torch.from_numpy(~table.usable).to(device)
    for rows in spans(len(asked), BLOCK_ROWS):
        query = torch.from_numpy(asked.unit(rows)).to(device, torch_kind)
        own = torch.from_numpy(alone[rows]).to(device)
        best = torch.full((len(query), 0), 0.0, dtype=torch_kind, device=device)
        where = torch.full((len(query), 0), -1, dtype=torch.long, device=device)
        for n, columns in enumerate(parts):
            block = query @ (resident[n] if resident else send(columns)).T
            block[:, unusable[columns]] = -torch.inf
            here = torch.nonzero((own >= columns.start) & (own < columns.stop))[:, 0]
            block[here, own[here] - columns.start] = -torch.inf
            values, at = block.topk(min(count, block.shape[1]), dim=1)
            values, at = torch.cat([best, values], 1), torch.cat([where, at + columns.start], 1)
            best, order = values.topk(min(count, values.shape[1]), dim=1)
            where = at.gather(1, order)
        where[best == -torch.inf] = -1
        yield rows, where.cpu().numpy()


def _refined(asked: EmbeddingTable, table: EmbeddingTable, rows: slice, found: Ints) -> Floats:
    """Similarity [n, c] of the queries ``rows`` to the candidates ``found``, in double precision; -inf where none."""
    out = np.full(found.shape, -np.inf)
    width = max(1, found.size // max(1, len(found)) * asked.rows.shape[1] * 8)
    for part in spans(len(found), max(1, REFINED_BYTES // width)):
        lines = np.arange(rows.start + part.start, rows.start + part.stop)
        query = widened(asked.rows[asked.which[lines]], np.dtype(np.float64))
        other = widened(table.rows[table.which[found[part]]], np.dtype(np.float64))
        with np.errstate(invalid="ignore"):  # a row that is not finite; it is left out by its `usable`
            cosine = np.einsum("nd,ncd->nc", query, other, optimize=False)
            cosine *= asked.inverse[lines, None] * table.inverse[found[part]]
        out[part] = np.where((found[part] >= 0) & asked.usable[lines, None], cosine, -np.inf)
    return out


def _ranked(near: Floats, where: Ints, k: int) -> tuple[Floats, Ints]:
    """The ``k`` largest of each row, the lower index first among equals (to 12 decimals: rows that differ only in
    length are equals).
    """
    order = np.lexsort((where, -np.round(near, 12)), axis=1)[:, :k]
    return np.take_along_axis(near, order, axis=1), np.take_along_axis(where, order, axis=1)
