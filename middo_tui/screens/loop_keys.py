"""The Loop screen's keys: run, pause, step, cancel, and the review in one keypress."""

from __future__ import annotations

from collections.abc import Callable

from middo_tui.feed.view import LoopView
from middo_tui.keys.tables import Key, word

STOPPED = frozenset({"new", "idle", "paused", "interrupted", "cancelled", "failed"})
FINISH = "finish"  # only where the app was opened for one run (``middo-tui demo``)


def _in(*states: str) -> Callable[[LoopView], bool]:
    return lambda view: not view.problem and view.state in states


def _run_word(view: LoopView) -> str:
    if view.holds_until is not None:
        return "next round now"
    if (stage := view.stage("waiting")) is not None and stage.error:
        return "resume"
    return {"new": "start", "failed": "retry", "idle": "run", "waiting": "merge"}.get(view.state, "resume")


def _may_run(view: LoopView) -> bool:
    if view.problem:
        return False
    if view.holds_until is not None and view.state == "running":
        return True
    return view.state in STOPPED or (view.state == "waiting" and not view.waiting.open)


def _may_pause(view: LoopView) -> bool:
    """Also while the run waits for the database or the disk: it pauses once it can."""
    return _in("running", "paused")(view) or (_in("locked", "full")(view) and view.want == "run")


def _open_review(view: LoopView) -> bool:
    return not view.problem and view.state == "waiting" and view.waiting.open > 0


def _may_undo(view: LoopView) -> bool:
    if view.problem or view.state in ("pausing", "cancelling"):
        return False
    return view.undo is not None or (view.state == "waiting" and view.waiting.accepted + view.waiting.rejected > 0)


def _rewriting(view: LoopView) -> bool:
    running = view.stage("running")
    return not view.problem and running is not None and running.name == "rewrite"


def _charted(view: LoopView) -> bool:
    return not view.problem and bool(view.curves or view.series)


KEYS: tuple[Key[LoopView], ...] = (
    Key(
        id="run",
        keys=("enter", "space"),
        help="Start or resume the run, or retry a failed stage.",
        label=_run_word,
        works=_may_run,
    ),
    Key(
        id="accept_improved",
        keys=("e",),
        help="Accept the improved rewrites and reject the rest.",
        label=word("accept improved"),
        works=_open_review,
    ),
    Key(
        id="accept_all",
        keys=("A",),
        help="Accept every undecided rewrite.",
        label=word("accept all"),
        works=_open_review,
    ),
    Key(
        id="reject_all",
        keys=("R",),
        help="Reject every undecided rewrite.",
        label=word("reject all"),
        works=_open_review,
    ),
    Key(
        id="undo",
        keys=("u",),
        help="Undo the last decision, or the merge of this round.",
        label=lambda view: "undo merge" if view.undo is not None else "undo",
        works=_may_undo,
    ),
    Key(
        id="pause",
        keys=("p",),
        help="Pause at the next safe point and free the device, or resume.",
        label=lambda view: "resume" if view.state == "paused" else "pause",
        works=_may_pause,
    ),
    Key(
        id="step",
        keys=("s",),
        help="Run only the next stage, then stop.",
        label=lambda view: f"step ({view.next[1]})" if view.next else "step",
        works=lambda view: _in(*STOPPED)(view) and view.next is not None,
    ),
    Key(
        id="cancel",
        keys=("c",),
        help="Cancel the running stage now; saved work is kept.",
        label=word("cancel"),
        works=_in("running", "pausing", "lost", "locked", "full"),
    ),
    Key(
        id="auto",
        keys=("a",),
        help="Auto-review: accept improved rewrites and reject the rest.",
        label=lambda view: "turn auto off" if view.auto else "turn auto on",
        works=lambda view: not view.problem and view.state != "done",
    ),
    Key(
        id="more",
        keys=("m",),
        help="Run one more round than planned.",
        label=word("one more round"),
        works=lambda view: _in("done")(view) and not view.final,
    ),
    Key(
        id="log",
        keys=("l",),
        help="Open the log: the run's events and what its processes wrote.",
        label=word("log"),
        works=lambda view: not view.problem and view.round is not None,
        quiet=True,
    ),
    Key(
        id="writing",
        keys=("w",),
        help="Watch the teacher write: old and new text, speed, refusals.",
        label=word("watch"),
        works=_rewriting,
    ),
    Key(
        id="written",
        keys=("w",),
        help="Show what the teacher wrote last.",
        label=word("last rewrites"),
        works=lambda view: not view.problem and view.round is not None and not _rewriting(view),
        quiet=True,
    ),
    Key(
        id="figure",
        keys=("v",),
        help="Chart the next figure: loss, grad norm, rate, speed, machine.",
        label=word("chart"),
        works=_charted,
        quiet=True,
    ),
    Key(
        id="left",
        keys=("left",),
        help="Move the chart's cursor left: it shows step and values.",
        label=word("cursor"),
        works=_charted,
        quiet=True,
    ),
    Key(
        id="right",
        keys=("right",),
        help="Move the chart's cursor right.",
        label=word("cursor"),
        works=_charted,
        quiet=True,
    ),
    Key(
        id="far_left",
        keys=("shift+left",),
        help="Move the chart's cursor ten columns left.",
        label=word("cursor"),
        works=_charted,
        quiet=True,
    ),
    Key(
        id="far_right",
        keys=("shift+right",),
        help="Move the chart's cursor ten columns right.",
        label=word("cursor"),
        works=_charted,
        quiet=True,
    ),
    Key(
        id="zoom_in",
        keys=("plus", "equals_sign"),
        help="Zoom in on the chart, around its cursor or newest step.",
        label=word("zoom in"),
        works=_charted,
        quiet=True,
    ),
    Key(
        id="zoom_out",
        keys=("minus",),
        help="Zoom out of the chart.",
        label=word("zoom out"),
        works=_charted,
        quiet=True,
    ),
    Key(
        id="whole",
        keys=("0",),
        help="Show the whole chart, without a cursor.",
        label=word("whole chart"),
        works=_charted,
        quiet=True,
    ),
    Key(
        id="log_axis",
        keys=("L", "y"),
        help="Change the chart's axis: linear, logarithmic, square root.",
        label=word("axis"),
        works=_charted,
        quiet=True,
    ),
    Key(
        id="smooth",
        keys=("z",),
        help="Smooth the curves more, not at all, or as usual.",
        label=word("smoothing"),
        works=_charted,
        quiet=True,
    ),
    Key(
        id="finish",
        keys=("enter",),
        help="Quit once this run is done.",
        label=word("quit"),
        works=_in("done"),
    ),
)
