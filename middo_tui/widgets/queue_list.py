"""The queue as rows: what became of each rewrite, its axis, its place, the beginning of its text."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.feed.review import Key, QueueEntry
from middo_tui.look.theme import LETTERS
from middo_tui.terminal import guard
from middo_tui.widgets.lines import Line, Lines, Run

MARKS = {
    "proposed": ("·", ""),
    "accepted": ("✔", "strong"),
    "rejected": ("✘", "error"),
    "failed": ("!", "warn"),
    "kept": ("=", "dim"),
    "owed": ("↻", "decide"),
    "prompted": ("↻", "decide"),
}
BETTER = {True: ("▲", "active"), False: ("▼", "error"), None: (" ", "")}


class QueueRows(Struct, frozen=True):
    """The rows, which of them the cursor is on, and which are marked."""

    rows: tuple[QueueEntry, ...] = ()
    cursor: int = 0
    marked: frozenset[Key] = frozenset()
    focused: bool = False


def window(count: int, cursor: int, height: int) -> int:
    """The first row to show: half pages, so that most moves repaint two rows."""
    if count <= height:
        return 0
    half = max(1, height // 2)
    return max(0, min(cursor // half * half - half // 2, count - height))


def row(entry: QueueEntry, here: bool, marked: bool, focused: bool, width: int) -> Line:
    """``▸●✔ ▲Q    12 text``."""
    mark, role = MARKS.get(entry.state, ("?", ""))
    sign, sign_role = ("≠", "warn") if entry.doubt else BETTER[entry.improved]
    cursor = "cursor" if here and focused else "strong" if here else ""
    flags = ("✎" if entry.edited else " ") + ("¶" if entry.noted else " ")
    head = (
        Run("▸" if here else " ", "key"),
        Run("●" if marked else " ", "decide"),
        Run(mark, role),
        Run(sign, sign_role),
        Run(LETTERS.get(entry.axis, "?"), entry.axis),
        Run(f"{entry.seq:>7} {flags} ", cursor or "dim"),
    )
    open_ = "" if entry.state == "proposed" else "dim"  # the eye finds what is undecided
    return (*head, Run(guard.fit(entry.head, max(0, width - 16)), cursor or open_))


class QueueList(Lines[QueueRows]):
    """``row`` for each row in the window."""

    DEFAULT_CSS = """
    QueueList { height: 1fr; }
    """

    def draw(self, data: QueueRows, width: int, height: int) -> list[Line]:
        """The rows around the cursor."""
        first = window(len(data.rows), data.cursor, height)
        shown = data.rows[first : first + height]
        return [
            row(entry, first + at == data.cursor, entry.key in data.marked, data.focused, width)
            for at, entry in enumerate(shown)
        ]
