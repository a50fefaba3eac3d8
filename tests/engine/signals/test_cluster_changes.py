"""What became of clusters: every kind of change, told by who is in them, whatever their labels are."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from engine.signals import cluster_changes
from engine.signals.cluster_changes import Fate, follow


def labels(*groups: range | list[int], noise: range | list[int] = ()) -> dict[int, int]:  # type: ignore[assignment]
    """Label by sample id: the n-th group is cluster n."""
    return {id: n for n, group in enumerate(groups) for id in group} | dict.fromkeys(noise, -1)


def test_in_the_first_round_all_are_born() -> None:
    assert follow({}, labels(range(5), range(5, 9)), {}) == [
        Fate(0, 0, 5, "born", None, None),
        Fate(1, 1, 4, "born", None, None),
    ]


def test_relabelled_clusters_are_kept_with_their_numbers() -> None:
    before = labels(range(10), range(10, 30), range(30, 60))
    now = labels(range(30, 60), range(10), range(10, 30))
    assert follow(before, now, {}) == [
        Fate(2, 0, 30, "kept", 2, 30),
        Fate(0, 1, 10, "kept", 0, 10),
        Fate(1, 2, 20, "kept", 1, 20),
    ]


def test_growing_shrinking_and_a_tenth_either_way() -> None:
    before = labels(range(20), range(20, 40), range(40, 60))
    now = labels(range(15), [*range(20, 40), *range(90, 100)], range(40, 58))
    assert [(f.number, f.change, f.size, f.previous_size) for f in follow(before, now, {})] == [
        (0, "shrank", 15, 20),
        (1, "grew", 30, 20),
        (2, "kept", 18, 20),
    ]


def test_birth_and_death() -> None:
    before = labels(range(20), range(20, 40))
    now = labels(range(20), range(50, 60), noise=range(20, 40))
    assert follow(before, now, {}) == [
        Fate(0, 0, 20, "kept", 0, 20),
        Fate(2, 1, 10, "born", None, None),
        Fate(-3, None, 0, "died", 1, 20),
    ]


def test_numbers_are_never_given_again() -> None:
    assert follow({}, labels(range(9)), {}, used=[0, 7, -3])[0].number == 8


def test_a_split_names_all_parts_and_the_greatest_keeps_the_number() -> None:
    found = follow(labels(range(30)), labels(range(10), range(10, 30)), {})
    assert found == [Fate(1, 0, 10, "split", 0, 30), Fate(0, 1, 20, "split", 0, 30)]


def test_a_merger_continues_the_greatest_and_nothing_died() -> None:
    found = follow(labels(range(20), range(20, 50)), labels(range(50)), {})
    assert found == [Fate(1, 0, 50, "merged", 1, 30)]


def test_a_replaced_sample_stands_for_its_parent_and_an_added_one_for_nobody() -> None:
    rewritten = {id + 100: id for id in range(10)}
    found = follow(labels(range(10)), labels([*rewritten, 500]), rewritten)
    assert found == [Fate(0, 0, 11, "kept", 0, 10)]
    assert [f.change for f in follow(labels(range(10)), labels([*rewritten, 500]), {})] == ["born", "died"]


def test_a_stray_sample_continues_nothing() -> None:
    before = labels(range(30), range(30, 60), noise=range(60, 90))
    now = labels(range(30, 60), [0, *range(60, 70)], noise=[*range(1, 30), *range(70, 90)])
    assert [(f.number, f.change) for f in follow(before, now, {})] == [(1, "kept"), (2, "born"), (-2, "died")]


def test_what_left_the_dataset_does_not_count_against_a_merger() -> None:
    found = follow(labels(range(20), range(20, 50)), labels([*range(3), *range(20, 50)]), {})
    assert [(f.number, f.change) for f in found] == [(1, "merged")]


def test_nothing_at_all() -> None:
    assert follow({}, {}, {}) == []
    assert follow(labels(noise=range(5)), labels(noise=range(5)), {}) == []


@given(st.dictionaries(st.integers(0, 60), st.integers(-1, 5)), st.dictionaries(st.integers(0, 60), st.integers(-1, 5)))
def test_every_cluster_is_told_of_once_and_numbers_are_unique(before: dict[int, int], now: dict[int, int]) -> None:
    found = follow(before, now, {})
    assert [f.found for f in found if f.found is not None] == sorted(cluster_changes.groups(now))
    assert len({f.number for f in found}) == len(found)
    assert all((f.number >= 0) == (f.found is not None) for f in found)
    assert all((f.previous is None) == (f.change == "born") for f in found)
    names = list(range(-1, 6))
    renamed = dict(zip(names[1:], random.Random(0).sample(names[1:], 6), strict=True)) | {-1: -1}
    again = follow(before, {id: renamed[label] for id, label in now.items()}, {})
    assert sorted(f.size for f in again) == sorted(f.size for f in found)
