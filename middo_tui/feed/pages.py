"""From the store to a list of samples: the order of their ids, then rows by id. Read-only, and light at half a million.

An order is streamed: the first ids are there as soon as SQLite has them, the rest follow in one array of eight bytes a
sample. Rows are read a page at a time by id, which costs the same wherever in the order the page is (an OFFSET would
not: 38 ms deep down). A sorted-by signal that was not measured comes last, whichever way the order goes.

An ``order`` opens its own connection and may run beside everything else; the other functions take turns.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from threading import Lock

from engine.store.connect import reader
from engine.store.rows import RATING_COLUMNS
from middo_tui import guard
from middo_tui.feed.filters import INDEXED, NUMBERS, Condition, Filter, FilterError, match_of, parse
from middo_tui.feed.hidden import hidden_ids

FIRST = 128
"""Ids in the first block of an order: two pages, more than a screen shows."""
BLOCK = 65_536
"""Ids in each other block: half a megabyte, so that no thread holds much and an order that is not wanted ends soon."""
TEXT_LIMIT = 240


@dataclass(frozen=True, slots=True)
class Order:
    """What to list: the dataset of ``round``, filtered by the line ``where``, by ``sort`` (``down``: high values first)."""  # noqa: E501

    round: int
    where: str = ""
    sort: str = "seq"
    down: bool = False


SORTS: tuple[str, ...] = ("seq", *NUMBERS)
"""What an order can be sorted by."""
RISING = frozenset({"seq", "similarity", "quality", "cluster", *RATING_COLUMNS})
"""Sorted small values first, unless told otherwise: there, small is what needs a look."""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One row of the list. ``axes`` that selected it and ``states`` (axis, state) of its rewrites may be empty."""

    id: int
    seq: int
    born: int
    text: str
    axes: tuple[str, ...]
    states: tuple[tuple[str, str], ...]
    numbers: Mapping[str, float]
    error: bool

    def number(self, name: str) -> float | None:
        """A signal by its name in ``NUMBERS``; None when it was not measured."""
        return self.numbers.get(name)


def check_sort(name: str) -> str:
    """The name itself.

    Raises:
        FilterError: nothing can be sorted by it; says what can.
    """
    if name not in SORTS:
        raise FilterError(f"{name}: nothing to sort by. There are {', '.join(SORTS)}.")
    return name


class Pages:
    """The samples of a project. Opened with the first question; ``close`` gives the connection back."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._db: sqlite3.Connection | None = None
        self._lock = Lock()
        self._hidden: tuple[int, str] = (-1, "[]")

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
            merged = db.execute("SELECT max(round) FROM job WHERE stage='merge' AND state='done'").fetchone()[0]
            return tuple(range(1 if merged is None else merged + 2))

    def newest_scored(self) -> int:
        """The newest dataset whose samples have been scored; the first when none has."""
        with self._open() as db:
            found = db.execute("SELECT max(round) FROM job WHERE stage='score' AND state='done'").fetchone()[0]
            return int(found or 0)

    def order(self, wanted: Order) -> Iterator[array[int]]:
        """The ids in order, in blocks: first up to ``FIRST`` of them as soon as they are known.

        Raises:
            FilterError: the filter or the sort is not understood.
            StoreError, sqlite3.Error: the store cannot be read.
        """
        filter = parse(wanted.where)
        check_sort(wanted.sort)
        db = open_reader(self.project)
        try:
            parameters: dict[str, object] = {"round": wanted.round}
            if filter.needs_hidden:
                parameters["hidden"] = self._with_hidden(db)
            yield from _blocks(db, statements(db, wanted, filter), parameters)
        finally:
            db.close()

    def _with_hidden(self, db: sqlite3.Connection) -> str:
        """The ids of samples with hidden characters, as JSON. Samples never change, so it is looked for once."""
        newest = db.execute("SELECT count(*) FROM sample").fetchone()[0]
        if self._hidden[0] != newest:
            self._hidden = newest, json.dumps(hidden_ids(db))
        return self._hidden[1]

    def rows(self, ids: Sequence[int], round: int) -> dict[int, SampleRow]:
        """The rows of ``ids`` with their signals of ``round``. Three queries, whatever the ids."""
        with self._open() as db:
            return _rows(db, ids, round)

    def matches(self, text: str) -> frozenset[int]:
        """Samples whose text holds all words of ``text``.

        Raises:
            FilterError: there is nothing in it to search for.
        """
        with self._open() as db:
            found = db.execute("SELECT rowid FROM sample_fts WHERE sample_fts MATCH ?", (match_of(text),))
            return frozenset(map(itemgetter(0), found))


def open_reader(project: Path) -> sqlite3.Connection:
    """A read-only connection that gives tuples, and text whatever its bytes are."""
    db = reader(project)
    db.row_factory = None
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


# ----------------------------------------------------------------------------------------------------- order


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL that gives ids in order, and the values it is given besides round and hidden."""

    sql: str
    values: Mapping[str, object]


IN_ROUND = "s.born_round <= :round AND (s.retired_round IS NULL OR s.retired_round > :round)"
SIGNALS = "g.round=:round AND g.sample_id"
FEW = 40_000
"""A condition that so many samples meet is begun with (a look-up each, 3 µs); what more meet is tested in passing."""


def statements(db: sqlite3.Connection, wanted: Order, filter: Filter) -> list[Statement]:
    """What to ask, one after the other, for the whole order.

    SQLite is told where to begin: without statistics (which would be stale at the next round) it guesses, and a wrong
    guess costs a second.
    """
    key = "s.seq" if wanted.sort == "seq" else NUMBERS[wanted.sort]
    way = "DESC" if wanted.down else "ASC"
    if not filter.conditions and wanted.sort == "seq":
        return _in_passing(filter, wanted.sort, key, way)
    if not _scored(db, wanted.round):
        return _among_all(filter, key, way)
    few = _few(db, filter, wanted.round, FEW)
    return _in_passing(filter, wanted.sort, key, way) if few is None else _begin_with(filter, few, key, way)


def _scored(db: sqlite3.Connection, round: int) -> bool:
    """Whether every sample of the dataset has its row of signals: then nobody else need be asked for."""
    done = db.execute("SELECT 1 FROM job WHERE round=? AND stage='score' AND state='done'", (round,)).fetchone()
    return done is not None and db.execute("SELECT 1 FROM signal WHERE round=?", (round,)).fetchone() is not None


def _few(db: sqlite3.Connection, filter: Filter, round: int, most: int) -> Condition | None:
    """The condition that the fewest samples meet, if they are few."""
    best = None
    for condition in filter.conditions:
        if condition.ids is None or condition.hidden:
            continue
        counted = _statement(f"SELECT count(*) FROM ({condition.ids} LIMIT {most + 1})", condition)  # noqa: S608
        found = db.execute(counted.sql, {**counted.values, "round": round}).fetchone()[0]
        if found <= most:
            best, most = condition, found
    return best or next((condition for condition in filter.conditions if condition.hidden and condition.ids), None)


def _in_passing(filter: Filter, sort: str, key: str, way: str) -> list[Statement]:
    """Everybody in order, tested one by one: the first are there at once. The plus keeps SQLite from another way."""
    if sort == "seq":
        where = _tests(filter.conditions, "+s.id")
        source = f"sample s CROSS JOIN signal g ON {SIGNALS}=s.id" if where else "sample s"
        return [
            _statement(f"SELECT s.id FROM {source} WHERE {IN_ROUND}{where} ORDER BY s.seq {way}", *filter.conditions)  # noqa: S608
        ]
    where = _tests(filter.conditions, "+g.sample_id")
    found = f"SELECT g.sample_id FROM signal g WHERE g.round=:round{where}"  # noqa: S608
    asked = [f"{found} ORDER BY {key} IS NULL, {key} {way}"]
    if sort in INDEXED:
        asked = [f"{found} AND {key} IS NOT NULL ORDER BY {key} {way}", f"{found} AND {key} IS NULL"]
    return [_statement(sql, *filter.conditions) for sql in asked]


def _among_all(filter: Filter, key: str, way: str) -> list[Statement]:
    """Some have no signals yet: every sample of the dataset is looked at, those without come last."""
    where = _tests(filter.conditions, "s.id")
    source = f"sample s LEFT JOIN signal g ON {SIGNALS}=s.id"
    sql = f"SELECT s.id FROM {source} WHERE {IN_ROUND}{where} ORDER BY {key} IS NULL, {key} {way}, s.seq"  # noqa: S608
    return [_statement(sql, *filter.conditions)]


def _begin_with(filter: Filter, few: Condition, key: str, way: str) -> list[Statement]:
    """The few of one condition first; of them, those that pass the others."""
    others = [condition for condition in filter.conditions if condition is not few]
    source = f"few CROSS JOIN signal g ON {SIGNALS}=few.id"
    if key == "s.seq":
        source += " CROSS JOIN sample s ON s.id=few.id"
    where = _tests(others, "few.id")
    first = f"WITH few(id) AS MATERIALIZED (SELECT DISTINCT * FROM ({few.ids}))"  # noqa: S608
    sql = f"{first} SELECT few.id FROM {source} WHERE 1{where} ORDER BY {key} IS NULL, {key} {way}"  # noqa: S608
    return [_statement(sql, few, *others)]


def _tests(conditions: Sequence[Condition], id: str) -> str:
    return "".join(f" AND {condition.test.replace('{id}', id)}" for condition in conditions)


def _statement(sql: str, *conditions: Condition) -> Statement:
    """The SQL with a name for each question mark, in the order of ``conditions``."""
    values: dict[str, object] = {}
    for value in (value for condition in conditions for value in condition.values):
        name = f"v{len(values)}"
        sql = sql.replace("?", f":{name}", 1)
        values[name] = value
    return Statement(sql, values)


def _blocks(
    db: sqlite3.Connection, asked: Sequence[Statement], parameters: Mapping[str, object]
) -> Iterator[array[int]]:
    """The ids over all statements: ``FIRST`` of them, then in blocks of ``BLOCK``."""
    found = chain.from_iterable(_ids(db, s, parameters) for s in asked)
    size = FIRST
    while block := array("q", islice(found, size)):
        yield block
        size = BLOCK


def _ids(db: sqlite3.Connection, asked: Statement, parameters: Mapping[str, object]) -> Iterator[int]:
    return map(itemgetter(0), db.execute(asked.sql, {**parameters, **asked.values}))


# ------------------------------------------------------------------------------------------------------ rows

# The turn to know a sample by: the first that is not the system's.
OPENING = (
    "json_extract(s.messages, CASE json_extract(s.messages, '$[0][0]') WHEN 'system' THEN '$[1][1]' ELSE '$[0][1]' END)"
)
AMONG = "(SELECT value FROM json_each(?))"
SHOWN = ", ".join(f"{sql} AS {name}" for name, sql in NUMBERS.items())
ROWS = (
    f"SELECT s.id, s.seq, s.born_round, substr({OPENING}, 1, {TEXT_LIMIT + 1}),"  # noqa: S608
    f" g.score_error IS NOT NULL OR g.judge_error IS NOT NULL, {SHOWN}"
    f" FROM sample s LEFT JOIN signal g ON g.round=? AND g.sample_id=s.id WHERE s.id IN {AMONG}"
)
AXES_OF = f"SELECT sample_id, axis FROM selection WHERE round=? AND sample_id IN {AMONG} ORDER BY axis"  # noqa: S608
STATES_OF = f"SELECT sample_id, axis, state FROM rewrite WHERE round=? AND sample_id IN {AMONG} ORDER BY axis"  # noqa: S608


def _rows(db: sqlite3.Connection, ids: Sequence[int], round: int) -> dict[int, SampleRow]:
    among = json.dumps(list(ids))
    axes: dict[int, tuple[str, ...]] = {}
    for id, axis in db.execute(AXES_OF, (round, among)):
        axes[id] = (*axes.get(id, ()), axis)
    states: dict[int, tuple[tuple[str, str], ...]] = {}
    for id, axis, state in db.execute(STATES_OF, (round, among)):
        states[id] = (*states.get(id, ()), (axis, state))
    out = {}
    for id, seq, born, text, error, *signals in db.execute(ROWS, (round, among)):
        numbers = {name: value for name, value in zip(NUMBERS, signals, strict=True) if value is not None}
        line = guard.one_line(text or "", TEXT_LIMIT)
        out[id] = SampleRow(id, seq, born, line, axes.get(id, ()), states.get(id, ()), numbers, bool(error))
    return out
