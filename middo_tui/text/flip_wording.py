"""Sentences about held-out questions that flipped between two rounds."""

from __future__ import annotations

from engine.plurals import counted
from engine.store.flips import QuestionComparison
from middo_tui.text import number_format
from middo_tui.text.score_changes import CHANCE
from middo_tui.text.score_format import BETTER, SAME, WORSE


def beyond(one: QuestionComparison) -> bool | None:
    """Whether the change is more than two standard errors, question by question; None without replies."""
    if one.change is None or one.stderr is None:
        return None
    return abs(one.change) > CHANCE * one.stderr


def mark(one: QuestionComparison) -> str:
    """▲ or ▼ beyond chance, ≈ within, empty where it cannot be told."""
    if one.change is None or (past := beyond(one)) is None:
        return ""
    return SAME if not past else BETTER if one.change > 0 else WORSE


def change(one: QuestionComparison) -> str:
    """E.g. ``+12.1 ±2.0 points``; the dash without replies."""
    if one.change is None:
        return number_format.NONE
    error = "" if one.stderr is None else f" ±{one.stderr * 100:.1f}"
    return f"{number_format.change(one.change * 100, 1)}{error} points"


def verdict(one: QuestionComparison) -> str:
    """The comparison in a sentence or two."""
    if not one.asked:
        asked = counted(len(one.questions), "held-out question")
        return f"{asked}, of which only the loss was measured. To compare replies, set [evaluate] exact_match = true."
    gained, lost = len(one.gained), len(one.lost)
    words = {True: "beyond chance", False: "within chance", None: "too few questions to tell"}[beyond(one)]
    right = f"{gained:,} of {counted(one.asked, 'question')} went from wrong to right and {lost:,} from right to wrong"
    return f"From round {one.before} to round {one.after}, {right}: {change(one)}, {words}."
