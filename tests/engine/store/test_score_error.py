"""Standard errors of shares where every question says the same: the formula's 0 would be certainty."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.store import flips, paired_difference, read, write
from engine.store.rows import EvalItem, EvalScore
from middo_tui.text import score_changes, score_format
from tests.support.stores import Store


def wilson(right: int, n: int, z: float) -> tuple[float, float]:
    """The interval, by its closed form."""
    p = right / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def measured(db: Store, round: int, marks: list[int], kept: float | None = 0.0) -> None:
    share = sum(marks) / len(marks)
    write.upsert(db.db, [EvalScore(round, "accuracy", share, kept, len(marks))])
    write.upsert(db.db, [EvalItem(round, item, 1.0, 5, "", bool(right)) for item, right in enumerate(marks)])


@pytest.mark.parametrize("right", [0, 12])
def test_all_wrong_or_all_right_is_as_uncertain_as_wilsons_interval(tmp_path: Path, right: int) -> None:
    store = Store(tmp_path / "p").round(0, 2)
    store.db.execute("DELETE FROM score")
    measured(store, 0, [int(bool(right))] * 12)
    error = read.scores(store.db, 0)["accuracy"].stderr
    low, high = wilson(right, 12, 1)
    assert error == pytest.approx(high - low)
    (one,) = score_changes.changes(read.scores(store.db, 0), {})
    assert score_format.figure(one) + score_format.error(one, one.stderr) == f"{right / 12 * 100:.1f} ±7.7"


def test_other_figures_keep_what_was_measured() -> None:
    for score in (
        EvalScore(0, "accuracy", 0.5, 0.1, 25),
        EvalScore(0, "heldout_loss", 0.0, 0.0, 25, higher=False),
        EvalScore(0, "task", 0.0, None, 25),
    ):
        assert score.with_error() == score


def test_a_change_in_which_no_question_differs_is_not_certain(tmp_path: Path) -> None:
    store = Store(tmp_path / "p").round(0, 2).round(1, 2)
    for table in ("score", "eval_item"):
        store.db.execute(f"DELETE FROM {table}")
    measured(store, 0, [1, 0, 0, 1, 0, 0, 0], kept=0.17)
    measured(store, 1, [1, 0, 0, 1, 0, 0, 0], kept=0.17)
    assert paired_difference.errors(store.db, 1) == {"accuracy": pytest.approx(1 / 8)}
    assert flips.compare(store.db, 0, 1).stderr == pytest.approx(1 / 8)
    measured(store, 1, [1, 1, 0, 1, 0, 0, 0], kept=0.18)
    spread = math.sqrt(1 / 7 * 6 / 7 / 7)
    assert paired_difference.errors(store.db, 1) == {"accuracy": pytest.approx(spread)}
