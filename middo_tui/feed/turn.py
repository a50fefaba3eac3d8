"""Whose turn it is, and when it has just become the person's."""

from __future__ import annotations

from engine.plurals import counted
from engine.runtime.stalls import MACHINES, STALLED
from middo_tui.feed.view import LoopView

AT_WORK = frozenset({"running", "pausing", "cancelling", "locked", "full"})
NEEDS = {
    "failed": "failed",
    "lost": "the worker is not responding",
    "interrupted": "the worker has died",
    "full": "the disk is full",
    "locked": "another program has locked the database",
    "done": "done",
}
"""States in which nothing, or nothing more, happens by itself."""


def news(before: LoopView, after: LoopView) -> str:
    """What a person should come back for, in a few words; empty if there is nothing new.

    Only what happens while somebody watches: a run that already waits when the app opens is no news, nor is a pause,
    which a person has asked for.
    """
    if after.problem or before.problem or before.state not in AT_WORK:
        return ""
    if after.trouble == STALLED and before.trouble != STALLED:
        return "no progress"
    if after.state == before.state:
        return ""
    if after.state == "waiting":
        if not reviewing(after):
            return "your decision is needed"
        rewrites = after.waiting.open
        return f"{counted(rewrites, 'rewrite')} to review"
    stage = after.current.name if after.state == "failed" and after.current else ""
    said = NEEDS.get(after.state, "")
    return f"{stage} {said}".strip() if said else ""


def _stopped_by(view: LoopView) -> str:
    """Why a stage waits that is no review; empty for a review."""
    stage = view.stage("waiting")
    return stage.error if stage is not None else ""


def reviewing(view: LoopView) -> bool:
    """Whether a run that waits does so for a review, not for an error that a person has to decide on."""
    return view.waiting.open > 0 and not _stopped_by(view)


def merges(view: LoopView) -> bool:
    """Whether all rewrites are decided, so that the run would merge next."""
    decided = view.state == "waiting" and not view.waiting.open and not _stopped_by(view)
    return decided and (view.next is None or view.next[1] not in ("rewrite", "verify"))


def label(view: LoopView) -> tuple[str, str]:
    """The state of the run for the header, and its role: a state in which nothing happens says that it is your turn."""
    if view.problem:
        return f"✘ {view.wrong or 'no data'}", "bad"
    text, role = STATES[view.state]
    if view.state == "waiting":
        text = "! your turn: review" if reviewing(view) else "! your turn: decide"
        if merges(view):
            text = "! your turn: merge"
    if view.trouble == MACHINES and view.state == "running":
        return "! your turn: join machines", "decide"
    return (f"{text}, stalled", "bad") if view.trouble == STALLED else (text, role)


STATES = {
    "running": ("● running", "active-strong"),
    "pausing": ("● pausing", "active-strong"),
    "cancelling": ("● cancelling", "active-strong"),
    "locked": ("● waiting: database locked", "bad"),
    "full": ("● waiting: disk full", "bad"),
    "paused": ("‖ your turn: paused", "decide"),
    "waiting": ("! your turn", "decide"),
    "failed": ("✘ your turn: failed", "bad"),
    "lost": ("? your turn: worker lost", "bad"),
    "interrupted": ("‖ your turn: interrupted", "decide"),
    "cancelled": ("× your turn: cancelled", "decide"),
    "done": ("✔ done", "strong"),
    "new": ("○ your turn: start", "decide"),
    "idle": ("○ your turn: resume", "decide"),
}
