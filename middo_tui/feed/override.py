"""Overrides the signals' decision on samples. Blocks until the store has it: call it in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.plurals import counted
from engine.store.flagging import flag_again, unflag
from engine.store.overrides import clear_overrides, set_overrides

EFFECTS = {
    "drop": "will leave the dataset at the next merge",
    "protect": "protected: never rewritten or retired",
    "rewrite": "will be selected next",
}


def override_samples(project: Path, ids: Sequence[int], choice: str, numbers: Sequence[int] = ()) -> str:
    """Apply ``choice`` (an action, ``rewrite AXIS`` or ``clear``) to ``ids``; returns the sentence to show.

    ``numbers``: the samples' numbers, for the equivalent command line.

    Raises:
        UsageError: a rewrite of the only sample would lose a part of it.
    """
    if choice == "clear":
        cleared = clear_overrides(project, ids)
        return (
            f"{counted(cleared, 'sample')}: the signals decide again." if cleared else "There was no override to clear."
        )
    action, _, axis = choice.partition(" ")
    done = set_overrides(project, ids, action, axis or None)
    left = f" {counted(done.left, 'sample')} skipped: a rewrite would lose something." if done.left else ""
    return (
        f"{counted(done.changed, 'sample')} {EFFECTS[action]}.{left}" if done.changed else f"Nothing to change.{left}"
    )


def toggle_flags(project: Path, ids: Sequence[int]) -> str:
    """Unflag the samples among ``ids`` that are flagged; if none is, flag those again that a person unflagged."""
    if done := unflag(project, ids, source="app"):
        return f"{counted(done, 'sample')} unflagged: from now on it is rated and selected like others."
    if done := flag_again(project, ids):
        return f"{counted(done, 'sample')} flagged again."
    return "None of these samples is flagged."
