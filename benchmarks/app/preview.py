"""What a keypress on the Thresholds screen costs at 500k samples, in processor time.

`python -m benchmarks.app.preview [SAMPLES]` prints the table and writes docs/benchmarks/preview.md. Seeded.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks import ROOT
from engine.config.schema import Config
from engine.selection.preview.counts import Preview
from engine.selection.preview.facts import PreviewFacts
from engine.selection.preview.round_arrays import Round
from engine.store.rows import AXES, Axis
from tests.support.previews import SENT, previewed

PAGE = ROOT / "docs" / "benchmarks" / "preview.md"
REPEATS = 40


def invented(size: int) -> Round:
    """A fifth of the samples is hard; nothing is missing."""
    rng = np.random.default_rng(0)
    before = np.exp(0.4 * rng.normal(size=size) + 1.6 * (rng.random(size) < 0.2))
    values = {
        "loss_before": before,
        "loss_after": 0.6 * before + 0.05 * rng.normal(size=size),
        "similarity": rng.beta(9, 2, size),
        "quality": rng.normal(6.5, 0.8, size),
    }
    return Round(1, np.arange(size), values, rng.integers(10, 900, (2, size)), SENT)


def spent(action: Callable[[int], object], repeats: int) -> str:
    """Median and 95 % quantile of the milliseconds of processor time that ``action`` takes."""
    times = []
    for i in range(repeats):
        start = time.process_time()
        action(i)
        times.append(1e3 * (time.process_time() - start))
    return f"{np.median(times):.2f} | {np.quantile(times, 0.95):.2f}"


def main(size: int) -> str:
    """The page."""
    data, rows = invented(size), []
    again = set(np.flatnonzero(np.random.default_rng(1).random(size) < 0.1).tolist())  # a tenth is not tried again
    facts = PreviewFacts(Config(), tried=dict.fromkeys(AXES, again))
    made: list[Preview] = []
    rows.append(("prepare from arrays, and open", spent(lambda _: made.append(previewed(data, facts)), 1)))
    preview = made[0]

    def moved(axis: Axis) -> Callable[[int], object]:
        return lambda i: preview.counts({**dict.fromkeys(AXES, 1.0), axis: 0.6 + 0.02 * i})

    def beside(axis: Axis) -> Callable[[int], object]:
        return lambda i: preview.margin(axis, 0.6 + 0.02 * i, 8)

    for axis in AXES:
        moved(axis)(0)
        rows.append((f"counts, {axis} moved", spent(moved(axis), REPEATS)))
    for axis in AXES:
        rows.append((f"margin of 8 and 8, {axis}", spent(beside(axis), REPEATS)))
    over = dict.fromkeys(AXES, -0.5)
    rows.append(("counts, over the cap, first", spent(lambda _: preview.counts(over), 1)))
    rows.append(("counts, over the cap, again", spent(lambda _: preview.counts(over), REPEATS)))
    rows.append(("histogram of 60 bins, first", spent(lambda _: preview.histogram("quality", 60), 1)))
    for axis in AXES:
        rows.append((f"mixture, {axis}, first", spent(lambda _: preview.for_mixture(axis), 1)))  # noqa: B023
    lines = [f"| {name} | {figures} |" for name, figures in rows]
    head = f"# The threshold preview\n\n`python -m benchmarks.app.preview {size}`\n\n"
    head += f"Milliseconds of processor time at {size:,} samples, on one thread.\n\n"
    return head + "\n".join(["| | median | 95 % |", "| --- | --- | --- |", *lines]) + "\n"


if __name__ == "__main__":
    text = main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
    PAGE.write_text(text, encoding="utf-8")
    print(text)
