"""The sentence above the Review screen's keys: what there is to do now, also where there is nothing."""

from __future__ import annotations

from engine.plurals import counted
from middo_tui.feed.review import REASONS, Queue
from middo_tui.feed.review_order import SORTS
from middo_tui.keys.tables import press
from middo_tui.screens.review.keys import ReviewState
from middo_tui.text.notice import Notice


def own_notice(state: ReviewState) -> Notice:
    """What the state of the review asks for."""
    queue = state.queue
    if queue.problem:
        return Notice(queue.problem, "bad")
    if not queue.known:
        return Notice("")
    if state.rejecting:
        reasons = " · ".join(f"{n}\N{NO-BREAK SPACE}{text}" for n, text in enumerate(REASONS, start=1))
        return Notice(f"Reject? {reasons} · {press('review.reason-0')} without a reason", "decide")
    if queue.round is None:
        return Notice(_nothing_yet(state), "decide")
    if not queue.rows:
        ways = f"Press {press('review.filter')} to change it, {press('review.clear')} to clear it."
        return Notice(f"No rewrite matches the filter “{queue.query.filter}”. {ways}", "decide")
    said = _merged(queue) if queue.merged else _open(state)
    listed = _listed(state)
    return said._replace(text=f"{listed}. {said.text}") if listed and listed != said.text else said


def _merged(queue: Queue) -> Notice:
    ways = f"Press {press('review.round--1')} or {press('review.round-1')} for another round."
    return Notice(f"Round {queue.round} is merged; this is its history. {ways}", "dim")


def _nothing_yet(state: ReviewState) -> str:
    stage = state.view.current
    now = f" The run is at {stage.name} of round {state.view.round}." if stage and state.view.round is not None else ""
    back = f"Press {press('app.go-loop')} for the Loop screen."
    return f"No rewrites yet: they come with the rewrite and verify stages.{now} {back}"


def _open(state: ReviewState) -> Notice:
    counts, busy, on = state.queue.counts, state.queue.busy, press("review.resume")
    if busy:
        return Notice(
            f"{busy} is running: you can decide on rewrites that have a verdict, and edit texts afterwards.", "dim"
        )
    if not counts.open and state.goes_on:
        if counts.pending:
            pending = counted(counts.pending, "rewrite")
            return Notice(f"{pending} pending. Press {on} to have the teacher write again, then review.", "decide")
        again = f" {_texts(counts.unchecked)} rechecked first." if counts.unchecked else ""
        return Notice(f"{_all(counts.total)}. Press {on} to merge the accepted ones and continue.{again}", "decide")
    if not counts.open:
        return Notice(f"{_all(counts.total)}.", "dim")
    return Notice(_listed(state) or _left(state), "dim")


def _texts(count: int) -> str:
    return f"{counted(count, 'edited text')} {'is' if count == 1 else 'are'}"


def _all(count: int) -> str:
    return "The only rewrite is decided" if count == 1 else f"All {count:,} rewrites are decided"


def _left(state: ReviewState) -> str:
    """What is undecided, by what the signals say, and what they have decided already."""
    better, worse, open_ = state.accepts, state.rejects, state.queue.counts.open
    parts = [f"{open_:,} undecided", f"{better:,} improved"]
    parts += [f"{worse:,} not improved"] if worse else []
    parts += [f"{open_ - better - worse:,} not measured"] if open_ > better + worse else []
    refused = state.queue.counts.refused
    parts += [counted(refused, "failed check")] if refused else []
    return " · ".join(parts)


def _listed(state: ReviewState) -> str:
    """What is listed, when that is not simply everything."""
    query, parts = state.queue.query, []
    if state.ranging:
        parts.append(f"range: move, then press {press('review.range')} again")
    if state.marked:
        parts.append(
            f"{state.marked:,} marked: {press('review.accept_batch')} and {press('review.reject_batch')} apply to these"
        )
    if query.filter:
        clear = "" if query.search else f", {press('review.clear')} to clear"
        parts.append(f"filter “{query.filter}”: {len(state.queue.rows):,} listed{clear}")
    if query.search:
        hits = len(state.queue.hits)
        parts.append(
            f"“{query.search}”: "
            + (
                f"{hits:,} found, {press('review.hit-1')} and {press('review.hit--1')} to move between them"
                if hits
                else "no matches"
            )
        )
    if query.sort not in (SORTS[0].name, "place"):
        parts.append(f"order: {next(order.help for order in SORTS if order.name == query.sort)}")
    return " · ".join(parts)
