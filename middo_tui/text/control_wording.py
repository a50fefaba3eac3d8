"""What a control says of a round, in a sentence."""

from __future__ import annotations

import sqlite3

from engine.plurals import counted
from engine.store import controls
from engine.store.controls import ControlScore
from middo_tui.text.score_changes import ScoreChange
from middo_tui.text.score_format import amount, error, figure, scale

AGAINST = {
    "random": "the same number of random samples",
    "drop": "dropping the selected samples",
    "none": "the unchanged dataset",
}


UNLIKE = "a person reviewed the round's rewrites but not the control's"


def sentences(db: sqlite3.Connection, round: int) -> list[str]:
    """One for each control of the round that has a result."""
    found = controls.main_results(db, round)
    unlike = any(row.kind == "random" for row in found) and controls.by_hand(db, round)
    return [sentence(row, unlike) for row in found]


def sentence(row: ControlScore, by_hand: bool = False) -> str:
    """E.g. ``selection +14.4 ±2.0 points over the unchanged dataset (accuracy 77.7 against 63.3 %): better``.

    by_hand: a person decided on the round's rewrites, which a control at random does not ask for.
    """
    ours = _score(row, row.ours)
    percent = scale(ours) > 1
    unit, sign = (" points", " %") if percent else ("", "")
    name = {"heldout_loss": "held-out loss"}.get(row.task, row.task)
    said = f"selection {amount(ours, ours.change)}{error(ours, row.stderr)}{unit} over {AGAINST[row.kind]}"
    said += f" ({name} {figure(ours)} against {figure(_score(row, row.value))}{sign}"
    said += f"; {counted(row.ours_calls, 'call')} against {row.calls:,})" if row.ours_calls != row.calls else ")"
    return f"{said}: {_verdict(ours)}" + (f"; {UNLIKE}" if by_hand and row.kind == "random" else "")


def _score(row: ControlScore, value: float) -> ScoreChange:
    return ScoreChange(row.task, value, None, row.ours - row.value, row.stderr, row.paired, row.higher)


def _verdict(one: ScoreChange) -> str:
    if one.beyond is None:
        return "± unknown"
    if not one.beyond or one.better is None:
        return "within chance"
    return "better" if one.better else "worse"
