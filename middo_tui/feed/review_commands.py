"""What a person does in a review: thin verbs over the engine's journalled commands. Each returns a line to show.

They block until the store has it on disk: call them in a thread, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from engine.store import commands
from engine.store.commands import ReviewedVersion
from engine.store.journal import UndoResult
from middo_tui.feed.review import Key
from middo_tui.keys.tables import press

DONE = {"accepted": "accepted", "rejected": "rejected"}


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
    also = f" {left:,} had been decided meanwhile and stay as they are." if left else ""
    return f"{changed:,} {DONE[state]}.{also} {press('review.undo')} takes that back."


def edit(project: Path, round: int, key: Key, prompt: str, response: str, seen: ReviewedVersion) -> str:
    """A person's text in place of the teacher's."""
    if commands.edit(project, round, key, prompt, response, seen):
        return f"Edited: verify measures it anew before the merge ({press('review.recheck')}: now)."
    return "Nothing was changed."


def note(project: Path, round: int, key: Key, text: str) -> str:
    """A remark."""
    if commands.annotate(project, round, key, text.strip()):
        return "Noted." if text.strip() else "The note is wiped off."
    return ""


def send_back(project: Path, round: int, keys: Sequence[Key], seen: Mapping[Key, ReviewedVersion]) -> str:
    """To be written again."""
    sent = commands.send_back(project, round, keys, seen)
    what = "1 rewrite" if sent == 1 else f"{sent:,} rewrites"
    on, back = press("review.go_on"), press("review.undo")
    return f"{what} will be written again and checked when the run goes on ({on}); until then {back} takes it back."


def undo(project: Path, round: int) -> tuple[str, tuple[Key, ...]]:
    """The newest step back; the rewrites that it was about."""
    return _report("Undone", "Nothing to undo in this round.", commands.undo(project, round))


def redo(project: Path, round: int) -> tuple[str, tuple[Key, ...]]:
    """The last undone step again."""
    return _report("Done again", "Nothing to redo.", commands.redo(project, round))


PLURAL = {"decision": "decisions", "edit": "edits", "note": "notes", "sent back": "sent back"}


def _counted(count: int, kinds: Set[str]) -> str:
    """So many of one kind, in words; of several kinds: changes."""
    if len(kinds) > 1:
        return f"{count:,} changes" if count > 1 else "1 change"
    kind = "".join(kinds)
    return f"{count:,} {kind if count == 1 else PLURAL[kind]}"


def _report(verb: str, nothing: str, step: UndoResult) -> tuple[str, tuple[Key, ...]]:
    if step.round is None:
        return nothing, ()
    what = _counted(len(step.keys), step.kinds)
    by = "" if step.source == "app" else f" (made by: {step.source})"
    stayed = f" {step.stayed:,} had changed since and stay as they are." if step.stayed else ""
    return f"{verb}: {what}{by}.{stayed}", step.keys
