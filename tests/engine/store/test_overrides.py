"""What a person wants of single samples: what is kept, refused, counted, and what the merge makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.stages import merge
from engine.store import write
from engine.store.connect import reader, transaction
from engine.store.overrides import OverridesSet, clear_overrides, counts, current, set_overrides
from engine.store.rows import Message, Retirement, Rewrite, Sample, content_id, dump_messages
from tests.support import rounds, tiny


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """Ten samples; the similarity grows with the place, so the last are the most redundant."""
    out = rounds.project(tmp_path, 10)
    rounds.signal(out, [(1.0, 0.5, 0.1 * i, 6.0) for i in range(10)])
    return out


def actions(made: tiny.Project) -> dict[int, tuple[str, str | None]]:
    """(action, axis) of each override, by place."""
    places = {s.id: s.seq for s in rounds.dataset(made)}
    db = reader(made.folder)
    try:
        return {places[id]: (one.action, one.axis) for id, one in current(db).items()}
    finally:
        db.close()


def test_the_last_override_of_a_sample_holds_until_it_is_cleared(made: tiny.Project) -> None:
    ids = [s.id for s in rounds.dataset(made)]
    assert set_overrides(made.folder, ids[:3], "drop") == OverridesSet(3, 0)
    assert set_overrides(made.folder, ids[1:3], "drop") == OverridesSet(0, 0)
    assert set_overrides(made.folder, [ids[2], 12345], "rewrite", "quality") == OverridesSet(1, 1)
    assert set_overrides(made.folder, [ids[1]], "protect") == OverridesSet(1, 0)
    assert actions(made) == {0: ("drop", None), 1: ("protect", None), 2: ("rewrite", "quality")}
    assert clear_overrides(made.folder, [ids[0], ids[5]]) == 1
    db = reader(made.folder)
    assert counts(db) == {"drop": 0, "protect": 1, "rewrite": 1}
    db.close()


@pytest.mark.parametrize(
    ("action", "axis"), [("keep", None), ("rewrite", None), ("rewrite", "loss"), ("drop", "quality")]
)
def test_an_unknown_override_is_refused(made: tiny.Project, action: str, axis: str | None) -> None:
    with pytest.raises(UsageError):
        set_overrides(made.folder, [rounds.dataset(made)[0].id], action, axis)
    assert actions(made) == {}


def test_no_rewrite_is_asked_for_that_would_lose_something(made: tiny.Project) -> None:
    messages = (Message("user", "hi"), Message("assistant", "one"), Message("assistant", "two"))
    lost = Sample(id=content_id(messages), messages=messages, seq=99, source="x")
    with transaction(made.db):
        write.add_samples(made.db, [lost])
    with pytest.raises(UsageError, match="#99 cannot be rewritten"):
        set_overrides(made.folder, [lost.id], "rewrite", "quality")
    first = rounds.dataset(made)[0].id
    assert set_overrides(made.folder, [lost.id, first], "rewrite", "quality") == OverridesSet(1, 1)


def test_dropped_samples_leave_with_the_merge_and_protected_ones_stay(made: tiny.Project) -> None:
    data = rounds.dataset(made)
    text = dump_messages(tiny.chat("new", "reply"))
    made.ctx("review").save([Rewrite(0, data[i].id, "diversity", "accepted", 1, "new", messages=text) for i in (2, 4)])
    set_overrides(made.folder, [data[0].id], "drop")
    set_overrides(made.folder, [data[9].id], "protect")  # the most redundant
    merge.run(made.ctx("merge"))
    assert [s.seq for s in rounds.dataset(made, 1)] == [
        1,
        2,
        3,
        4,
        5,
        6,
        8,
        9,
        10,
        11,
    ]  # 8 lies beside #0, which leaves
    assert "2 added, 1 redundant one retired" in made.events()[-1]
    assert ", 1 dropped by hand: 10 → 10 samples" in made.events()[-1]
    why = {row.sample_id: row.reason for row in made.ctx("x").rows(Retirement, 1)}
    assert why == {data[0].id: "dropped", data[7].id: "near"}


def test_an_accepted_rewrite_takes_the_place_of_a_dropped_sample(made: tiny.Project) -> None:
    data = rounds.dataset(made)
    text = dump_messages(tiny.chat("better", "reply"))
    made.ctx("review").save([Rewrite(0, data[0].id, "quality", "accepted", 1, "better", messages=text)])
    set_overrides(made.folder, [data[0].id], "drop")
    merge.run(made.ctx("merge"))
    assert rounds.dataset(made, 1)[-1].parent_id == data[0].id
    assert "dropped" not in made.events()[-1]
