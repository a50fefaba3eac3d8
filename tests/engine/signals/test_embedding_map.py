"""The map of a round: places and axes against numpy's SVD, the file, and one basis for several rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.files.embedding_map_file import MAP, STEPS, MapFile
from engine.files.whole_file import cut_off
from engine.signals import embedding_map
from engine.signals.embedding_map import fit, project
from tests.support import tiny

WIDTH = 12


def rows(count: int = 40, seed: int = 0, width: int = WIDTH) -> NDArray[np.float16]:
    """Rows that vary mostly in two directions, around a mean of their own."""
    draw = np.random.default_rng(seed)
    scales = np.array([3.0, 2.0, *[0.2] * (width - 2)])
    found: NDArray[np.float16] = (draw.normal(size=(count, width)) * scales + draw.normal(size=width)).astype(
        np.float16
    )
    return found


def by_svd(found: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(mean, two axes with a positive largest entry, shares of the variance) of rows at unit length."""
    units = found.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    mean = units.mean(axis=0)
    _, sizes, axes = np.linalg.svd(units - mean, full_matrices=False)
    top = axes[:2] * np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    return mean, top, (sizes**2 / (sizes**2).sum())[:2]


def test_axes_places_and_shares_are_those_of_the_svd() -> None:
    found = rows()
    mean, axes, shares = by_svd(found)
    basis = fit(found, 3, seed=0)
    assert basis is not None
    assert basis.round == 3
    np.testing.assert_allclose(basis.mean, mean, atol=1e-6)
    np.testing.assert_allclose(basis.axes, axes, atol=1e-4)
    projected = project(found, basis)
    units = found.astype(np.float64) / np.linalg.norm(found.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(projected.places, (units - mean) @ axes.T, atol=1e-4)
    np.testing.assert_allclose(projected.shares, shares, atol=1e-3)


def test_rows_without_an_embedding_have_no_place_and_move_nobody() -> None:
    whole = rows()
    holed = np.insert(whole, 7, np.nan, axis=0)
    basis, same = fit(whole, 0, seed=0), fit(holed, 0, seed=0)
    assert basis is not None
    assert same is not None
    np.testing.assert_array_equal(basis.axes, same.axes)
    places = project(holed, same).places
    assert np.isnan(places[7]).all()
    np.testing.assert_array_equal(np.delete(places, 7, axis=0), project(whole, basis).places)


def test_a_large_dataset_is_fitted_on_some_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(4_000)
    monkeypatch.setattr(embedding_map, "FITTED", 500)
    basis = fit(found, 0, seed=0)
    assert basis is not None
    assert np.abs(np.sum(basis.axes * by_svd(found)[1], axis=1)).min() > 0.99


@pytest.mark.parametrize("found", [rows(1), np.full((3, WIDTH), np.nan, np.float16), np.zeros((0, WIDTH), np.float16)])
def test_without_two_embeddings_there_are_no_axes(found: NDArray[np.float16]) -> None:
    assert fit(found, 0, seed=0) is None


def test_equal_rows_lie_on_one_point_and_show_nothing() -> None:
    found = np.ones((4, WIDTH), np.float16)
    basis = fit(found, 0, seed=0)
    assert basis is not None
    projected = project(found, basis)
    np.testing.assert_allclose(projected.places, 0, atol=1e-6)
    assert projected.shares == (0.0, 0.0)


class _Maps:
    """A project of as many samples as there are rows, and its maps."""

    def __init__(self, folder: Path, count: int) -> None:
        self.project = tiny.Project(folder, tiny.make_config(Path("none")), tiny.chats(count))
        self.ids = self.project.ctx("score").dataset().ids

    def publish(self, found: NDArray[np.float16], round: int = 0, space: str = "base mean") -> MapFile:
        ctx = self.project.ctx("score", round)
        embedding_map.publish(ctx, self.ids, found, space)
        return self.open(round)

    def open(self, round: int = 0) -> MapFile:
        path = self.project.ctx("score", round).artifact(MAP)
        assert path is not None
        return MapFile(path)


@pytest.fixture
def maps(tmp_path: Path) -> _Maps:
    return _Maps(tmp_path / "p", 20)


def places_of(one: MapFile) -> NDArray[np.float64]:
    """[placed, 2] by id, as the file has them."""
    low, high = np.array(one.head.ends[:2]), np.array(one.head.ends[2:])
    steps = np.array([one.x, one.y], dtype=np.float64).T
    places: NDArray[np.float64] = low + steps / STEPS * (high - low)
    return places[np.argsort(one.order)]


def test_the_file_has_every_place_in_eight_bytes_sorted_by_the_first(maps: _Maps) -> None:
    found = rows(20)
    found[4] = np.nan
    one = maps.publish(found)
    by_id = np.argsort(maps.ids)
    basis = fit(found, 0, seed=0)
    assert basis is not None
    wanted = project(found, basis).places[by_id]
    placed = np.isfinite(wanted[:, 0])
    assert sorted(one.order) == np.flatnonzero(placed).tolist()
    assert list(one.x) == sorted(one.x)
    np.testing.assert_allclose(places_of(one), wanted[placed], atol=2e-4)
    assert (one.head.rows, one.head.basis_round) == (20, 0)
    left, lower, right, upper = one.head.frame
    assert left < wanted[placed][:, 0].min() + 0.05
    assert right > wanted[placed][:, 0].max() - 0.05
    assert lower < upper


def test_a_later_round_lies_on_the_axes_of_the_first(maps: _Maps) -> None:
    first, second = rows(20), rows(20, seed=1)
    before, after = maps.publish(first), maps.publish(second, 1)
    assert after.head.basis_round == 0
    assert list(after.basis) == list(before.basis)
    basis = fit(first, 0, seed=0)
    assert basis is not None
    np.testing.assert_allclose(places_of(after), project(second, basis).places[np.argsort(maps.ids)], atol=3e-4)
    assert maps.publish(first, 1).head.ends == before.head.ends, "the same embeddings lie at the same places"


def test_another_model_another_width_or_a_damaged_file_begins_anew(maps: _Maps) -> None:
    maps.publish(rows(20))
    assert maps.publish(rows(20), 1, "other mean").head.basis_round == 1
    assert maps.publish(rows(20, width=8), 1).head.basis_round == 1
    path = maps.project.ctx("score").artifact(MAP)
    assert path is not None
    path.write_bytes(path.read_bytes()[:40])
    assert maps.publish(rows(20), 1).head.basis_round == 1


def test_a_cut_off_map_is_found(maps: _Maps) -> None:
    maps.publish(rows(20))
    path = maps.project.ctx("score").artifact(MAP)
    assert path is not None
    whole = path.read_bytes()
    assert cut_off(path) == ""
    path.write_bytes(whole[:-8])
    assert "cut off" in cut_off(path)
    path.write_bytes(whole[:30])
    assert "header" in cut_off(path)
