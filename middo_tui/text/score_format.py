"""Formats evaluation scores: shares in per cent, losses with three decimals, a sign for better or worse."""

from __future__ import annotations

from middo_tui.text import number_format
from middo_tui.text.score_changes import ScoreChange

MAIN_TASKS = ("accuracy", "heldout_loss")
SHORT = {"heldout_loss": "heldout"}
BETTER, WORSE, SAME = "▲", "▼", "≈"


def scale(one: ScoreChange) -> float:
    """Shares are shown in per cent: figures of at most 1 of which more is better."""
    return 100.0 if one.higher and abs(one.value) <= 1 else 1.0


def figure(one: ScoreChange) -> str:
    """The value of a task: per cent with one decimal, or three decimals."""
    factor = scale(one)
    return f"{one.value * factor:.{1 if factor > 1 else 3}f}"


def amount(one: ScoreChange, value: float | None, signed: bool = True) -> str:
    """A change or an error of a task, in the task's own unit."""
    factor = scale(one)
    digits = 1 if factor > 1 else 3
    if value is None:
        return number_format.NONE
    return number_format.change(value * factor, digits) if signed else f"{value * factor:.{digits}f}"


def error(one: ScoreChange, value: float | None) -> str:
    """`` ±1.9``: a standard error in the task's own unit, to stand behind a figure; empty if it is not known."""
    return "" if value is None else f" ±{amount(one, value, signed=False)}"


def mark(one: ScoreChange) -> str:
    """Better or worse by more than two standard errors, or about the same; empty where that cannot be told."""
    if one.beyond is None:
        return ""
    return SAME if not one.beyond or one.better is None else BETTER if one.better else WORSE
