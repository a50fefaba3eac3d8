"""One row between the facts and the text: the place in the queue and, where the list is hidden, the queue around it."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.feed.review import QueueEntry
from middo_tui.keys.tables import press
from middo_tui.widgets.lines import Line, Lines, Run, width_of
from middo_tui.widgets.queue_list import MARKS, window

SHOWN = 20


class QueuePlace(Struct, frozen=True):
    """``alike``: undecided rewrites like the one under the cursor. ``listed``: the list is on the screen as well."""

    rows: tuple[QueueEntry, ...] = ()
    cursor: int = 0
    alike: int = 0
    listed: bool = False


def strip(place: QueuePlace, width: int) -> Line:
    """`` 5 of 412  ✔ ✘ ✔ ·▸· · ≠ ·  ── 6 similar: M ──``. A move changes two cells of it."""
    if not place.rows:
        return (Run("─" * width, "faint"),)
    total = len(place.rows)
    left = [Run(f" {f'{place.cursor + 1:,}':>{len(f'{total:,}')}} of {total:,} ", "strong")]
    if not place.listed:
        first = window(total, place.cursor, SHOWN)
        for at, entry in enumerate(place.rows[first : first + SHOWN], start=first):
            mark, role = MARKS.get(entry.state, ("?", ""))
            undecided = entry.state == "proposed"
            left.append(Run("▸" if at == place.cursor else " ", "key"))
            left.append(Run("≠", "warn") if undecided and entry.doubt else Run(mark, role))
        left.append(Run("  " if first + SHOWN >= total else " …"))
    alike = f" {place.alike:,} similar: {press('review.mark_alike')} marks them " if place.alike > 1 else ""
    rule = width - width_of(tuple(left)) - len(alike) - 2
    if rule < 0:
        alike, rule = "", width - width_of(tuple(left)) - 2
    return (*left, Run("─" * max(0, rule), "faint"), Run(alike, "dim"), Run("──", "faint"))


class QueueStrip(Lines[QueuePlace]):
    """``strip`` as a widget, one row high."""

    def draw(self, data: QueuePlace, width: int, height: int) -> list[Line]:
        """One row."""
        return [strip(data, width)]
