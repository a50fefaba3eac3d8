"""Nearest neighbours by an index against comparing all pairs: CPU seconds, peak memory and recall by size.

    python -m benchmarks.engine.neighbour_index --embeddings a.npy --sizes 20000 50000 100000 500000

``--embeddings``: real ones, e.g. a project's artifacts/round-0/embeddings/*.npy. Where more rows are wanted than the
file has, each further one lies somewhere between a real row and two of its near ones, so that the dataset is as uneven
as the real one. Beside them blobs with a fifth of noise (``benchmarks.engine.neighbours``), which no index can order.
One thread and a process for each figure; recall is measured on 1,000 rows drawn apart from the index's own sample.
Writes docs/benchmarks/neighbour-index.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ROOT, measured
from benchmarks.engine.neighbours import blobs
from engine.signals import clusters, nearest
from engine.signals.neighbour_index import IndexFind

PAGE = ROOT / "docs" / "benchmarks" / "neighbour-index.md"
EXACT_MAX = 100_000
"""The largest size that is also searched pair by pair as a whole; beyond it the time is that of 1,000 rows, scaled."""
ASKED = 1_000
CHUNK = 20_000


def between(real: Any, size: int) -> Any:
    """``size`` rows, float16: the real ones, and others between them."""
    rng = np.random.default_rng(0)
    rows = real[np.isfinite(real).all(axis=1)].astype(np.float32)
    if size <= len(rows):
        return rows[:size].astype(np.float16)
    near = nearest.neighbours(rows, 8)[1]
    parts, left = [rows], size - len(rows)
    while left > 0:
        count = min(left, CHUNK)
        one = rng.integers(0, len(rows), count)
        two = near[one, rng.integers(0, 8, count)]
        three = near[two, rng.integers(0, 8, count)]
        u, v = rng.uniform(0, 0.7, (count, 1)), rng.uniform(0, 0.4, (count, 1))
        parts.append((rows[one] + u * (rows[two] - rows[one]) + v * (rows[three] - rows[two])).astype(np.float32))
        left -= count
    return np.vstack(parts)[rng.permutation(size)].astype(np.float16)


def work(way: str, file: Path) -> tuple[Mapping[str, Any], Mapping[str, float]]:
    """One way of finding the neighbours of the rows in ``file``."""
    rows = np.load(file, mmap_mode="r")
    asked = np.sort(np.random.default_rng(99).choice(len(rows), min(ASKED, len(rows)), replace=False))
    index = IndexFind(seed=0)
    start = time.process_time()
    if way == "index":
        near, found = nearest.neighbours(rows, clusters.NEIGHBOURS, find=index)
        near, found = near[asked], found[asked]
    elif len(rows) <= EXACT_MAX:
        near, found = nearest.neighbours(rows, clusters.NEIGHBOURS)
        near, found = near[asked], found[asked]
    else:
        near, found = nearest.against(rows[asked], rows, clusters.NEIGHBOURS, asked)
    seconds = time.process_time() - start
    return {"index": found, "near": near}, {
        "seconds": seconds,
        "probes": index.probes or 0,
        "recall": index.recall or 0,
    }


def compared(name: str, rows: Any, scratch: Path) -> list[object]:
    """One line of the page."""
    file = scratch / "rows.npy"
    np.save(file, rows)
    index, found = measured.piece(__file__, "index", scratch, ["--file", str(file)])
    exact, true = measured.piece(__file__, "exact", scratch, ["--file", str(file)])
    recall = np.array([np.isin(t, f).mean() for t, f in zip(true["index"], found["index"], strict=True)])
    sparse = recall[np.argsort(true["near"].mean(axis=1))[: len(recall) // 10]]
    whole = len(rows) <= EXACT_MAX
    pairs = f"{exact['seconds']:,.1f}" if whole else f"about {exact['seconds'] * len(rows) / ASKED / 2:,.0f}"
    read = f"{index['probes']:.0f}" if index["probes"] else "too few found: all pairs"
    return [
        name, f"{len(rows):,}", rows.shape[1], pairs, f"{index['seconds']:,.1f}", read, f"{index['recall']:.2%}",
        f"{recall.mean():.2%}", f"{sparse.mean():.2%}",
        f"{exact['peak_mib']:,.0f}" if whole else "—", f"{index['peak_mib']:,.0f}",
    ]  # fmt: skip


def main(arguments: argparse.Namespace) -> None:
    """Measure and write the page."""
    head = [
        "rows are", "rows", "dim.", "all pairs, s", "index, s", "lists read", "recall by its own sample",
        "recall, other rows", "recall, sparse rows", "all pairs, MiB", "index, MiB",
    ]  # fmt: skip
    real = np.load(arguments.embeddings)
    with tempfile.TemporaryDirectory() as folder:
        lines = [compared("real, and between them", between(real, n), Path(folder)) for n in arguments.sizes]
        lines.append(compared("blobs, a fifth of noise", blobs(50_000, 64)[0], Path(folder)))
    text = [
        "# Nearest neighbours by an index",
        "",
        f"By `python -m benchmarks.engine.neighbour_index` on {measured.machine()}; {clusters.NEIGHBOURS} neighbours,"
        f" seconds of CPU time. {arguments.note}".rstrip(),
        "",
        measured.table(head, lines),
        "",
        f"Above {EXACT_MAX:,} rows the time of all pairs is that of {ASKED:,} rows against all, scaled and halved (a"
        " pair serves both its rows). A sparse row is one of the tenth whose neighbours are the least similar.",
    ]
    PAGE.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embeddings", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=(20_000, 50_000, 100_000))
    parser.add_argument("--note", default="", help="a sentence for the page, e.g. whose embeddings these are")
    parser.add_argument("--piece")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--file", type=Path)
    given = parser.parse_args()
    if given.piece:
        measured.run_piece(lambda: work(given.piece, given.file), given.out)
    elif given.embeddings is None:
        sys.exit("--embeddings: name a .npy file of embeddings, e.g. of a project's artifacts.")
    else:
        main(given)
