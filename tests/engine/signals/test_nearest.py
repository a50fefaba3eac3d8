"""The nearest others are those of the full similarity matrix, for any blocks, copies, ties, broken rows and device."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from engine.selection import thresholds
from engine.signals import nearest
from engine.signals.nearest import Floats, Ints

NAN = float("nan")


def full_matrix(embeddings: Floats, k: int) -> tuple[Floats, Ints]:
    """The plain N x N way, pair by pair in double precision; the lower index first among equals."""
    rows = embeddings.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(lengths > 0, lengths, 1)[:, None]
    matrix = np.array([[float(np.sum(a * b)) for b in unit] for a in unit]).round(12)
    np.fill_diagonal(matrix, -np.inf)
    order = np.argsort(-matrix, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(matrix, order, axis=1), order


@pytest.fixture(params=[(7, 11), (64, 3), (1024, 1024)], ids=str)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK_ROWS", request.param[0])
    monkeypatch.setattr(nearest, "BLOCK_COLUMNS", request.param[1])
    monkeypatch.setattr(nearest, "DEVICE_COLUMNS", request.param[1])
    monkeypatch.setattr(nearest, "REFINED_BYTES", 5000)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 2, 15])
def test_identical_to_the_full_matrix(k: int, kind: type, device: str) -> None:
    rng = np.random.default_rng(k)
    embeddings: NDArray[Any] = rng.normal(size=(70, 8)).astype(kind)
    embeddings[40:60] = embeddings[rng.integers(0, 40, 20)]
    similarity, index = nearest.neighbours(embeddings, k, device)
    expected, order = full_matrix(embeddings, k)
    assert index.tolist() == order.tolist()
    np.testing.assert_allclose(similarity, expected, atol=1e-12 if kind is np.float64 else 1e-7)
    assert similarity.dtype == (np.float64 if kind is np.float64 else np.float32)


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 3)), elements=st.integers(-2, 2)),
    st.integers(1, 6),
)
@settings(max_examples=150, deadline=None)
def test_small_integers_with_all_their_ties(embeddings: Floats, k: int) -> None:
    similarity, index = nearest.neighbours(embeddings, k)
    expected, order = full_matrix(embeddings, k)
    width = min(k, len(embeddings) - 1)
    assert index[:, :width].tolist() == order[:, :width].tolist()
    assert (index[:, width:] == -1).all()
    np.testing.assert_allclose(similarity[:, :width], expected[:, :width], atol=1e-6)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_ties_go_to_the_lower_index(device: str) -> None:
    _, index = nearest.neighbours(np.ones((6, 4), dtype=np.float32), 2, device)
    assert index.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1], [0, 1]]


def test_any_number_of_copies_is_ranked_by_index() -> None:
    """A matrix product of 777 columns gives equal columns values that differ in the last bit."""
    once = np.random.default_rng(0).normal(size=(777, 64)).astype(np.float32)
    similarity, index = nearest.neighbours(np.vstack([once] * 9), 5)
    place = np.arange(len(index))
    copies = place[:, None] % 777 + 777 * np.arange(9)
    expected = [[c for c in row if c != i][:5] for i, row in enumerate(copies.tolist())]
    assert index.tolist() == expected
    assert (similarity == 1).all()


def test_what_a_query_would_replace_does_not_count_but_its_copies_do() -> None:
    table = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=np.float32)
    similarity, index = nearest.against(table[:1], table, 2, np.array([0]))
    assert index.tolist() == [[1, 3]]
    assert similarity[0].tolist() == pytest.approx([1.0, 2**-0.5])
    assert nearest.against(table[:1], table, 2, np.array([-1]))[1].tolist() == [[0, 1]]
    assert nearest.against(table[2:3], table, 2, np.array([2]))[1].tolist() == [[3, 0]]


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_fewer_others_than_k_and_broken_rows(device: str) -> None:
    rows = np.array([[1.0, 0.0], [NAN, 1.0], [0.0, 0.0], [2.0, 0.0], [float("inf"), 0.0]])
    similarity, index = nearest.neighbours(rows, 3, device)
    assert index.tolist() == [[3, 2, -1], [-1, -1, -1], [0, 3, -1], [0, 2, -1], [-1, -1, -1]]
    assert similarity[0, :2].tolist() == [1.0, 0.0]
    assert np.isnan(similarity[1]).all()
    for count in (0, 1):
        few, nobody = nearest.neighbours(np.ones((count, 4), dtype=np.float32), 2, device)
        assert few.shape == nobody.shape == (count, 2)
        assert (nobody == -1).all()


def test_memory_does_not_grow_with_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK_ROWS", 128)
    monkeypatch.setattr(nearest, "BLOCK_COLUMNS", 256)
    monkeypatch.setattr(nearest, "REFINED_BYTES", 2**16)
    embeddings = np.random.default_rng(2).normal(size=(4000, 4)).astype(np.float32)
    tracemalloc.start()
    nearest.neighbours(embeddings, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000, f"{peak} bytes; the full matrix would be {4000 * 4000 * 4}"


def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    rows = np.random.default_rng(3).normal(size=(300, 8)).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert nearest.neighbours(mapped, 2)[1].tolist() == nearest.neighbours(rows, 2)[1].tolist()


def test_the_public_name_stays_and_loads_no_torch() -> None:
    assert thresholds.neighbours is nearest.neighbours
    code = (
        "import sys, numpy as np; from engine.selection import thresholds;"
        "thresholds.neighbours(np.eye(5), 2); raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rows_among_themselves_get_what_each_gets_as_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every similarity serves both of its rows; with copies, zero rows and rows that are not finite among them."""
    monkeypatch.setattr(nearest, "BLOCK_ROWS", 16)
    rng = np.random.default_rng(0)
    rows = rng.integers(-2, 3, (150, 4)).astype(np.float16)  # many copies and ties
    rows[[3, 40, 149]] = np.nan
    rows[[7, 8]] = 0
    products: list[tuple[int, int]] = []
    real = np.matmul

    def counted(a: Any, b: Any, out: Any = None) -> Any:
        products.append((len(a), b.shape[1]))
        return real(a, b, out=out)

    monkeypatch.setattr(np, "matmul", counted)
    for k in (1, 3, 20):
        found = nearest.neighbours(rows, k)
        asked = nearest.against(rows, rows, k, np.arange(len(rows)))
        assert np.array_equal(found[0], asked[0], equal_nan=True)
        assert np.array_equal(found[1], asked[1])
    products.clear()
    kinds = len(np.unique(rows, axis=0))
    nearest.neighbours(rows, 3)
    assert sum(a * b for a, b in products) < 0.65 * kinds**2
