"""The notice: one line with the state of the run and what to do next, for the Loop screen and for plain output.

Every state has one, including empty and broken ones, and it names the next action.
"""

from __future__ import annotations

from engine.plurals import counted
from engine.runtime.stalls import FEWER, MACHINES
from middo_tui.feed.view import LoopView, StageView
from middo_tui.keys.tables import press
from middo_tui.text import number_format
from middo_tui.text.notice import Notice


def notice(view: LoopView, keys: bool = True) -> Notice:
    """The notice for ``view``. ``keys``: add which keys to press."""
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
    return _do(keys, f"Press {press('loop.run')} to {what}.")


def _new(view: LoopView, keys: bool) -> Notice:
    size = view.table[0].size if view.table else 0
    if not size:
        return Notice("No data yet. Add some: middo-tui import DIR FILE", "decide")
    what = _run(keys, "start the first round")
    return Notice(f"{counted(size, 'sample')} imported, no round has run yet.{what}", "decide")


def says_teacher(view: LoopView) -> bool:
    """Whether the Loop screen's notice already shows the teacher's cost, so that no other line needs to."""
    return bool(view.teacher and view.state == "running" and view.current and view.current.name == "rewrite")


def _running(view: LoopView, keys: bool) -> Notice:
    if view.held and view.trouble != FEWER:
        ways = _do(keys, f"Press {press('loop.pause')} to pause or {press('loop.cancel')} to cancel; resume later.")
        if view.trouble == MACHINES:
            return Notice(f"{view.held} {_where(view)} then begins by itself.{ways}", "decide")
        return Notice(f"{view.held} Check logs/ in the project.{ways}", "bad")
    if view.trouble == FEWER:
        return Notice(f"The run {view.held[0].lower()}{view.held[1:]}", "decide")
    if keys and says_teacher(view):  # plain output has a line of its own for it
        if view.batch:
            leave = f"This may take hours. You can quit ({press('app.quit')}); the run continues in the background."
            return Notice(f"{view.batch[0].upper()}{view.batch[1:]}. {leave} Teacher: {view.teacher}", "dim")
        if view.writing:
            return Notice(f"{view.writing[0].upper()}{view.writing[1:]}. Teacher: {view.teacher}", "dim")
        return Notice(f"Teacher: {view.teacher}", "dim")
    if view.holds_until is not None:
        at = number_format.clock(view.holds_until, seconds=True)
        what = _do(keys, f"Press {press('loop.undo')} to undo the merge, {press('loop.run')} to start it now.")
        return Notice(f"Round {view.undo} is merged. The next round starts at {at}.{what}", "decide")
    if view.until:
        return Notice(f"The run will stop after {view.until}.", "dim")
    return Notice("Auto-review is on: improved rewrites are accepted, the rest rejected." if view.auto else "", "dim")


def _pausing(view: LoopView, keys: bool) -> Notice:
    return Notice(
        f"Pausing: {_where(view)} stops after the current batch or checkpoint and frees the device.", "strong"
    )


def _cancelling(view: LoopView, keys: bool) -> Notice:
    ended = " The provider has been asked to cancel its batch; finished calls are kept." if view.batch else ""
    return Notice(f"Cancelling {_where(view)}. Saved work is kept.{ended}", "strong")


def _paused(view: LoopView, keys: bool) -> Notice:
    out = f" The provider keeps working on its {view.batch}." if view.batch else ""
    return Notice(f"Paused in {_where(view)}.{out}{_run(keys, 'resume')}", "decide")


def _cancelled(view: LoopView, keys: bool) -> Notice:
    return Notice(f"Cancelled in {_where(view)}.{_run(keys, 'resume from saved work')}", "decide")


def _interrupted(view: LoopView, keys: bool) -> Notice:
    resume = _run(keys, "resume")
    if view.unwritable:  # a disk that turned read-only takes no log either
        broken = f" The project's folder cannot be written now ({view.unwritable}): check its disk and its owner."
        return Notice(f"Interrupted: the worker died in {_where(view)}.{broken}{resume}", "bad")
    return Notice(f"Interrupted: the worker died in {_where(view)}. Saved work is kept.{resume}", "decide")


def _lost(view: LoopView, keys: bool) -> Notice:
    text = f"The worker is not responding, in {_where(view)}. Check logs/worker.log in the project."
    return Notice(text + _do(keys, f"Press {press('loop.cancel')} to cancel it."), "bad")


def _held(view: LoopView, keys: bool) -> Notice:
    fix = "Free at least 64 MB" if view.state == "full" else "Close that program"
    return Notice(f"{view.held} {fix}; {_where(view)} then continues by itself. Nothing is lost.", "bad")


def _waiting(view: LoopView, keys: bool) -> Notice:
    waiting, stage = view.waiting, view.stage("waiting")
    if stage is not None and stage.error:
        return Notice(f"{stage.error}{_run(keys, 'resume')}", "decide")
    if not waiting.open:
        again = view.next is not None and view.next[1] in ("rewrite", "verify")  # texts sent back, or edited
        what = _run(keys, f"run {view.next[1]}, then merge" if again and view.next else "merge")
        return Notice(f"Round {view.round}: all rewrites are reviewed.{what}", "decide")
    axes = [f"{letter}\N{NO-BREAK SPACE}{n:,}" for letter, n in zip("CDQ", waiting.by_axis, strict=True) if n]
    improved = "all" if waiting.improved == waiting.open else f"{waiting.improved:,}"
    of = f"{improved} improved" + (f" ({', '.join(axes)})" if axes else "")
    if waiting.open == 1:
        of = "improved" if waiting.improved else "not improved"
    count = counted(waiting.open, "undecided rewrite")
    look, accept = press("app.go-review"), press("loop.accept_improved")
    what = _do(keys, f"Press {look} to review, or {accept} to accept the improved ones and reject the rest.")
    return Notice(f"Round {view.round} is waiting for review: {count}, {of}.{what}", "decide")


def _failed(view: LoopView, keys: bool) -> Notice:
    stage = view.stage("failed") or StageView("stage")
    reason = stage.error.strip() or "no error was recorded; check logs/ in the project"
    return Notice(f"{stage.name} failed: {reason}{_run(keys, 'retry from saved work')}", "bad")


def _idle(view: LoopView, keys: bool) -> Notice:
    round, stage = view.next or (0, "train")
    if view.overridden:
        since = counted(view.overridden, "override", "overrides")
        again = f"Round {round} selected no sample; you have set {since} since."
        return Notice(f"{again}{_run(keys, 'select again')}", "decide")
    ahead = f" Teacher: {view.teacher}." if stage == "rewrite" and view.teacher else ""
    return Notice(f"Nothing is running.{_run(keys, f'run {stage} of round {round}')}{ahead}", "decide")


def _done(view: LoopView, keys: bool) -> Notice:
    brought = gain(view)
    said = f"Done: {view.reason}." + (f" {brought[0].upper()}{brought[1:]}." if brought else "")
    export = f"Press {press('app.go-rounds')}, then {press('rounds.export')}, to export the dataset"
    if view.unchanged:
        on = ". To redo this round with other settings: `middo-tui run DIR --redo select` (or rewrite)"
    elif view.final and view.closing:
        on = f". The stop rule ended the loop; `middo-tui run DIR --rounds {view.rounds + 1}` continues anyway"
    elif view.final:
        on = ". The stop rule allows no further round"
    else:
        for_it = f" for your {counted(view.overridden, 'override')}" if view.overridden else ""
        on = f", or {press('loop.more')} to run one more round{for_it}"
    return Notice(said + _do(keys, f"{export}{on}."), "strong")


def gain(view: LoopView) -> str:
    """The change of the main score from the first measured round to the last; empty with fewer than two."""
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
