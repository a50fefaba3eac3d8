"""Three rows above the text: how far the review is and how fast; which rewrite this is; what is said of it."""

from __future__ import annotations

from msgspec import Struct
from rich.cells import cell_len

from engine.plurals import counted
from middo_tui.feed.review import STATE_WORDS, Queue, ReviewCounts
from middo_tui.feed.rewrite import Delta, RewriteDetail
from middo_tui.keys.tables import press
from middo_tui.look.theme import LETTERS
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run, justified, width_of
from middo_tui.widgets.queue_list import MARKS


class ReviewBarState(Struct, frozen=True):
    """What the rows say. ``place``: of the cursor, from 1. ``state``: as decided here, also before it is stored.
    ``doubt``: drifted, off topic or nothing.
    """

    queue: Queue
    place: int = 0
    detail: RewriteDetail | None = None
    state: str = ""
    marked: int = 0
    doubt: str = ""


def progress(standing: ReviewBarState, width: int) -> Line:
    """`` Review  128 / 412 decided   97 ✔  29 ✘  2 ✎    21/min · 13 min left     Q quality``."""
    queue, detail = standing.queue, standing.detail
    counts = queue.counts
    left = [Run(" Review", "strong"), Run(f"  {counts.decided:,} / {counts.total:,} decided", "strong")]
    left += [Run(f"   {counts.accepted:,} ✔", "active"), Run(f"  {counts.rejected:,} ✘", "error")]
    left += _more(counts)
    if queue.per_min and counts.open and not queue.merged:
        left.append(Run(f"    {queue.per_min:.0f}/min · {number_format.duration(queue.left_s or 0)} left", "dim"))
    if standing.marked:
        left.append(Run(f"   ● {standing.marked:,} marked", "decide"))
    right: Line = ()
    if detail is not None:
        axis = detail.key[1]
        right = (Run(f"{LETTERS.get(axis, '?')} {axis} ", f"{axis}-strong"),)
    return justified(tuple(left), right, width)


def _more(counts: ReviewCounts) -> list[Run]:
    """Numbers that are mostly nought."""
    more = ((counts.edited, "✎", ""), (counts.pending, "↻", "decide"), (counts.failed, "failed", "warn"))
    return [Run(f"  {count:,} {sign}", role) for count, sign, role in more if count]


def facts(standing: ReviewBarState, width: int) -> Line:
    """`` ▸ #18233 ✔ quality 3.1 → 8.2 ▲   loss …``; the last signals give way."""
    detail = standing.detail
    if detail is None:
        return ()
    state = standing.state or detail.state
    mark, role = MARKS.get(state, ("?", ""))
    line: Line = (
        Run(" ▸ ", "key"),
        Run(f"#{detail.seq}", "strong"),
        Run(f" {mark} {STATE_WORDS.get(state, state)}", role),
        *([Run(f"  ≠ {standing.doubt}", "warn")] if standing.doubt else []),
    )
    if detail.edited:
        checked = "edited" if detail.verdict else "edited, not rechecked"
        line = (*line, Run(f" ✎ {checked}", "decide"))
    for delta in detail.deltas:
        more = _delta(delta)
        if width_of((*line, *more)) > width:
            break
        line = (*line, *more)
    if detail.hidden:
        hidden = (Run(f"   {counted(detail.hidden, 'hidden character')}", "warn"),)
        line = (*line, *hidden) if width_of((*line, *hidden)) <= width else line
    return line


def _delta(delta: Delta) -> Line:
    old, new = number_format.fixed(delta.old, delta.digits), number_format.fixed(delta.new, delta.digits)
    arrow, role = {True: (" ▲", "active"), False: (" ▼", "error"), None: ("", "")}[delta.better]
    return (Run(f"   {delta.name} ", "dim"), Run(f"{old} → {new}"), Run(arrow, role))


def verdict(standing: ReviewBarState, width: int) -> Line:
    """What the checks, the signals or a person said, on one row."""
    if standing.detail is None:
        return ()
    said, role = _verdict(standing.detail)
    return (Run(" " + guard.fit(said, max(0, width - 1)).rstrip(), role),)


def _verdict(detail: RewriteDetail) -> tuple[str, str]:
    if detail.state in ("rejected", "failed") and detail.reason and detail.reason != detail.verdict:
        return f"{detail.state}: {detail.reason}", "error"
    return detail.verdict or _unsaid(detail), "" if detail.improved else "dim"


def says_all(detail: RewriteDetail, width: int) -> bool:
    """Whether the verdict stands whole in the row above the text, and need not be said in it again."""
    return _verdict(detail)[0] == detail.verdict and cell_len(detail.verdict) < width


def _unsaid(detail: RewriteDetail) -> str:
    if detail.state in ("owed", "prompted"):
        return "Pending: the teacher writes it again when the run resumes."
    if detail.edited:
        return f"Edited: verify rechecks it before the merge. Press {press('review.recheck')} to recheck now."
    return "No verdict: not measured."


class ReviewBar(Lines[ReviewBarState]):
    """``progress``, ``facts`` and ``verdict``, one row each."""

    DEFAULT_CSS = """
    ReviewBar { height: 3; }
    """

    def draw(self, data: ReviewBarState, width: int, height: int) -> list[Line]:
        """Three rows."""
        return [progress(data, width), facts(data, width), verdict(data, width)]
