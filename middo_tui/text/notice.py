"""The one line that says what is going on and what to do next: on the screen, and at the end of the plain lines.

Every state has one, also the empty and the broken ones, and each names the way out.
"""

from __future__ import annotations

from typing import NamedTuple

from middo_tui.feed.view import LoopView, StageView
from middo_tui.keys.tables import press
from middo_tui.text import number_format


class Notice(NamedTuple):
    """A sentence and its role in ``theme.ROLES``."""

    text: str
    role: str = ""


def notice(view: LoopView, keys: bool = True) -> Notice:
    """What ``view`` asks for. ``keys``: name the app's keys; otherwise the sentence stands alone."""
    if view.problem:
        return Notice(view.problem, "bad")
    says = {
        "new": _new,
        "running": _running,
        "pausing": _pausing,
        "cancelling": _cancelling,
        "paused": _paused,
        "cancelled": _cancelled,
        "interrupted": _interrupted,
        "lost": _lost,
        "locked": _held,
        "full": _held,
        "waiting": _waiting,
        "failed": _failed,
        "idle": _idle,
        "done": _done,
    }[view.state]
    return says(view, keys)


def _where(view: LoopView) -> str:
    stage = view.current
    if stage is None:
        return f"round {view.round}"
    at = f" at {stage.share:.0%}" if stage.total and stage.state != "pending" else ""
    return f"{stage.name} of round {view.round}{at}"


def _do(keys: bool, what: str) -> str:
    return f"  {what}" if keys else ""


def _run(keys: bool, what: str) -> str:
    return _do(keys, f"{press('loop.run')} {what}")


def _new(view: LoopView, keys: bool) -> Notice:
    size = view.table[0].size if view.table else 0
    if not size:
        return Notice("There is no data yet. Add some: middo-tui import DIR FILE", "decide")
    what = _run(keys, "starts round 0 of the loop.")
    return Notice(f"{size:,} samples are ready, nothing has run yet.{what}", "decide")


def says_teacher(view: LoopView) -> bool:
    """Whether the screen's notice is about what the teacher takes, so that nothing beside it need be."""
    return bool(view.teacher and view.state == "running" and view.current and view.current.name == "rewrite")


def _running(view: LoopView, keys: bool) -> Notice:
    if view.held:
        ways = _do(
            keys, f"{press('loop.pause')} pauses it, {press('loop.cancel')} stops it now; it can go on from there."
        )
        return Notice(f"{view.held} Look at logs/ in the project.{ways}", "bad")
    if keys and says_teacher(view):  # the plain lines have a line for it
        if view.batch:
            leave = f"It may take hours: {press('app.leave')} quits, the terminal can be closed, the run goes on."
            return Notice(f"{view.batch[0].upper()}{view.batch[1:]}. {leave} Teacher: {view.teacher}", "dim")
        if view.writing:
            return Notice(f"{view.writing[0].upper()}{view.writing[1:]}. Teacher: {view.teacher}", "dim")
        return Notice(f"teacher: {view.teacher}", "dim")
    if view.holds_until is not None:
        at = number_format.clock(view.holds_until, seconds=True)
        what = _do(keys, f"{press('loop.undo')} undoes the merge; {press('loop.run')} begins at once.")
        return Notice(f"Round {view.undo} is merged. The next round begins at {at}.{what}", "decide")
    if view.until:
        return Notice(f"Stops after {view.until}.", "dim")
    return Notice("Auto-review is on: rewrites that the signals call better are accepted." if view.auto else "", "dim")


def _pausing(view: LoopView, keys: bool) -> Notice:
    return Notice(f"Pausing: {_where(view)} stops at its next safe point and frees the machine.", "strong")


def _cancelling(view: LoopView, keys: bool) -> Notice:
    ended = " The provider is asked to end its batch; what it has done is taken in." if view.batch else ""
    return Notice(f"Cancelling {_where(view)}: what is saved stays.{ended}", "strong")


def _paused(view: LoopView, keys: bool) -> Notice:
    out = f" The provider goes on with its {view.batch}." if view.batch else ""
    return Notice(f"Paused in {_where(view)}.{out}{_run(keys, 'goes on from there.')}", "decide")


def _cancelled(view: LoopView, keys: bool) -> Notice:
    return Notice(f"Cancelled in {_where(view)}.{_run(keys, 'goes on from what is saved.')}", "decide")


def _interrupted(view: LoopView, keys: bool) -> Notice:
    go_on = _run(keys, "goes on from there.")
    return Notice(f"Interrupted: the worker ended in {_where(view)}. Nothing saved is lost.{go_on}", "decide")


def _lost(view: LoopView, keys: bool) -> Notice:
    text = f"The worker lives but is silent, in {_where(view)}. Look at logs/worker.log in the project."
    return Notice(text + _do(keys, f"{press('loop.cancel')} cancels it."), "bad")


def _held(view: LoopView, keys: bool) -> Notice:
    out = "Free 64 MB or more" if view.state == "full" else "End that program"
    return Notice(f"{view.held} {out}: {_where(view)} then goes on by itself, nothing is lost.", "bad")


def _waiting(view: LoopView, keys: bool) -> Notice:
    waiting, stage = view.waiting, view.stage("waiting")
    if stage is not None and stage.error:
        return Notice(f"{stage.error}{_run(keys, 'goes on.')}", "decide")
    if not waiting.open:
        again = view.next is not None and view.next[1] in ("rewrite", "verify")  # texts sent back, or edited
        what = _run(keys, f"goes on with {view.next[1] if again and view.next else 'the merge'}.")
        return Notice(f"Round {view.round}: everything is decided.{what}", "decide")
    axes = [f"{letter}\N{NO-BREAK SPACE}{n:,}" for letter, n in zip("CDQ", waiting.by_axis, strict=True) if n]
    better = "all" if waiting.improved == waiting.open else f"{waiting.improved:,}"
    of = f"{better} better by their signals" + (f" ({', '.join(axes)})" if axes else "")
    if waiting.open == 1:
        of = "better by its signals" if waiting.improved else "not better by its signals"
    count = "1 rewrite" if waiting.open == 1 else f"{waiting.open:,} rewrites"
    look, accept = press("app.go-review"), press("loop.accept_improved")
    what = _do(keys, f"{look} goes through them; {accept} accepts the better ones and rejects the rest.")
    return Notice(f"Round {view.round} waits for you: {count}, {of}.{what}", "decide")


def _failed(view: LoopView, keys: bool) -> Notice:
    stage = view.stage("failed") or StageView("stage")
    reason = stage.error.strip() or "no reason was recorded; see logs/ in the project"
    return Notice(f"{stage.name} failed: {reason}{_run(keys, 'tries again from what is saved.')}", "bad")


def _idle(view: LoopView, keys: bool) -> Notice:
    round, stage = view.next or (0, "train")
    ahead = f" The teacher: {view.teacher}." if stage == "rewrite" and view.teacher else ""
    return Notice(f"Nothing is running.{_run(keys, f'goes on with {stage} of round {round}.')}{ahead}", "decide")


def _done(view: LoopView, keys: bool) -> Notice:
    brought = gain(view)
    said = f"Done: {view.reason}." + (f" {brought[0].upper()}{brought[1:]}." if brought else "")
    export, more = f"{press('app.go-rounds')}, then {press('rounds.export')},", press("loop.more")
    if view.unchanged:
        on = "with other settings `middo-tui run DIR --redo select` (or rewrite) does this round anew."
    else:
        on = "the rule that ended the loop lets no further round run." if view.final else f"{more} runs one more round."
    return Notice(said + _do(keys, f"{export} writes the dataset; {on}"), "strong")


def unindexed(count: int) -> str:
    """Why a search for words may miss a sample."""
    what = "1 new sample is" if count == 1 else f"{count:,} new samples are"
    return f"The index of words is still being built: {what} not found by their words yet."


def gain(view: LoopView) -> str:
    """What the rounds brought, from the first measured round to the last; empty with fewer than two."""
    task = next((row.task for row in reversed(view.table) if row.task), "")
    scores = [row.score if row.task == task else None for row in view.table]
    shares = all(abs(score) <= 1 for score in scores if score is not None)
    for title, scale, digits, values in (
        (task, 100.0 if shares else 1.0, 1, scores),
        ("held-out loss", 1.0, 3, [row.heldout_loss for row in view.table]),
    ):
        known = [value * scale for value in values if value is not None]
        if len(known) > 1:
            change = number_format.change(known[-1] - known[0], digits)
            unit = " %" if scale > 1 else ""
            return f"{title} {known[0]:.{digits}f} → {known[-1]:.{digits}f}{unit} ({change})"
    return ""
