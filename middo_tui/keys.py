"""The key table: one row per key, from which the bindings, the footer and the help page are made.

A key is shown in the footer only while it works, and works only while it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual.binding import Binding, BindingType

from middo_tui.feed.view import LoopView

STOPPED = frozenset({"new", "idle", "paused", "interrupted", "cancelled", "failed"})
RUNNING = frozenset({"running", "pausing", "cancelling", "lost"})


@dataclass(frozen=True, slots=True)
class Key:
    """``id`` names the action (and is what a remapping refers to); ``label`` is the footer's word in a given state."""

    id: str
    keys: tuple[str, ...]
    help: str
    label: Callable[[LoopView], str]
    works: Callable[[LoopView], bool]


def _word(word: str) -> Callable[[LoopView], str]:
    return lambda view: word


def _in(*states: str) -> Callable[[LoopView], bool]:
    return lambda view: not view.problem and view.state in states


def _run_word(view: LoopView) -> str:
    return {"new": "start", "failed": "retry", "idle": "go on", "waiting": "merge"}.get(view.state, "resume")


def _may_run(view: LoopView) -> bool:
    if view.problem:
        return False
    return view.state in STOPPED or (view.state == "waiting" and not view.waiting.open)


def _always(view: LoopView) -> bool:
    return True


def _open_review(view: LoopView) -> bool:
    return not view.problem and view.state == "waiting" and view.waiting.open > 0


KEYS: tuple[Key, ...] = (
    Key(
        id="run",
        keys=("enter", "space"),
        help="Start the run, go on after a pause, or try a failed stage again.",
        label=_run_word,
        works=_may_run,
    ),
    Key(
        id="accept_improved",
        keys=("e",),
        help="Accept the rewrites that the signals call better, no others.",
        label=_word("accept better"),
        works=_open_review,
    ),
    Key(id="accept_all", keys=("A",), help="Accept every open rewrite.", label=_word("accept all"), works=_open_review),
    Key(id="reject_all", keys=("R",), help="Reject every open rewrite.", label=_word("reject all"), works=_open_review),
    Key(
        id="pause",
        keys=("p",),
        help="Pause at the next safe point and free the machine; again: go on.",
        label=lambda view: "resume" if view.state == "paused" else "pause",
        works=_in("running", "paused"),
    ),
    Key(
        id="step",
        keys=("s",),
        help="Run exactly the next stage, then stop.",
        label=lambda view: f"step ({view.next[1]})" if view.next else "step",
        works=lambda view: _in(*STOPPED)(view) and view.next is not None,
    ),
    Key(
        id="cancel",
        keys=("c",),
        help="Stop the running stage now; what is saved stays.",
        label=_word("cancel"),
        works=_in("running", "pausing", "lost"),
    ),
    Key(
        id="auto",
        keys=("a",),
        help="At the review, let the signals decide instead of a person.",
        label=lambda view: "auto off" if view.auto else "auto on",
        works=lambda view: not view.problem and view.state != "done",
    ),
    Key(
        id="more",
        keys=("m",),
        help="Run one round more than planned.",
        label=_word("one more round"),
        works=_in("done"),
    ),
    Key(
        id="finish",
        keys=("enter",),
        help="Leave, when the run that the app was opened for is done.",
        label=_word("leave"),
        works=_in("done"),
    ),
    Key(id="help", keys=("question_mark", "f1"), help="This page.", label=_word("help"), works=_always),
    Key(
        id="quit",
        keys=("q", "ctrl+q"),
        help="Leave the app. A run goes on without it.",
        label=lambda view: "leave (the run goes on)" if view.state in RUNNING else "leave",
        works=_always,
    ),
)
NAMES = {"question_mark": "?", "ctrl+q": "ctrl-q"}
FINISH = "finish"  # only where the app was opened for one run (``middo-tui demo``)
BY_ID = {key.id: key for key in KEYS}


def bindings() -> list[BindingType]:
    """Textual's bindings for every row; the ids let a keymap remap them."""
    return [
        Binding(key, row.id, row.help, id=f"loop.{row.id}.{key}", show=False, priority=key == "ctrl+q")
        for row in KEYS
        for key in row.keys
    ]


def name(key: str) -> str:
    """A key as a person reads it."""
    return NAMES.get(key, key)


def footer(view: LoopView, leave_when_done: bool = False) -> tuple[tuple[str, str], ...]:
    """(key, label) of what works now. ``leave_when_done``: the app was opened for one run, enter leaves at its end."""
    shown = (row for row in KEYS if row.works(view) and (leave_when_done or row.id != FINISH))
    return tuple((name(row.keys[0]), row.label(view)) for row in shown)
