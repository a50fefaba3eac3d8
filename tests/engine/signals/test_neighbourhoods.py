"""Neighbours by parity, clusters over rounds and their rows, from embeddings given by hand."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from engine import loop
from engine.config.schema import parse, slice_hash
from engine.signals import neighbour_index, neighbourhoods
from engine.store import write
from engine.store.rows import Cluster, Neighbourhood, Sample
from middo_tui.text import status
from tests.support import rounds, tiny

REFERENCE = '[select]\nparity = "reference"\n'
PLANE = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.2, 1]], dtype=np.float16)


def written(
    made: tiny.Project, array: NDArray[np.float16], keys: Sequence[Hashable | None] | None = None, round: int = 0
) -> dict[int, Neighbourhood]:
    """The rows for this round's dataset, saved; neighbourhoods by sample id."""
    ctx = made.ctx("score", round)
    data = ctx.dataset()
    rows, _ = neighbourhoods.rows(ctx, data, keys or [s.id for s in data], array)
    write.save(made.db, round, "score", rows, None)
    return {row.sample_id: row for row in ctx.rows(Neighbourhood)}


def near(made: tiny.Project, found: dict[int, Neighbourhood]) -> list[list[int]]:
    """Neighbours by place in the dataset."""
    ids = [s.id for s in rounds.dataset(made)]
    return [[ids.index(n) for n in json.loads(found[id].neighbours)] if id in found else [] for id in ids]


def cosine(a: NDArray[np.float16], b: NDArray[np.float16]) -> float:
    one, two = a.astype(float), b.astype(float)
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def test_copies_are_no_neighbours_however_many(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 9)
    array = PLANE[[0, 1, 2, 3, 3, 3, 3, 3, 3]]
    found = written(made, array, ["a", "b", "c", *["d"] * 6])
    assert near(made, found)[3:] == [[2, 1]] * 6, "the six see what the one would see"
    assert found[rounds.dataset(made)[8].id].similarity == pytest.approx(
        (cosine(PLANE[3], PLANE[2]) + cosine(PLANE[3], PLANE[1])) / 2
    )


def test_with_the_references_parity_every_other_row_counts(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 7, REFERENCE)
    array = PLANE[[0, 1, 2, 3, 3, 3, 2]]
    found = written(made, array, ["a", "b", "c", "d", "d", "d", "c"])
    assert near(made, found) == [[1, 3], [0, 3], [6, 3], [4, 5], [3, 5], [3, 4], [2, 3]]
    ids = [s.id for s in rounds.dataset(made)]
    assert [found[ids[i]].similarity for i in (3, 4, 5)] == [1.0, 1.0, 1.0], "copies hide that nothing else is near"
    assert found[ids[2]].similarity == pytest.approx((1 + cosine(PLANE[2], PLANE[3])) / 2)


def test_the_references_parity_is_the_full_matrix_over_all_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(30, 5)).astype(np.float16)
    which = np.concatenate([np.arange(30), rng.integers(0, 30, 20)])
    made = rounds.project(tmp_path, 50, REFERENCE + "neighbours = 4\n")
    found = written(made, base[which], which.tolist())
    unit = base[which].astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    matrix = (unit @ unit.T).round(9)
    np.fill_diagonal(matrix, -2)
    best = -np.sort(-matrix, axis=1)[:, :4]
    assert [found[s.id].similarity for s in rounds.dataset(made)] == pytest.approx(best.mean(axis=1), abs=1e-6)


def test_copies_alone_are_neighbours_only_for_the_reference(tmp_path: Path) -> None:
    for folder, extra, expected in (("a", "", [[], [], []]), ("b", REFERENCE, [[1, 2], [0, 2], [0, 1]])):
        made = rounds.project(tmp_path / folder, 3, extra)
        assert near(made, written(made, PLANE[[0, 0, 0]], ["x"] * 3)) == expected
    assert written(rounds.project(tmp_path / "c", 0), PLANE[:0]) == {}


def test_what_has_no_embedding_has_no_row_and_clusters_can_be_off(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 4, "[score]\nclusters = false\n")
    array = PLANE.copy()
    array[1] = np.nan
    found = written(made, array, ["a", None, "c", "d"])
    assert near(made, found) == [[3, 2], [], [3, 0], [2, 0]]
    assert {row.cluster for row in found.values()} == {None}
    assert status.gather(tmp_path)["rounds"][0]["clusters"] is None
    assert made.ctx("score").rows(Cluster) == []


def blobs(*sizes: int) -> NDArray[np.float16]:
    """So many rows around each corner of a space."""
    rng = np.random.default_rng(1)
    corners = np.eye(len(sizes), 6) * 4
    return np.vstack([corners[n] + 0.3 * rng.normal(size=(size, 6)) for n, size in enumerate(sizes)]).astype(np.float16)


def test_clusters_are_written_with_an_exemplar_and_copies_share_theirs(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 65)
    array = blobs(30, 20, 12)
    found = written(made, np.vstack([array, array[[0, 0, 31]]]), [*range(62), 0, 0, 31])
    data = rounds.dataset(made)
    label = [found[s.id].cluster for s in data]
    assert (label[0], label[31], label[-3:]) == (0, 1, [0, 0, 1])
    rows = made.ctx("score").rows(Cluster)
    assert [(c.cluster, c.change, c.previous) for c in rows] == [(n, "born", None) for n in range(3)]
    assert [c.size for c in rows] == [label.count(n) for n in range(3)]
    for row in rows:
        members = [n for n in found.values() if n.cluster == row.cluster]
        best = next(n for n in members if n.sample_id == row.exemplar)
        assert best.outlier == min(n.outlier for n in members if n.outlier is not None)
    assert "3 clusters of" in made.events()[-1]


def test_clusters_keep_their_numbers_over_rounds(tmp_path: Path) -> None:
    """The greatest loses most of its samples, the smallest grows: the labels change places, the numbers do not."""
    made = rounds.project(tmp_path, 62)
    array = blobs(30, 20, 12)
    first = written(made, array)
    data = rounds.dataset(made)
    rounds.open_round(made, 1)
    retired, replaced = data[:20], data[50]
    texts = [tiny.chat(f"more {i}", "yes") for i in range(15)]
    born = [replace(s, seq=100 + i, born_round=1, axis="diversity") for i, s in enumerate(tiny.samples(texts))]
    born[0] = replace(born[0], parent_id=replaced.id, axis="quality")
    write.replace(made.db, 0, born, [*[s.id for s in retired], replaced.id], [])
    rows = {s.id: array[i] for i, s in enumerate(data)} | {
        s.id: array[50 + i % 12] + i / 99 for i, s in enumerate(born)
    }
    now: list[Sample] = rounds.dataset(made, 1)
    second = written(made, np.array([rows[s.id] for s in now], dtype=np.float16), round=1)
    both = [s.id for s in now if s.id in first and first[s.id].cluster != -1 and second[s.id].cluster != -1]
    assert len(both) > 30
    assert all(first[id].cluster == second[id].cluster for id in both)
    assert second[born[0].id].cluster == first[replaced.id].cluster == 2
    changes = {c.cluster: (c.change, c.previous) for c in made.ctx("score", 1).rows(Cluster)}
    assert changes == {0: ("shrank", 0), 1: ("kept", 1), 2: ("grew", 2)}
    assert "1 kept, 1 grew, 1 shrank" in made.events()[-1]


def test_a_cluster_that_died_keeps_its_exemplar(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 62)
    array = blobs(30, 20, 12)
    written(made, array)
    exemplar = {c.cluster: c.exemplar for c in made.ctx("score").rows(Cluster)}
    rounds.open_round(made, 1)
    write.replace(made.db, 0, [], [s.id for s in rounds.dataset(made)[50:]], [])
    written(made, array[:50], round=1)
    dead = made.ctx("score", 1).rows(Cluster)[0]
    assert dead == Cluster(1, -4, 0, exemplar[2], "died", 2, 12)
    told = [found["clusters"] for found in status.gather(tmp_path)["rounds"]]
    noise = sum(row.cluster == -1 for row in made.ctx("score").rows(Neighbourhood))
    assert told[0] == {"count": 3, "noise": noise, "born": 3, "died": 0, "grew": 0, "shrank": 0}
    assert (told[1]["count"], told[1]["born"], told[1]["died"]) == (2, 0, 1)


def test_the_same_embeddings_give_the_same_rows(tmp_path: Path) -> None:
    one, two = (rounds.project(tmp_path / name, 62) for name in "ab")
    assert written(one, blobs(30, 20, 12)) == written(two, blobs(30, 20, 12))


@pytest.mark.parametrize("key", ['select.parity = "reference"', "score.clusters = false", "score.min_cluster_size = 9"])
def test_the_score_stage_says_that_it_depends_on_these_settings(key: str) -> None:
    depends = loop.spec("score").config
    assert slice_hash(parse(key, "x"), depends) != slice_hash(parse("", "x"), depends)


@pytest.mark.parametrize(
    ("settings", "says"),
    [("", ["neighbours were found by an index (100.00% of the true neighbours of 62 sampled prompts"])]
    + [(s, []) for s in (REFERENCE, '[score]\nneighbour_search = "exact"\n')],
)
def test_of_many_prompts_an_index_finds_the_neighbours_but_where_all_pairs_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, says: list[str]
) -> None:
    exact, made = (rounds.project(tmp_path / name, 62, settings) for name in "ab")
    array = blobs(30, 20, 12)
    expected = written(exact, array)
    monkeypatch.setattr(neighbour_index, "LEAST_ROWS", 62)
    assert written(made, array) == expected
    said = [event for event in made.events() if "by an index" in event]
    assert [event.partition(";")[0] for event in said] == says
