"""Drawing samples to label, and keeping what a person says of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.store import labels
from engine.store.connect import reader
from engine.store.rows import Flaw
from tests.support import rounds, tiny


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """Fifty scored samples whose flaw score grows with the place."""
    out = rounds.project(tmp_path, 50)
    ids = [s.id for s in rounds.dataset(out)]
    out.ctx("score").save([Flaw(0, id, (i + 0.5) / 50, "ifd") for i, id in enumerate(ids)])
    return out


def drawn(made: tiny.Project) -> list[labels.Labelled]:
    db = reader(made.folder)
    try:
        return labels.drawn(db)
    finally:
        db.close()


def test_the_draw_takes_as_many_of_every_tenth_of_the_score_in_an_order_that_says_nothing(made: tiny.Project) -> None:
    assert labels.draw(made.folder, 20, seed=0) == 20
    found = drawn(made)
    assert Counter(row.stratum for row in found) == dict.fromkeys(range(10), 2)
    assert all(row.seq // 5 == row.stratum and row.share == pytest.approx(0.1) for row in found)
    assert [row.stratum for row in found] != sorted(row.stratum for row in found)
    with pytest.raises(UsageError, match="drawn already"):
        labels.draw(made.folder, 20, seed=0)


def test_a_fresh_draw_keeps_what_was_labelled(made: tiny.Project) -> None:
    labels.draw(made.folder, 10, seed=0)
    first, second, *_ = [row.sample_id for row in drawn(made)]
    assert labels.label(made.folder, [(first, "flawed", "cut off"), (second, "good", ""), (7, "good", "")]) == 2
    assert labels.label(made.folder, [(first, "flawed", "cut off")]) == 0
    labels.draw(made.folder, 10, seed=1, fresh=True)
    kept = {row.sample_id: (row.label, row.kind) for row in drawn(made) if row.label}
    assert kept == {first: ("flawed", "cut off"), second: ("good", "")}
    assert labels.label(made.folder, [(second, None, "")]) == 1
    assert sum(row.label is not None for row in drawn(made)) == 1


def test_nothing_is_drawn_before_samples_are_scored(tmp_path: Path) -> None:
    made = rounds.project(tmp_path, 5)
    with pytest.raises(UsageError, match="no sample has a flaw score yet"):
        labels.draw(made.folder, 5, seed=0)


@pytest.mark.parametrize("said", [("bad", ""), ("good", "cut off"), ("flawed", "ugly"), (None, "cut off")])
def test_an_unknown_label_is_refused_whole(made: tiny.Project, said: tuple[str | None, str]) -> None:
    labels.draw(made.folder, 10, seed=0)
    ids = [row.sample_id for row in drawn(made)]
    with pytest.raises(UsageError):
        labels.label(made.folder, [(ids[0], "good", ""), (ids[1], *said)])
    assert all(row.label is None for row in drawn(made))
