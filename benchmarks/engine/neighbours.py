"""Nearest neighbours and clusters: time and peak memory by size, against the full N x N matrix that the reference
makes.

`python -m benchmarks.engine.neighbours` writes docs/benchmarks/neighbours.md; `--sizes 1000 500000` measures others
(half a million rows: ten minutes). One thread and a process for each figure, in seconds of CPU time, which other
work on the machine disturbs least; embeddings in half precision as the store keeps them: blobs with a fifth of noise
among them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ROOT, measured
from engine.signals import clusters, nearest
from engine.signals.nearest import Floats, Ints

PAGE = ROOT / "docs" / "benchmarks" / "neighbours.md"
SIZES = (1_000, 10_000, 50_000)
FULL_MATRIX_MAX = 20_000
"""The largest size whose N x N matrix (1.6 GB here) is made; 52,000 rows would take 10.8 GB."""
ONCE_MAX = 100_000
"""The largest size that is searched more than once: under tracemalloc, which makes it slow, and for the clusters."""
DIMENSIONS = 64
K = 2
Found = tuple[Floats, Ints]


def blobs(size: int, dimensions: int) -> tuple[Any, Any]:
    """Embeddings, and which blob each is of (-1: noise)."""
    rng = np.random.default_rng(0)
    strays = size // 5
    count = max(5, int(size**0.5 / 4))
    truth = np.concatenate([rng.integers(0, count, size - strays), np.full(strays, -1)])
    centres = rng.normal(size=(count, dimensions))
    near = centres[truth[: size - strays]] + 0.25 * rng.normal(size=(size - strays, dimensions))
    order = rng.permutation(size)
    return np.vstack([near, rng.normal(size=(strays, dimensions))])[order].astype(np.float16), truth[order]


def unit(rows: Any) -> Any:
    """Rows of length 1 in single precision."""
    single = rows.astype(np.float32)
    return single / np.linalg.norm(single, axis=1, keepdims=True)


def full_matrix(rows: Any, k: int) -> Found:
    """All similarities at once, as the reference scripts do it."""
    import torch

    table = torch.from_numpy(unit(rows))
    matrix = table @ table.T
    matrix.fill_diagonal_(-1)
    values, index = matrix.topk(k, dim=1)
    return values.numpy(), index.numpy()


def in_blocks(rows: Any, k: int, height: int, width: int, best_of: Callable[[Any, int], tuple[Any, Any]]) -> Found:
    """The plain way in blocks: rank every block, merge what it gives."""
    table = unit(rows)
    values, index = np.empty((len(rows), k), np.float32), np.empty((len(rows), k), np.int64)
    for top in range(0, len(rows), height):
        query = table[top : top + height]
        best, where = np.full((len(query), 0), 0.0, np.float32), np.full((len(query), 0), 0)
        for left in range(0, len(rows), width):
            block = query @ table[left : left + width].T
            here = np.arange(max(top, left), min(top + len(query), left + block.shape[1]))
            block[here - top, here - left] = -1
            found, at = best_of(block, k)
            best, where = np.hstack([best, found]), np.hstack([where, at + left])
            order = np.argsort(-best, axis=1, kind="stable")[:, :k]
            best, where = np.take_along_axis(best, order, 1), np.take_along_axis(where, order, 1)
        values[top : top + len(query)], index[top : top + len(query)] = best, where
    return values, index


def by_argmax(block: Any, k: int) -> tuple[Any, Any]:
    """k passes, each for the next greatest."""
    lines, found = np.arange(len(block)), []
    for _ in range(k):
        at = block.argmax(axis=1)
        found.append((block[lines, at], at))
        block[lines, at] = -1
    return np.stack([v for v, _ in found], 1), np.stack([a for _, a in found], 1)


def by_argpartition(block: Any, k: int) -> tuple[Any, Any]:
    """One partial sort."""
    at = np.sort(np.argpartition(block, -k, axis=1)[:, -k:], axis=1)
    return np.take_along_axis(block, at, 1), at


def by_torch(block: Any, k: int) -> tuple[Any, Any]:
    """torch's own selection."""
    import torch

    values, at = torch.from_numpy(block).topk(k, dim=1)
    return values.numpy(), at.numpy()


WAYS: dict[str, Callable[[Any, int], Found]] = {
    "ours": nearest.neighbours,
    "matrix": full_matrix,
    "argmax": lambda rows, k: in_blocks(rows, k, 2048, 8192, by_argmax),
    "argpartition": lambda rows, k: in_blocks(rows, k, 1024, 1024, by_argpartition),
    "topk": lambda rows, k: in_blocks(rows, k, 1024, 1024, by_torch),
    "topk-large": lambda rows, k: in_blocks(rows, k, 2048, 8192, by_torch),
}


def work(way: str, size: int, dimensions: int, k: int) -> tuple[Mapping[str, Any], Mapping[str, float]]:
    """One way of finding neighbours; ``clusters``: the clusters behind them too, timed alone."""
    rows, truth = blobs(size, dimensions)
    start = time.process_time()
    similarity, index = WAYS["ours" if way in ("clusters", "traced") else way](rows, k)
    seconds = time.process_time() - start
    more: dict[str, float] = {"seconds": seconds}
    if way == "clusters":
        from sklearn.metrics import adjusted_rand_score

        start = time.process_time()
        found = clusters.cluster(similarity, index)
        more |= {"clusters_s": time.process_time() - start, "rand": adjusted_rand_score(truth, found.label)}
        more |= {"count": float(found.label.max() + 1), "planted": float(truth.max() + 1)}
    return {"index": index, "similarity": similarity}, more


def traced(size: int, k: int) -> float:
    """Peak of what numpy allocates, in MiB, beside the embeddings."""
    rows, _ = blobs(size, DIMENSIONS)
    tracemalloc.start()
    nearest.neighbours(rows, k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def measure(way: str, size: int, k: int, out: Path, dimensions: int = DIMENSIONS) -> tuple[dict[str, float], Any]:
    """Figures and arrays of one way in a fresh process."""
    return measured.piece(__file__, way, out, ["--size", str(size), "--k", str(k), "--dimensions", str(dimensions)])


def by_size(sizes: list[int], out: Path) -> list[str]:
    """Ours against the full matrix, and clusters, at every size."""
    rows, grouped = [], []
    for size in sizes:
        ours, mine = measure("ours", size, K, out)
        ratio, matrix_s, matrix_mib, same = "—", "—", "—", "—"
        if size <= FULL_MATRIX_MAX:
            theirs, full = measure("matrix", size, K, out)
            ratio = f"{theirs['seconds'] / ours['seconds']:.1f}"
            matrix_s, matrix_mib = f"{theirs['seconds']:.2f}", f"{theirs['peak_mib']:,.0f}"
            same = f"{(mine['index'] == full['index']).mean():.3%}"
        peak = f"{traced(size, K):,.0f}" if size <= ONCE_MAX else "—"
        per_pair = ours["seconds"] / size**2 * 1e9
        rows.append(
            [
                f"{size:,}", f"{ours['seconds']:.2f}", matrix_s, ratio, f"{per_pair:.1f}", peak,
                f"{ours['peak_mib']:,.0f}", matrix_mib, same,
            ]
        )  # fmt: skip
        if size > ONCE_MAX:
            continue
        found, _ = measure("clusters", size, clusters.NEIGHBOURS, out)
        grouped.append(
            [
                f"{size:,}", f"{found['seconds']:.2f}", f"{found['clusters_s']:.2f}",
                f"{found['count']:.0f} of {found['planted']:.0f}", f"{found['rand']:.3f}",
            ]
        )  # fmt: skip
    head = [
        "rows", "s", "full matrix, s", "times faster", "ns per pair", "peak, traced, MiB", "peak, process, MiB",
        "full matrix, MiB", "same neighbours",
    ]  # fmt: skip
    return [
        f"## {K} neighbours, {DIMENSIONS} dimensions\n",
        measured.table(head, rows),
        "\nWhere the two differ in a neighbour, single precision cannot tell the candidates apart;"
        " double decides here.\n",
        f"## Clusters, from {clusters.NEIGHBOURS} neighbours\n",
        measured.table(["rows", "neighbours, s", "clusters, s", "blobs found", "adjusted Rand index"], grouped),
    ]


def other_ways(out: Path) -> list[str]:
    """What was tried, at one size."""
    rows = []
    names = {
        "ours": "ours: ranks only what beats the k-th best so far",
        "argmax": "k times argmax, blocks 2048 x 8192",
        "topk": "torch.topk, blocks 1024 x 1024",
        "topk-large": "torch.topk, blocks 2048 x 8192",
        "argpartition": "argpartition, blocks 1024 x 1024",
        "matrix": "the full matrix, torch.topk",
    }
    for way, name in names.items():
        figures = [measure(way, 10_000, k, out, d)[0]["seconds"] for k, d in ((2, 64), (15, 64), (15, 896))]
        rows.append([name, *[f"{s:.2f}" for s in figures]])
    return [
        "\n## Other ways, 10,000 rows, seconds\n",
        measured.table(["way", "k = 2, 64 dim.", "k = 15, 64 dim.", "k = 15, 896 dim."], rows),
    ]


def main(arguments: argparse.Namespace) -> None:
    """Measure and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            "# Nearest neighbours and clusters",
            "",
            f"By `python -m benchmarks.engine.neighbours` on {measured.machine()}; seconds of CPU time."
            f" {arguments.note}".rstrip(),
            "",
            *by_size(arguments.sizes, Path(folder)),
            *other_ways(Path(folder)),
        ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--note", default="", help="a sentence for the page, e.g. what else the machine was doing")
    parser.add_argument("--piece")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--size", type=int)
    parser.add_argument("--k", type=int)
    parser.add_argument("--dimensions", type=int)
    given = parser.parse_args()
    if given.piece:
        measured.run_piece(lambda: work(given.piece, given.size, given.dimensions, given.k), given.out)
    else:
        main(given)
