"""What a person does in a review: thin verbs over the engine's journalled commands. Each returns a line to show.

They block until the store has it on disk: call them in a thread, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from engine.plurals import counted
from engine.store import commands
from engine.store.commands import ReviewedVersion
from engine.store.journal import UndoResult
from middo_tui.feed.review import Key
from middo_tui.keys.tables import press


def decide(
    project: Path,
    round: int,
    keys: Sequence[Key],
    state: str,
    seen: Mapping[Key, ReviewedVersion],
    reason: str | None = None,
) -> str:
    """Accept or reject; one is done without a word, several are counted."""
    changed = commands.decide(project, round, keys, state, reason, seen=seen)
    if len(keys) == 1:
        return ""
    left = len(keys) - changed
    also = f" {left:,} were decided elsewhere meanwhile and are unchanged." if left else ""
    return f"{changed:,} {state}.{also} Press {press('review.undo')} to undo."


def edit(project: Path, round: int, key: Key, prompt: str, response: str, seen: ReviewedVersion) -> str:
    """A person's text in place of the teacher's."""
    if commands.edit(project, round, key, prompt, response, seen):
        return f"Edited. Verify rechecks it before the merge; press {press('review.recheck')} to recheck now."
    return "Nothing was changed."


def note(project: Path, round: int, key: Key, text: str) -> str:
    """A remark."""
    if commands.annotate(project, round, key, text.strip()):
        return "Note saved." if text.strip() else "Note removed."
    return ""


def send_back(project: Path, round: int, keys: Sequence[Key], seen: Mapping[Key, ReviewedVersion]) -> str:
    """To be written again."""
    sent = commands.send_back(project, round, keys, seen)
    ways = f"Press {press('review.resume')} to resume the run, {press('review.undo')} to undo."
    return f"Sent {counted(sent, 'rewrite')} back to the teacher. {ways}"


def undo(project: Path, round: int) -> tuple[str, tuple[Key, ...]]:
    """The newest step back; the rewrites that it was about."""
    return _report("Undone", "Nothing to undo in this round.", commands.undo(project, round))


def redo(project: Path, round: int) -> tuple[str, tuple[Key, ...]]:
    """The last undone step again."""
    return _report("Redone", "Nothing to redo.", commands.redo(project, round))


def _changes(count: int, kinds: Set[str]) -> str:
    """So many of one kind, in words; of several kinds: changes."""
    if len(kinds) > 1:
        return counted(count, "change")
    kind = "".join(kinds)
    return counted(count, kind, kind if kind == "sent back" else "")


def _report(verb: str, nothing: str, step: UndoResult) -> tuple[str, tuple[Key, ...]]:
    if step.round is None:
        return nothing, ()
    what = _changes(len(step.keys), step.kinds)
    by = "" if step.source == "app" else f" (by {step.source})"
    stayed = f" {step.stayed:,} changed since and were left alone." if step.stayed else ""
    return f"{verb}: {what}{by}.{stayed}", step.keys
