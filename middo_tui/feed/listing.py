"""The list that the samples table shows: reading it, jumping to a place in it, exporting it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from engine.errors import UsageError
from engine.plurals import counted
from middo_tui.feed.filters import FilterError
from middo_tui.feed.orders import Order
from middo_tui.feed.pages import Pages, SampleRow
from middo_tui.terminal.guard import clean

LARGEST = 1 << 63
"""No number of a sample or a row is larger; SQLite takes none."""
FORMAT, ENDING = "messages", ".jsonl"  # the only format that can hold every sample


class Listing:
    """A dataset in one order, as a ``Source`` of the table."""

    def __init__(self, pages: Pages, wanted: Order) -> None:
        self.pages = pages
        self.wanted = wanted

    def order(self) -> Iterator[array[int]]:
        """The ids in order."""
        return self.pages.order(self.wanted)

    def held(self, ids: array[int]) -> array[int]:
        """``ids``, or an equal array that is already in memory, to be used in its place."""
        return self.pages.same(self.wanted, ids)

    def rows(self, ids: Sequence[int]) -> Mapping[int, SampleRow]:
        """The rows of ``ids``, with the signals of the dataset's round."""
        return self.pages.rows(ids, self.wanted.round)


def jump(text: str, total: int) -> tuple[str, float]:
    """What a typed place means: a row counted from 0, ``("row", 119)``; a percentage of the list, ``("share", 73.0)``;
    or a sample's number, ``("seq", 120)``.

    Raises:
        FilterError: it is none of these.
    """
    typed = text.strip().replace(",", "")
    kind, digits = ("seq", typed[1:]) if typed.startswith("#") else ("share", typed[:-1])
    if not typed.startswith("#") and not typed.endswith("%"):
        kind, digits = "row", typed
    try:
        value = float(digits) if kind == "share" else int(digits)
    except ValueError:
        value = math.nan
    if not abs(value) < LARGEST:
        raise FilterError(f"{text.strip()!r}: enter a row (1 to {total:,}), a percentage (73%) or a sample (#120).")
    return kind, value - 1 if kind == "row" else value


def free_name(folder: Path, stem: str) -> Path:
    """The first of ``stem-1.jsonl``, ``stem-2.jsonl``, … that does not exist."""
    number = 1
    while (path := folder / f"{stem}-{number}{ENDING}").exists():
        number += 1
    return path


def write_listing(project: Path, ids: Sequence[int], round: int) -> str:
    """Export ``ids`` in this order to the project's ``exports`` folder; returns the sentence to show.

    Raises:
        UsageError, DataError, StoreError: nothing was written.
    """
    from engine.project.folder import export_ids  # brings the file formats along: only when it is used

    if not ids:
        raise UsageError("Nothing to export: no samples are listed.")
    out = free_name(project / "exports", f"samples-round-{round}")
    written = export_ids(project, ids, out, FORMAT)
    return f"Exported {counted(written, 'sample')} in this order to {clean(str(out)).text}"
