"""The sentence above the Review screen's keys: what there is to do now, also where there is nothing."""

from __future__ import annotations

from middo_tui.feed.review import REASONS
from middo_tui.notice import Notice
from middo_tui.screens.review_keys import ReviewState


def own_notice(state: ReviewState) -> Notice:
    """What the state of the review asks for."""
    queue = state.queue
    if queue.problem:
        return Notice(queue.problem, "bad")
    if not queue.known:
        return Notice("")
    if state.rejecting:
        reasons = " · ".join(f"{n}\N{NO-BREAK SPACE}{text}" for n, text in enumerate(REASONS, start=1))
        return Notice(f"Reject? {reasons} · r without a reason", "decide")
    if queue.round is None:
        return Notice(_nothing_yet(state), "decide")
    if not queue.rows:
        return Notice(f"Nothing fits the filter “{queue.query.filter}”. f changes it, esc drops it.", "decide")
    if queue.merged:
        return Notice(f"Round {queue.round} is merged: this is its history. {{ and }} change the round.", "dim")
    return _open(state)


def _nothing_yet(state: ReviewState) -> str:
    stage = state.view.current
    now = f" The run is at {stage.name} of round {state.view.round}." if stage and state.view.round is not None else ""
    return f"There are no rewrites yet: they are there to decide on after rewrite and verify.{now} 1 shows the loop."


def _open(state: ReviewState) -> Notice:
    counts, busy = state.queue.counts, state.queue.busy
    if busy:
        return Notice(
            f"{busy} is at work on this round: decide on what has a verdict; texts can be changed after.", "dim"
        )
    if not counts.open and state.goes_on:
        again = f" {counts.unchecked:,} edited texts are checked again first." if counts.unchecked else ""
        if counts.owed:
            return Notice(
                f"{counts.owed:,} wait to be written again: enter runs the teacher and comes back here.", "decide"
            )
        return Notice(f"All {counts.total:,} are decided: enter merges the accepted ones and goes on.{again}", "decide")
    if not counts.open:
        return Notice(f"All {counts.total:,} are decided.", "dim")
    return Notice(_listed(state), "dim")


def _listed(state: ReviewState) -> str:
    """What is listed, when that is not simply everything."""
    query, parts = state.queue.query, []
    if state.ranging:
        parts.append("range: move, then v again")
    if state.marked:
        parts.append(f"{state.marked:,} marked: A and R are for those")
    if query.filter:
        parts.append(f"filter “{query.filter}”: {len(state.queue.rows):,} listed")
    if query.search:
        hits = len(state.queue.hits)
        parts.append(f"“{query.search}”: " + (f"{hits:,} found, n and N go through them" if hits else "nothing found"))
    if query.sort != "place":
        parts.append(f"order: {query.sort}")
    return " · ".join(parts)
