"""Finds a few samples by the words of their text, for the command palette: quick at half a million, never complete.

All functions may block: call them in a thread.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from msgspec import Struct

from middo_tui.feed.filters import match_of
from middo_tui.feed.orders import IN_ROUND
from middo_tui.feed.pages import OPENING, TEXT_LIMIT, open_reader
from middo_tui.terminal import guard

MOST = 6
LEAST_LETTERS = 3  # the index of 500k rows answers a* in 375 ms, wri* in 4 ms
ASKED = 50  # also rows of older datasets are found: so many are looked at, so that a search is never long
_FOUND = (
    f"SELECT s.id, s.seq, substr({OPENING}, 1, {TEXT_LIMIT + 1}) FROM sample s WHERE s.id IN"  # noqa: S608
    f" (SELECT rowid FROM sample_fts WHERE sample_fts MATCH :match LIMIT {ASKED}) AND {IN_ROUND} LIMIT {MOST}"
)


class SampleNumber(Struct, frozen=True):
    """The sample that a person knows as ``#seq``, whether or not there is one."""

    seq: int


class FoundSample(Struct, frozen=True):
    """``text``: its opening, one clean line."""

    id: int
    seq: int
    text: str


def words(typed: str) -> tuple[str, ...]:
    """The words of what was typed."""
    return tuple(re.findall(r"\w+", typed))


def found_samples(project: Path, typed: str, round: int) -> tuple[FoundSample, ...]:
    """Samples in the dataset of ``round`` with all words of ``typed``; at most ``MOST``. Of a last word that too few
    have, the beginning is enough.

    Raises:
        StoreError, sqlite3.Error: the store cannot be read.
    """
    wanted = words(typed)
    if max(map(len, wanted), default=0) < LEAST_LETTERS:
        return ()
    db = open_reader(project)
    try:
        found = _found(db, " ".join(wanted), round)
        enough = len(found) == MOST or len(wanted[-1]) < LEAST_LETTERS
        return found if enough else _found(db, f"{' '.join(wanted)}*", round)
    finally:
        db.close()


def _found(db: sqlite3.Connection, text: str, round: int) -> tuple[FoundSample, ...]:
    rows = db.execute(_FOUND, {"match": match_of(text), "round": round})
    return tuple(FoundSample(id, seq, guard.one_line(text or "", TEXT_LIMIT)) for id, seq, text in rows)
