"""The benchmark for a GPU runs where there is none, on a tiny shape, so that it is ready when a card is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.engine import gpu
from engine.chat.render import Rendered


def test_it_measures_our_own_scorer_and_trainer(tmp_path: Path) -> None:
    folder = gpu.make_model(tmp_path, "tiny")
    found = {
        name: gpu.PIECES[name](folder, "tiny")[1]
        for name in ("padded-scoring", "padded-training", "our-scoring", "our-training")
    }
    assert found["our-scoring"]["failed"] == 0
    assert found["our-scoring"]["own"] == sum(len(row.ids) for row in gpu.rows(gpu.SHAPES["tiny"], 24))
    assert found["our-training"]["flops"] == found["padded-training"]["flops"]
    assert all(one["seconds"] > 0 and one["peak"] > 1 << 20 for one in found.values())
    page = gpu.report("python -m benchmarks.engine.gpu", "tiny", found, gpu.estimates(folder, "tiny"), 1e12)
    lines = {line.split(" | ")[0]: line.split(" | ") for line in page.splitlines()}
    ours = lines[f"| {gpu.NAMES['our-scoring']}"]
    expected = found["our-scoring"]["own"] / found["our-scoring"]["seconds"]
    assert ours[1] == f"{expected:,.0f}"
    assert ours[3].endswith("%")
    assert float(ours[5]) > 0, "the doctor's estimate stands beside what was taken"


def test_the_operations_of_a_row_are_counted_by_hand() -> None:
    shape = gpu.Shape(hidden=4, inner=8, layers=3, heads=2, key_heads=1, words=10, scored=1, trained=1)
    row = Rendered([1] * 5, [False] * 2 + [True] * 3, 2, False)
    weights = 4 * 4 * 2 + 4 * 2 * 2 + 3 * 4 * 8  # queries and output, keys and values, the inner products
    attention = 3 * 2 * 4 * 25  # layers x (two products of 2 operations, half of the square)
    assert gpu.flops(shape, [row], training=False) == 2 * 3 * weights * 5 + attention + 2 * 4 * 10 * 3
    assert gpu.flops(shape, [row], training=True) == 2 * (2 * 3 * weights * 5 + 2 * 4 * 10 * 5) + 3 * attention


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA L4", 121)],
)
def test_a_card_is_known_by_its_name(name: str, peak: int) -> None:
    assert next(found for part, found in gpu.PEAKS.items() if gpu._named(part, name)) == peak
