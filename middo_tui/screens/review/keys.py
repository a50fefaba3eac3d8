"""The Review screen's keys. While a reason for a rejection is asked for, only the keys that answer it work."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from middo_tui.feed.review import REASONS, Queue
from middo_tui.feed.view import LoopView
from middo_tui.keys.tables import Key, word

CHANGEABLE = frozenset({"proposed", "accepted", "rejected"})


class ReviewState(Struct, frozen=True):
    """What decides which keys work. ``state``: of the rewrite under the cursor, '' when there is none.

    ``accepts`` and ``rejects``: how many a batch would change now, and ``batch`` which ones those are.
    """

    view: LoopView
    queue: Queue
    state: str = ""
    edited: bool = False
    rejecting: bool = False
    marked: int = 0
    alike: int = 0
    ranging: bool = False
    batch: str = ""
    accepts: int = 0
    rejects: int = 0
    split: bool = False
    wide: bool = False
    listing: bool = False

    @property
    def calm(self) -> bool:
        """Whether ordinary keys work."""
        return not self.rejecting and not self.queue.problem and not self.view.problem

    @property
    def open(self) -> bool:
        """Whether decisions can be taken here at all."""
        return self.calm and self.queue.round is not None and not self.queue.merged

    @property
    def unmerges(self) -> bool:
        """Whether this round is merged, and that can still be undone."""
        return self.calm and self.queue.merged and self.queue.round is not None and self.view.undo == self.queue.round

    @property
    def goes_on(self) -> str:
        """What enter would do: '' nothing, else a word for the footer."""
        counts, view = self.queue.counts, self.view
        idle = view.worker == "idle" and view.next is not None and self.queue.round == view.round
        if not self.open or not idle or not counts.total + counts.pending:
            return ""
        if counts.pending:
            return f"rewrite {counts.pending:,} again"
        return "" if counts.open else "merge"


def _calm(state: ReviewState) -> bool:
    return state.calm and bool(state.queue.rows)


def _here(*states: str) -> Callable[[ReviewState], bool]:
    return lambda state: state.open and state.state in states


def _text(state: ReviewState) -> bool:
    return state.open and state.state in CHANGEABLE and not state.queue.busy


def _batch(verb: str, count: Callable[[ReviewState], int], rest: str) -> Callable[[ReviewState], str]:
    return lambda state: f"{verb} {count(state):,} {state.batch or rest}"


KEYS: tuple[Key[ReviewState], ...] = (
    Key("accept", ("a",), "Accept, then go to the next undecided rewrite.", word("accept"), _here(*CHANGEABLE)),
    Key(
        id="reject",
        keys=("r",),
        help="Reject; then press a digit for the reason, or this key again for none.",
        label=word("reject"),
        works=_here(*CHANGEABLE),
    ),
    Key("reason('0')", ("r", "enter"), "Reject without a reason.", word("no reason"), lambda state: state.rejecting),
    *(
        Key(f"reason('{n}')", (str(n),), f"… {text}.", word(text), lambda state: state.rejecting, quiet=True)
        for n, text in enumerate(REASONS, start=1)
    ),
    Key("resume", ("enter",), "Resume the run.", lambda state: state.goes_on, lambda state: bool(state.goes_on)),
    Key("edit", ("e",), "Edit prompt and response in the app.", word("edit"), _text),
    Key(
        "undo",
        ("u",),
        "Undo the last step in this round, or the merge until the next round starts.",
        lambda state: "undo merge" if state.unmerges else "undo",
        lambda state: state.open or state.unmerges,
    ),
    Key("skip", ("s",), "Skip to the next undecided rewrite.", word("skip"), lambda state: state.open and _calm(state)),
    Key(
        id="accept_batch",
        keys=("A",),
        help="Bulk accept: the marked rewrites, else all that the filter lists, else the improved ones.",
        label=_batch("accept", lambda state: state.accepts, "improved"),
        works=lambda state: state.open and state.accepts > 0,
    ),
    Key(
        id="reject_batch",
        keys=("R",),
        help="Bulk reject: the marked rewrites, else all that the filter lists, else those not improved.",
        label=_batch("reject", lambda state: state.rejects, "others"),
        works=lambda state: state.open and state.rejects > 0,
    ),
    Key(
        id="view_list",
        keys=("tab",),
        help="Switch between the list and the text.",
        label=lambda state: "text" if state.listing else "list",
        works=_calm,
    ),
    Key(
        "layout",
        ("t",),
        "Switch between one and two columns.",
        lambda state: "inline" if state.split else "split",
        _calm,
    ),
    Key("filter", ("f",), "Filter the list.", word("filter"), lambda state: state.calm),
    Key("redo", ("U",), "Redo the last undone step.", word("redo"), lambda state: state.open, quiet=True),
    Key("editor", ("E",), "Edit in $EDITOR.", word("$EDITOR"), _text, quiet=True),
    Key("note", ("c",), "Write a note on this rewrite.", word("note"), lambda s: s.open and bool(s.state), quiet=True),
    Key(
        id="send_back",
        keys=("X",),
        help="Send the marked rewrites, or this one, back to the teacher.",
        label=word("send back"),
        works=lambda state: _here(*CHANGEABLE, "failed")(state) and not state.queue.busy,
        quiet=True,
    ),
    Key(
        id="recheck",
        keys=("V",),
        help="Recheck edited texts now (runs the verify stage).",
        label=word("recheck"),
        works=lambda s: s.open and bool(s.queue.counts.unchecked) and s.view.next == (s.queue.round, "verify"),
        quiet=True,
    ),
    Key("move('1')", ("j", "down"), "Go to the next rewrite.", word("next"), _calm, quiet=True),
    Key("move('-1')", ("k", "up"), "Go to the previous rewrite.", word("previous"), _calm, quiet=True),
    Key("first", ("g", "home"), "Go to the first rewrite.", word("first"), _calm, quiet=True),
    Key("last", ("G", "end"), "Go to the last rewrite.", word("last"), _calm, quiet=True),
    Key(
        "jump",
        ("colon",),
        "Jump to a position (12), a percentage (73%) or a sample (#120).",
        word("jump"),
        _calm,
        quiet=True,
    ),
    Key("scroll('1')", ("ctrl+d", "pagedown"), "Scroll half a page down.", word("down"), _calm, quiet=True),
    Key("scroll('-1')", ("ctrl+u", "pageup"), "Scroll half a page up.", word("up"), _calm, quiet=True),
    Key(
        "change('1')",
        ("right_square_bracket",),
        "Go to the next change in the text.",
        word("change"),
        _calm,
        quiet=True,
    ),
    Key("change('-1')", ("left_square_bracket",), "Go to the previous change.", word("change"), _calm, quiet=True),
    Key("aside('1')", ("right",), "Scroll right (unwrapped text).", word("right"), _calm, quiet=True),
    Key("aside('-1')", ("left",), "Scroll left (unwrapped text).", word("left"), _calm, quiet=True),
    Key("wrap", ("w",), "Turn line wrapping on or off.", word("wrap"), _calm, quiet=True),
    Key(
        "mark",
        ("space",),
        "Mark this rewrite for a bulk decision.",
        word("mark"),
        _here(*CHANGEABLE, "failed"),
        quiet=True,
    ),
    Key(
        id="mark_alike",
        keys=("M",),
        help="Mark all undecided rewrites of the same axis, cluster and verdict.",
        label=word("mark similar"),
        works=lambda s: s.open and s.alike > 1,
        quiet=True,
    ),
    Key("range", ("v",), "Mark a range: move, then press again.", word("range"), _calm, quiet=True),
    Key(
        id="clear",
        keys=("escape",),
        help="Clear the question, range, marks, search and filter, one at a time.",
        label=lambda state: "cancel" if state.rejecting else "clear",
        works=lambda s: s.rejecting or s.ranging or bool(s.marked or s.queue.query.search or s.queue.query.filter),
        quiet=True,
    ),
    Key("search", ("slash",), "Search in old and new texts.", word("search"), lambda s: s.calm, quiet=True),
    Key("hit('1')", ("n",), "Go to the next match.", word("next"), lambda s: bool(s.queue.hits), quiet=True),
    Key("hit('-1')", ("N",), "Go to the previous match.", word("previous"), lambda s: bool(s.queue.hits), quiet=True),
    Key("sort", ("o",), "Change the order.", word("order"), _calm, quiet=True),
    Key("copy", ("y",), "Copy the new text, cleaned, to the clipboard.", word("copy"), _calm, quiet=True),
    Key("lineage", ("l",), "Show every version of this sample.", word("lineage"), _calm, quiet=True),
    Key("sample", ("i",), "Show this sample on the Samples screen.", word("sample"), _calm, quiet=True),
    Key("round('1')", ("right_curly_bracket",), "Go to the next round.", word("round"), lambda s: s.calm, quiet=True),
    Key(
        "round('-1')", ("left_curly_bracket",), "Go to the previous round.", word("round"), lambda s: s.calm, quiet=True
    ),
)
