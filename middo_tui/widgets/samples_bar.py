"""The line above the samples: which dataset, which filter, which order, and where the cursor is."""

from __future__ import annotations

from typing import NamedTuple

from middo_tui import figures, guard
from middo_tui.widgets.lines import Line, Lines, Run, width_of


class Listed(NamedTuple):
    """What is listed. ``total`` is None until it is counted; ``at`` counts from 0."""

    round: int
    total: int | None = None
    at: int = 0
    where: str = ""
    sort: str = ""
    found: int | None = None
    marked: int = 0
    busy: bool = False


def samples_bar(data: Listed, width: int) -> Line:
    """One row; the filter is cut where there is no room, the place never is."""
    total = "…" if data.total is None else figures.count(data.total)
    place = f"{figures.count(data.at + 1)} / {total}" if data.total else total
    place = f"{place:>{2 * len(total) + 3}}"
    left = [Run(" Samples", "strong"), Run(f"  dataset of round {data.round}", "dim")]
    if data.sort:
        left.append(Run(f"  by {data.sort}"))
    if data.marked:
        left.append(Run(f"  {data.marked:,} marked", "decide"))
    if data.found is not None:
        left.append(Run(f"  {data.found:,} found", "active"))
    room = width - width_of(tuple(left)) - len(place) - 4
    if data.where and room > 3:
        left += [Run("  "), Run(guard.fit(data.where, room).rstrip(), "active-strong")]
    gap = width - width_of(tuple(left)) - len(place) - 1
    return (*left, Run(" " * max(1, gap)), Run(place, "dim" if data.busy else ""))


class SamplesBar(Lines[Listed]):
    """``samples_bar`` as a widget."""

    def draw(self, data: Listed, width: int, height: int) -> list[Line]:
        """One row."""
        return [samples_bar(data, width)]
