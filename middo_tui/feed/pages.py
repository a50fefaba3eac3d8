"""From the store to a list of samples: the order of their ids, then rows by id. Read-only, and light at half a million.

Rows are read a page at a time by id, which costs the same wherever in the order the page is (an OFFSET would not: 38 ms
deep down).

An ``order`` opens its own connection and may run beside everything else; the other functions take turns.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from operator import itemgetter
from pathlib import Path
from threading import Lock

from msgspec import Struct

from engine.store import read
from engine.store.connect import reader
from middo_tui.feed import orders
from middo_tui.feed.filters import NUMBERS, Filter, in_area, match_of, parse
from middo_tui.feed.hidden_characters import hidden_ids
from middo_tui.feed.map_places import open_map
from middo_tui.feed.orders import Order, OrderCache, check_sort, listed
from middo_tui.feed.release_memory import give_back
from middo_tui.terminal import guard

TEXT_LIMIT = 240


class SampleRow(Struct, frozen=True):
    """One row of the list. ``axes`` that selected it and ``states`` (axis, state) of its rewrites may be empty.
    ``flaw_lens``: the lens that looks worst, or what the text alone shows.
    """

    id: int
    seq: int
    born: int
    text: str
    axes: tuple[str, ...]
    states: tuple[tuple[str, str], ...]
    numbers: Mapping[str, float]
    error: bool
    override: str = ""  # what a person wants of it: drop, protect or rewrite
    flaw_lens: str = ""
    injection: str = ""  # why it is flagged as a possible prompt injection
    unflagged: bool = False  # a person said that it is none

    def number(self, name: str) -> float | None:
        """A signal by its name in ``NUMBERS``; None when it was not measured."""
        return self.numbers.get(name)


class OverrideRow(Struct, frozen=True):
    """A sample that a person overrode; ``axis`` is set for a requested rewrite."""

    id: int
    seq: int
    action: str
    axis: str | None
    text: str


class Pages:
    """The samples of a project. Opened with the first question; ``close`` gives the connection back."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._db: sqlite3.Connection | None = None
        self._lock = Lock()
        self._hidden: tuple[tuple[object, ...] | None, str] = (None, "[]")
        self._kept = OrderCache()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._db is None:
                self._db = open_reader(self.project)
            yield self._db

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None

    def rounds(self) -> tuple[int, ...]:
        """The datasets that there are, oldest first."""
        with self._open() as db:
            return tuple(range(read.newest_dataset(db) + 1))

    def newest_scored(self) -> int:
        """The newest dataset whose samples have been scored; the first when none has."""
        with self._open() as db:
            return read.newest_scored(db)

    def order(self, wanted: Order) -> Iterator[array[int]]:
        """The ids in order, in blocks: first up to ``FIRST`` of them as soon as they are known.

        Raises:
            FilterError: the filter or the sort is not understood.
            UsageError: a rectangle of a map that is not there.
            StoreError, sqlite3.Error: the store cannot be read.
        """
        asked = parse(wanted.where)
        check_sort(wanted.sort)
        db = open_reader(self.project)
        try:
            asked = self._with_areas(asked, wanted.round)
            yield from listed(db, wanted, asked, self._with_hidden(db) if asked.needs_hidden else "[]", self._kept)
        finally:
            db.close()
            give_back()

    def _with_areas(self, asked: Filter, round: int) -> Filter:
        """``asked`` with the samples that lie in its rectangles of the map."""
        if all(condition.area is None for condition in asked.conditions):
            return asked
        with closing(reader(self.project)) as db:
            placed = open_map(db, self.project, round)
        return Filter(
            asked.text,
            tuple(
                one if one.area is None else in_area(one, json.dumps(placed.ids_within(one.area)))
                for one in asked.conditions
            ),
        )

    def same(self, wanted: Order, ids: array[int]) -> array[int]:
        """``ids``, or the same order that is kept anyway: four megabytes less to hold at half a million samples."""
        return self._kept.same(wanted, ids)

    def rest(self) -> None:
        """Hold little until the next question."""
        self._kept.rest()

    def _with_hidden(self, db: sqlite3.Connection) -> str:
        """The ids of samples with hidden characters, as JSON. Looked for again after an import or a merge, also one
        in place of another that was undone.
        """
        which = tuple(db.execute(SAMPLES_SINCE).fetchone())
        if self._hidden[0] != which:
            self._hidden = which, json.dumps(hidden_ids(db))
        return self._hidden[1]

    def rows(self, ids: Sequence[int], round: int) -> dict[int, SampleRow]:
        """The rows of ``ids`` with their signals of ``round``. Four queries, whatever the ids."""
        with self._open() as db:
            return _rows(db, ids, round)

    def seq(self, id: int) -> int | None:
        """The number by which a person knows the sample; None when there is no such sample."""
        with self._open() as db:
            found = db.execute("SELECT seq FROM sample WHERE id=?", (id,)).fetchone()
            return None if found is None else int(found[0])

    def numbers(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The numbers by which a person knows the samples, lowest first."""
        with self._open() as db:
            found = db.execute(f"SELECT seq FROM sample WHERE id IN {AMONG} ORDER BY seq", (json.dumps([*ids]),))  # noqa: S608
            return tuple(int(row[0]) for row in found)

    def of_seq(self, seq: int, round: int) -> int | None:
        """The id of ``#seq`` in the dataset of ``round``; None when it is not in it."""
        with self._open() as db:
            found = db.execute(OF_SEQ, {"seq": seq, "round": round}).fetchone()
            return None if found is None else int(found[0])

    def ever(self, seq: int) -> int | None:
        """The id of ``#seq``, whichever datasets it is in; None when there is no such sample."""
        with self._open() as db:
            found = db.execute("SELECT id FROM sample WHERE seq=?", (seq,)).fetchone()
            return None if found is None else int(found[0])

    def overridden(self) -> list[OverrideRow]:
        """The overrides of samples in the newest dataset, by number."""
        round = self.rounds()[-1]
        with self._open() as db:
            found = db.execute(OVERRIDDEN, {"round": round})
            return [
                OverrideRow(id, seq, action, axis, guard.one_line(text or "", TEXT_LIMIT))
                for id, seq, action, axis, text in found
            ]

    def matches(self, text: str) -> array[int]:
        """The ids of samples whose text holds all words of ``text``, rising.

        Raises:
            FilterError: there is nothing in it to search for.
        """
        with self._open() as db:
            found = db.execute(MATCHES, (match_of(text),))
            return array("q", map(itemgetter(0), found))


def open_reader(project: Path) -> sqlite3.Connection:
    """A read-only connection that gives tuples, and text whatever its bytes are."""
    db = reader(project)
    db.row_factory = None
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


MATCHES = "SELECT rowid FROM sample_fts WHERE sample_fts MATCH ? ORDER BY rowid"
OF_SEQ = f"SELECT id FROM sample WHERE seq=:seq AND {read.IN_ROUND}"  # noqa: S608 - a constant
SAMPLES_SINCE = "SELECT (SELECT count(*) FROM sample), (SELECT max(finished_at) FROM job WHERE stage='merge')"
# The turn to know a sample by: the first that is not the system's.
OPENING = (
    "json_extract(s.messages, CASE json_extract(s.messages, '$[0][0]') WHEN 'system' THEN '$[1][1]' ELSE '$[0][1]' END)"
)
AMONG = "(SELECT value FROM json_each(?))"
SHOWN = ", ".join(f"{sql} AS {name}" for name, sql in NUMBERS.items())
ROWS = (
    f"SELECT s.id, s.seq, s.born_round, substr({OPENING}, 1, {TEXT_LIMIT + 1}),"  # noqa: S608
    f" g.score_error IS NOT NULL OR g.judge_error IS NOT NULL, g.flaw_lens, s.injection,"
    f" s.id IN (SELECT sample_id FROM unflagged), {SHOWN}"
    f" FROM sample s LEFT JOIN signal g ON g.round=? AND g.sample_id=s.id WHERE s.id IN {AMONG}"
)
AXES_OF = f"SELECT sample_id, axis FROM selection WHERE round=? AND sample_id IN {AMONG} ORDER BY axis"  # noqa: S608
OVERRIDES_OF = f"SELECT sample_id, action FROM override WHERE met_round IS NULL AND sample_id IN {AMONG}"  # noqa: S608
OVERRIDDEN = (
    f"SELECT s.id, s.seq, o.action, o.axis, substr({OPENING}, 1, {TEXT_LIMIT + 1})"  # noqa: S608
    f" FROM override o JOIN sample s ON s.id=o.sample_id WHERE o.met_round IS NULL AND {orders.IN_ROUND} ORDER BY s.seq"
)
STATES_OF = f"SELECT sample_id, axis, state FROM rewrite WHERE round=? AND sample_id IN {AMONG} ORDER BY axis"  # noqa: S608


def _rows(db: sqlite3.Connection, ids: Sequence[int], round: int) -> dict[int, SampleRow]:
    among = json.dumps(list(ids))
    axes: dict[int, tuple[str, ...]] = {}
    for id, axis in db.execute(AXES_OF, (round, among)):
        axes[id] = (*axes.get(id, ()), axis)
    states: dict[int, tuple[tuple[str, str], ...]] = {}
    for id, axis, state in db.execute(STATES_OF, (round, among)):
        states[id] = (*states.get(id, ()), (axis, state))
    wanted = dict(db.execute(OVERRIDES_OF, (among,)))
    out = {}
    for id, seq, born, text, error, lens, found, harmless, *signals in db.execute(ROWS, (round, among)):
        numbers = {name: value for name, value in zip(NUMBERS, signals, strict=True) if value is not None}
        line = guard.one_line(text or "", TEXT_LIMIT)
        shown = (
            axes.get(id, ()),
            states.get(id, ()),
            numbers,
            bool(error),
            wanted.get(id, ""),
            lens or "",
            "" if harmless else guard.one_line(found, TEXT_LIMIT),
            bool(harmless),
        )
        out[id] = SampleRow(id, seq, born, line, *shown)
    return out
