"""What a verdict says of a rewrite, from its signals and its original's."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from engine.config import schema
from engine.signals.losses import Measured
from engine.signals.ratings import Rated
from engine.store.rows import (
    Threshold,
)
from engine.verification import verdicts
from engine.verification.verdicts import Explained, Placed, Values

MARKS = {
    "loss_before": Threshold(0, "loss_before", "complexity", 2.0, 0.5, 1.0, 2.5, None),
    "loss_after": Threshold(0, "loss_after", "complexity", 1.0, 0.2, 1.0, 1.2, None),
    "quality": Threshold(0, "quality", "quality", 6.0, 1.0, 1.0, 5.0, None),
}


OLD = Values(3.0, 2.0, 4.0)


KEPT = Placed(0.9, usual=0.95, on_topic=0.97)


def judged(
    axis: str,
    before: float,
    after: float,
    quality: float,
    placed: Placed = KEPT,
    old: Values = OLD,
    marks: Any = MARKS,
    **limits: float,
) -> verdicts.Outcome:
    rated = Rated((1.0,) * 6, quality, 0.9)
    return verdicts.outcome(
        axis, old, Measured(before, after, None), rated, marks, msgspec.convert(limits, schema.Verify), placed
    )


@pytest.mark.parametrize(
    ("axis", "before", "after", "quality", "doubt"),
    [
        ("complexity", 2.0, 1.9, 5.0, None),
        ("complexity", 2.5, 9.0, 9.0, None),
        ("complexity", 3.0, 1.0, 9.0, "base loss is not lower"),
        ("complexity", 2.6, 1.0, 9.0, "base loss is above the threshold 2.500"),
        ("complexity", 2.0, 1.0, 4.9, "quality is below the threshold 5.00"),
        ("complexity", 2.0, 1.0, 3.4, "quality is more than 0.50 lower"),
        ("quality", 9.0, 1.4, 5.0, None),
        ("quality", 9.0, 1.4, 4.1, "quality is below the threshold 5.00"),
        ("quality", 9.0, 1.4, 4.0, "quality is not higher"),
        ("quality", 9.0, 1.41, 9.0, "tuned loss is above mean + 2 sigma = 1.400"),
        ("diversity", 3.0, 9.0, 5.0, None),
        ("diversity", 3.1, 9.0, 5.0, "base loss is above mean + 2 sigma = 3.000"),
        ("diversity", 3.0, 9.0, 4.9, "quality is below the threshold 5.00"),
    ],
)
def test_what_improved_means(axis: str, before: float, after: float, quality: float, doubt: str | None) -> None:
    got = judged(axis, before, after, quality)
    assert got.improved is (doubt is None)
    assert doubt is None or doubt in got.text
    assert got.rejected is None
    assert f"{quality:.2f}" in got.text


@pytest.mark.parametrize("axis", ["complexity", "diversity", "quality"])
def test_what_has_to_do_with_something_else_is_no_improvement(axis: str) -> None:
    elsewhere = dataclasses.replace(KEPT, on_topic=0.9)
    got = judged(axis, 1.0, 0.5, 8.0, elsewhere)
    assert not got.improved
    assert "10% of random samples share as much with the original" in got.text
    assert judged(axis, 1.0, 0.5, 8.0, elsewhere, on_topic=0.0).improved, "off"
    assert judged(axis, 1.0, 0.5, 8.0, dataclasses.replace(KEPT, on_topic=None)).improved, "too few samples to tell"


def test_what_is_added_must_lie_sparser_than_most() -> None:
    got = judged("diversity", 1.0, 0.5, 8.0, dataclasses.replace(KEPT, similarity=0.99))
    assert not got.improved
    assert "it lies where the densest quarter of the kept samples do (similarity 0.990 (three" in got.text
    assert judged("quality", 1.0, 0.5, 8.0, dataclasses.replace(KEPT, similarity=0.99)).improved, (
        "it takes another's place"
    )


@pytest.mark.parametrize(
    ("flaw", "was", "doubtful"),
    [(0.97, None, False), (0.985, None, True), (0.985, 0.5, True), (0.985, 0.99, False), (1.0, 0.99, True)],
)
def test_what_looks_flawed_is_no_improvement_unless_its_original_looked_worse(
    flaw: float, was: float | None, doubtful: bool
) -> None:
    got = judged("quality", 1.0, 0.5, 8.0, dataclasses.replace(KEPT, flaw=(flaw, "end_of_turn"), was=was))
    assert got.improved is not doubtful
    assert ("it stops before it is complete: worse than 9" in got.text) is doubtful


def test_an_answer_that_its_originals_prompt_does_not_explain_is_no_improvement() -> None:
    near, far = Explained(0.98, 0.99), Explained(0.99, 0.99)
    assert judged("quality", 1.0, 0.5, 8.0, dataclasses.replace(KEPT, explained=near)).improved
    got = judged("quality", 1.0, 0.5, 8.0, dataclasses.replace(KEPT, explained=far))
    assert "its answer is no likelier after the original's prompt than after a random one (IFD 0.99)" in got.text
    assert judged("quality", 1.0, 0.5, 8.0, dataclasses.replace(KEPT, explained=far), on_topic=0.0).improved, "off"


def test_the_floor_is_a_limit_too() -> None:
    floored = {**MARKS, "quality": Threshold(1, "quality", "quality", 8.0, 0.5, 1.0, 7.5, 5.0)}
    assert judged("quality", 1.0, 0.5, 6.0, marks=floored).improved, "7.5 selects nobody: the floor holds"


def test_margins_ask_for_more() -> None:
    for axis in ("complexity", "quality"):
        assert not judged(axis, 2.5, 1.5, 5.0, marks={}, loss_margin=0.5, quality_margin=1.0).improved
        assert judged(axis, 2.4, 1.4, 5.1, marks={}, loss_margin=0.5, quality_margin=1.0).improved


def test_an_original_without_signals_raises_no_doubt() -> None:
    for axis in ("complexity", "quality", "diversity"):
        assert judged(axis, 1.0, 1.0, 5.0, Placed(None), Values(None, None, None), {}).improved


@pytest.mark.parametrize(
    ("measured", "rated"),
    [
        (Measured(None, None, None, "too long"), Rated((1.0,) * 6, 5.0, 0.9)),
        (Measured(1.0, 1.0, None), Rated(None, None, None, "no digits")),
        (Measured(1.0, None, None), Rated((1.0,) * 6, 5.0, 0.9)),
    ],
)
def test_no_signal_no_merge(measured: Measured, rated: Rated) -> None:
    got = verdicts.outcome("quality", OLD, measured, rated, MARKS, schema.Verify(), KEPT)
    assert got.rejected is not None
    assert got.rejected.code == "unmeasured"
    assert not got.improved


def test_a_new_sample_without_a_usual_similarity_is_described_without_one() -> None:
    values = Values(0.1, 0.2, 8.0)
    assert "?" not in verdicts.describe("diversity", values, values, Placed(0.989))
    assert "below 0.970" in verdicts.describe("diversity", values, values, Placed(0.989, 0.97))
