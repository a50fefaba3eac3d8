"""The line above the samples: which dataset, which filter, which order, and where the cursor is."""

from __future__ import annotations

from typing import NamedTuple

from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run, width_of


class SamplesBarState(NamedTuple):
    """What is listed. ``total`` is None until it is counted; ``at`` counts from 0."""

    round: int
    total: int | None = None
    at: int = 0
    where: str = ""
    sort: str = ""
    search: str = ""
    found: int = 0
    marked: int = 0
    busy: bool = False


def samples_bar(data: SamplesBarState, width: int) -> Line:
    """One row. Without room the order is left out (its column has a sign), then the words, then the filter is cut."""
    total = "…" if data.total is None else number_format.count(data.total)
    place = f"{number_format.count(data.at + 1)} / {total}" if data.total else total
    place = f"{place:>{2 * len(total) + 3}}"
    where = guard.fit(data.where, width).rstrip()
    room = width - len(place) - 2
    words = f": {guard.one_line(data.search, 20)}"
    long = "dataset of round"
    for dataset, sort, search in ((long, data.sort, words), (long, "", words), ("round", "", words), ("round", "", "")):
        left = _left(data, dataset, sort, search)
        if width_of((*left, Run(f"  {where}"))) <= room:
            break
    if where and (room := room - width_of(left) - 2) > 3:
        left = (*left, Run("  "), Run(guard.fit(where, room).rstrip(), "active-strong"))
    gap = width - width_of(left) - len(place) - 1
    return (*left, Run(" " * max(1, gap)), Run(place, "dim" if data.busy else ""))


def _left(data: SamplesBarState, dataset: str, sort: str, search: str) -> Line:
    return (
        Run(" Samples", "strong"),
        Run(f"  {dataset} {data.round}", "dim"),
        *([Run(f"  by {sort}")] if sort else []),
        *([Run(f"  {data.marked:,} marked", "decide")] if data.marked else []),
        *([Run(f"  {data.found:,} found{search}", "active")] if data.search else []),
    )


class SamplesBar(Lines[SamplesBarState]):
    """``samples_bar`` as a widget."""

    def draw(self, data: SamplesBarState, width: int, height: int) -> list[Line]:
        """One row."""
        return [samples_bar(data, width)]
