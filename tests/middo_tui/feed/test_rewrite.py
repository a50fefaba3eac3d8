"""The signs beside a rewrite's signals never say the opposite of its verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store import connect
from engine.store.rows import AXES
from middo_tui.feed.rewrite import Delta, load
from tests.support.reviews import reviewing


def deltas(project: Path, axis: str, **columns: object) -> dict[str, Delta]:
    """What is shown of the first rewrite on ``axis`` with these columns."""
    key = next(key for key in reviewing(project, 6) if key[1] == axis)
    db = connect.writer(project)
    for name, value in columns.items():
        db.execute(f"UPDATE rewrite SET {name}=? WHERE sample_id=?", (value, key[0]))
    db.close()
    return {delta.name: delta for delta in load(project, 0, [key])[0].deltas}


def test_what_is_added_is_held_against_what_is_usual_not_against_its_core(tmp_path: Path) -> None:
    """The core was chosen for lying apart: nothing that is added lies further off."""
    shown = deltas(tmp_path / "p", "diversity", new_similarity=0.93, usual_similarity=0.97, improved=1)
    assert (shown["sim vs most"].old, shown["sim vs most"].new, shown["sim vs most"].better) == (0.97, 0.93, True)
    dense = deltas(tmp_path / "q", "diversity", new_similarity=0.99, usual_similarity=0.97, improved=0)
    assert dense["sim vs most"].better is False
    before = deltas(tmp_path / "r", "diversity", new_similarity=0.99, usual_similarity=None, improved=1)
    assert before["sim"].better is None, "an older round kept no measure, and one by evidence has none"


@pytest.mark.parametrize("axis", AXES)
def test_a_sign_stands_at_the_signal_that_the_verdict_judges(tmp_path: Path, axis: str) -> None:
    """All others may change for the worse within what the verdict allows."""
    values = {"loss_before": 9.0, "loss_after": 9.0, "similarity": 0.99, "quality": 1.0}
    shown = deltas(tmp_path / "p", axis, **{f"new_{name}": value for name, value in values.items()}, improved=0)
    judged = {"complexity": "base loss", "diversity": "sim vs most", "quality": "quality"}[axis]
    assert {name for name, delta in shown.items() if delta.better is False} <= {judged}


def test_why_a_new_sample_was_asked_for_names_no_threshold_where_evidence_chose_it(tmp_path: Path) -> None:
    """Beside the evidence rule the thresholds are there for the verdicts alone; nobody was selected by them."""
    project = tmp_path / "p"
    key = next(key for key in reviewing(project, 6) if key[1] == "diversity")

    def why() -> str:
        blocks = [block for block in load(project, 0, [key])[0].blocks if block.title == "why it was selected"]
        return "".join(part.text for block in blocks for part in block.parts)

    assert "threshold" in why()
    db = connect.writer(project)
    db.execute(
        "INSERT INTO threshold (round, signal, axis, mean, sigma, m, cut, rule, detail)"
        " VALUES (0, 'flaw', 'quality', 0.5, 0.3, 1.0, 0.9, 'evidence', '{}')"
    )
    db.close()
    assert "threshold" not in why()
    assert "few samples lie near it and the tuned model is weak there (similarity " in why()
