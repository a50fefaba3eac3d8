"""The order of a list of samples: the ids of a dataset, filtered and sorted, as a stream of blocks.

The first block is there as soon as SQLite has found its ids, the rest follows in arrays of eight bytes a sample. A
sorted-by signal that was not measured comes last, whichever way the order goes.

A filter is answered in one of two ways. Few samples are looked up one by one (3 µs each). Of more, the ids are read
from an index, and the order of the whole dataset passes by them: half a million in 30 ms, where a look-up each would
take two seconds. Whole orders are kept for a while, so that the next filter, and the other way round, need not be
read.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import compress, filterfalse, islice
from operator import itemgetter
from threading import Lock

import msgspec
from msgspec import Struct

from engine.store.rows import RATING_COLUMNS
from middo_tui.feed.filters import ALIASES, INDEXED, NUMBERS, Condition, Filter, FilterError
from middo_tui.feed.search_hits import AT_ONCE, FIRST_LOOK, among

FIRST = 128
"""Ids in the first block of an order: two pages, more than a screen shows."""
BLOCK = 65_536
"""Ids in each other block: half a megabyte, so that no thread holds much and an order that is not wanted ends soon."""
FEW = 12_000
"""So many samples that one condition lets through are looked up one by one; more where the order was not read yet."""
UNREAD = 3
KEPT = 2
"""Whole orders that are kept: four megabytes each at half a million. The table that shows one shares it."""


class Order(Struct, frozen=True):
    """What to list: the dataset of ``round``, filtered by the line ``where``, by ``sort`` (``down``: high values first)."""  # noqa: E501

    round: int
    where: str = ""
    sort: str = "seq"
    down: bool = False


SORTS: tuple[str, ...] = ("seq", *NUMBERS)
"""What an order can be sorted by."""
RISING = frozenset({"seq", "similarity", "quality", "cluster", *RATING_COLUMNS})
"""Sorted small values first, unless told otherwise: there, small is what needs a look."""


def check_sort(name: str) -> str:
    """What is meant by ``name``, which may be a column's heading.

    Raises:
        FilterError: nothing can be sorted by it; says what may be meant.
    """
    found = ALIASES.get(name.lower(), name.lower())
    if found not in SORTS:
        near = get_close_matches(found, SORTS, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Keys: {', '.join(SORTS)}."
        raise FilterError(f"{name}: unknown sort key. {hint}")
    return found


class Statement(Struct, frozen=True):
    """SQL that gives ids in order, and the values it is given besides round and hidden."""

    sql: str
    values: Mapping[str, object]


IN_ROUND = (
    "s.born_round <= :round AND NOT EXISTS (SELECT 1 FROM departure d WHERE d.sample_id = s.id AND d.round <= :round)"
)
SIGNALS = "g.round=:round AND g.sample_id"

Parameters = Mapping[str, object]


# ------------------------------------------------------------------------------------------- whole orders


class Whole(Struct, frozen=True):
    """All of a dataset by a sort: the first ``measured`` ids have a value to sort by. ``state``: see ``_state``."""

    state: object
    ids: array[int]
    measured: int


class OrderCache:
    """The whole orders that were read last. Used by any thread; what it gives is not to be changed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._orders: dict[tuple[int, str, bool], Whole] = {}

    def put(self, wanted: Order, whole: Whole) -> None:
        """Keep it, and forget the oldest."""
        with self._lock:
            key = (wanted.round, wanted.sort, wanted.down)
            others = [other for other in self._orders if other[:2] != key[:2]]
            self._orders = {**{other: self._orders[other] for other in others[1 - KEPT :]}, key: whole}

    def get(self, wanted: Order, state: object) -> Iterator[array[int]] | None:
        """In blocks, as it was read or turned round."""
        for down in (wanted.down, not wanted.down):
            key = (wanted.round, wanted.sort, down)
            with self._lock:
                whole = self._orders.get(key)
                if whole is not None and whole.state == state:
                    self._orders[key] = self._orders.pop(key)  # the newest now
                    return _turned(whole) if down != wanted.down else _cut(whole.ids, FIRST)
        return None

    def rest(self) -> None:
        """Keep only the newest: the table that shows it holds it anyway."""
        with self._lock:
            self._orders = dict(list(self._orders.items())[-1:])

    def same(self, wanted: Order, ids: array[int]) -> array[int]:
        """The kept order that ``ids`` are a copy of, to be held in its place; else ``ids``."""
        if wanted.where:
            return ids
        with self._lock:
            whole = self._orders.get((wanted.round, wanted.sort, wanted.down))
        return whole.ids if whole is not None and whole.ids == ids else ids


def _turned(whole: Whole) -> Iterator[array[int]]:
    """The other way round, but what was not measured still comes last. Block by block: all at once takes 10 ms."""
    if whole.measured < FIRST:
        yield from _cut(whole.ids[: whole.measured][::-1] + whole.ids[whole.measured :], FIRST)
        return
    end, size = whole.measured, FIRST
    while end > 0:
        yield whole.ids[max(0, end - size) : end][::-1]
        end, size = end - size, BLOCK
    yield from _cut(whole.ids[whole.measured :], BLOCK)


def _cut(ids: array[int], size: int) -> Iterator[array[int]]:
    """So many ids, then the others in blocks of ``BLOCK``."""
    yield from (block for block in (ids[:size],) if block)
    for start in range(size, len(ids), BLOCK):
        yield ids[start : start + BLOCK]


def _state(db: sqlite3.Connection, round: int) -> object:
    """What a whole order of the round depends on; None while it may change at any moment."""
    jobs = db.execute(
        "SELECT round, stage, state, started_at, finished_at FROM job WHERE stage IN ('score', 'judge', 'merge')"
        " AND round<=? ORDER BY round, stage",
        (round,),
    ).fetchall()
    now = {stage: state for of, stage, state, *_ in jobs if of == round}
    if now.get("score") != "done" or now.get("judge") != "done":
        return None
    return (*jobs, db.execute("SELECT max(seq) FROM sample").fetchone()[0])


def _whole(db: sqlite3.Connection, wanted: Order, kept: OrderCache) -> Iterator[array[int]]:
    """Everybody in order, in blocks; kept once it was read to its end."""
    state = _state(db, wanted.round)
    there = None if state is None else kept.get(wanted, state)
    if there is not None:
        yield from there
        return
    if wanted.sort not in ("seq", *INDEXED):
        yield from _blocks(_ids(db, _sorted(wanted), {"round": wanted.round}))
        return
    db.execute("BEGIN")  # one snapshot for all the blocks, whatever a stage writes meanwhile
    ids, measured = array("q"), 0
    for at, walk in enumerate(_walks(wanted)):
        for block in _walked(db, walk, wanted.round, BLOCK if ids else FIRST):
            ids.extend(block)
            yield block
        measured = measured if at else len(ids)
    if state is not None:
        kept.put(wanted, Whole(state, ids, measured))


def _sorted(wanted: Order) -> Statement:
    """Everybody by a signal that has no index, of a dataset of which every sample has its row of signals."""
    key, way = _key(wanted)
    sql = f"SELECT g.sample_id FROM signal g WHERE g.round=:round ORDER BY {key} IS NULL, {key} {way}"  # noqa: S608
    return Statement(sql, {})


class Walk(Struct, frozen=True):
    """A way along an index: ``id`` of the rows of ``table`` that are ``among``, by columns that no two rows share."""

    table: str
    id: str
    among: str
    by: tuple[str, ...]
    down: bool = False


def _walks(wanted: Order) -> tuple[Walk, ...]:
    """Everybody by place; or by a signal, and after them those without a value."""
    if wanted.sort == "seq":
        return (Walk("sample s", "s.id", IN_ROUND, ("s.seq",), wanted.down),)
    key = NUMBERS[wanted.sort]
    of, id = "signal g", "g.sample_id"
    return (
        Walk(of, id, f"g.round=:round AND {key} IS NOT NULL", (key, id), wanted.down),
        Walk(of, id, f"g.round=:round AND {key} IS NULL", (id,)),
    )


_numbers = msgspec.json.Decoder(list[int]).decode


def _walked(db: sqlite3.Connection, walk: Walk, round: int, size: int) -> Iterator[array[int]]:
    """The ids in blocks, the first of ``size``; each block is one text from SQLite, a quarter faster than row by row,
    which would also take the interpreter from whatever paints half a million times.
    """
    way, beyond = ("DESC", "<") if walk.down else ("ASC", ">")
    order, by = ", ".join(f"{column} {way}" for column in walk.by), ", ".join(walk.by)
    after, values = "", {"round": round, "size": size}
    while True:
        rows = f"SELECT {walk.id} AS id FROM {walk.table} WHERE {walk.among}{after} ORDER BY {order} LIMIT :size"  # noqa: S608
        ids = array("q", _numbers(db.execute(f"SELECT json_group_array(id) FROM ({rows})", values).fetchone()[0]))  # noqa: S608
        if ids:
            yield ids
        if len(ids) < values["size"]:
            return
        last = f"SELECT {by} FROM {walk.table} WHERE {walk.among} AND {walk.id}={ids[-1]}"  # noqa: S608
        names = [f"k{at}" for at in range(len(walk.by))]
        after = f" AND ({by}) {beyond} (:{', :'.join(names)})"
        values = {"round": round, "size": BLOCK, **dict(zip(names, db.execute(last, values).fetchone(), strict=True))}


# ------------------------------------------------------------------------------------------ filtered orders


def listed(db: sqlite3.Connection, wanted: Order, asked: Filter, hidden: str, kept: OrderCache) -> Iterator[array[int]]:
    """The ids in blocks: first up to ``FIRST`` of them as soon as they are known. ``hidden``: ids, as JSON."""
    values = {"round": wanted.round, "hidden": hidden}
    scored = _scored(db, wanted.round)
    if not asked.conditions and (scored or wanted.sort == "seq"):
        return _whole(db, wanted, kept)
    if not scored:
        return _blocks(_ids(db, _among_all(asked, wanted), values))
    read = kept.get(wanted, _state(db, wanted.round)) is not None
    few = _few(db, asked, values, FEW if read else FEW * UNREAD)
    if few is not None:
        return _blocks(_ids(db, _begin_with(asked, few, wanted), values))
    return _passed(_whole(db, wanted, kept), _gate(db, asked, values))


def _scored(db: sqlite3.Connection, round: int) -> bool:
    """Whether every sample of the dataset has its row of signals: then nobody else need be asked for."""
    done = db.execute("SELECT 1 FROM job WHERE round=? AND stage='score' AND state='done'", (round,)).fetchone()
    return done is not None and db.execute("SELECT 1 FROM signal WHERE round=?", (round,)).fetchone() is not None


def _few(db: sqlite3.Connection, asked: Filter, values: Parameters, most: int) -> Condition | None:
    """The condition that the fewest samples meet, if they are few."""
    best = None
    for condition in asked.conditions:
        if not condition.out and (found := _count(db, condition, condition.ids, values, most + 1)) <= most:
            best, most = condition, found
    return best


def _count(db: sqlite3.Connection, condition: Condition, ids: str, values: Parameters, most: int) -> int:
    """How many ids there are, not counting beyond ``most``."""
    counted = _statement(f"SELECT count(*) FROM ({ids} LIMIT {max(0, most)})", condition)  # noqa: S608
    return int(db.execute(counted.sql, {**values, **counted.values}).fetchone()[0])


class PassingSamples:
    """What lets through those that meet all conditions. ``conditions``: ids, and whether these are to stay outside.

    Few ids are held as sets; more than ``AT_ONCE`` of a condition as eight bytes each, not seventy, and then all of an
    order is looked at together (``whole``), as that takes a moment however few are asked about.
    """

    def __init__(self, conditions: Sequence[tuple[array[int], bool]]) -> None:
        self.whole = any(len(ids) > AT_ONCE for ids, _ in conditions)
        self._conditions = sorted(conditions, key=lambda one: (one[1], len(one[0])))  # the fewest pass first
        self._sets = [] if self.whole else [(set(ids), out) for ids, out in self._conditions]

    def passing(self, block: array[int]) -> array[int]:
        """Those of ``block``, in order."""
        for inside, out in self._sets:
            block = array("q", (filterfalse if out else filter)(inside.__contains__, block))
        for ids, out in self._conditions if self.whole else ():
            flags = among(ids, block)
            block = array("q", compress(block, flags.translate(TURNED) if out else flags))
        return block


TURNED = bytes([1, 0]) + bytes(254)


def _gate(db: sqlite3.Connection, asked: Filter, values: Parameters) -> PassingSamples:
    """A condition that most samples meet is known by those that do not."""
    found = []
    half = db.execute("SELECT max(seq) FROM sample").fetchone()[0] // 2
    for condition in asked.conditions:
        ids, out = condition.ids, condition.out
        if condition.rest is not None and _count(db, condition, ids, values, half + 1) > half:
            ids, out = condition.rest, not out
        found.append((array("q", _ids(db, _statement(ids, condition), values)), out))
    return PassingSamples(found)


def _passed(whole: Iterator[array[int]], gate: PassingSamples) -> Iterator[array[int]]:
    """Those of an order that pass, the first ``FIRST`` together."""
    begun, first = False, array("q")
    for block in _together(whole) if gate.whole else whole:
        found = gate.passing(block)
        if begun:
            yield found
            continue
        first += found
        if len(first) >= FIRST:
            begun = True
            yield first[:FIRST]
            yield first[FIRST:]
    if not begun and first:
        yield first


def _together(whole: Iterator[array[int]]) -> Iterator[array[int]]:
    """As many as are quickly looked at, then all others."""
    first = array("q")
    for block in islice(whole, 2):
        first.extend(block)
    yield first[:FIRST_LOOK]
    rest = first[FIRST_LOOK:]
    for block in whole:
        rest.extend(block)
    if rest:
        yield rest


def _among_all(asked: Filter, wanted: Order) -> Statement:
    """Some have no signals yet: every sample of the dataset is looked at, those without come last."""
    key, way = _key(wanted)
    where = _tests(asked.conditions, "s.id")
    source = f"sample s LEFT JOIN signal g ON {SIGNALS}=s.id"
    sql = f"SELECT s.id FROM {source} WHERE {IN_ROUND}{where} ORDER BY {key} IS NULL, {key} {way}, s.seq"  # noqa: S608
    return _statement(sql, *asked.conditions)


def _begin_with(asked: Filter, few: Condition, wanted: Order) -> Statement:
    """The few of one condition first; of them, those that pass the others.

    SQLite is told where to begin: without statistics (which would be stale at the next round) it guesses, and a wrong
    guess costs a second.
    """
    key, way = _key(wanted)
    others = [condition for condition in asked.conditions if condition is not few]
    source = f"few CROSS JOIN signal g ON {SIGNALS}=few.id"
    if key == "s.seq":
        source += " CROSS JOIN sample s ON s.id=few.id"
    where = _tests(others, "few.id")
    first = f"WITH few(id) AS MATERIALIZED (SELECT DISTINCT * FROM ({few.ids}))"  # noqa: S608
    sql = f"{first} SELECT few.id FROM {source} WHERE 1{where} ORDER BY {key} IS NULL, {key} {way}"  # noqa: S608
    return _statement(sql, few, *others)


def _key(wanted: Order) -> tuple[str, str]:
    return "s.seq" if wanted.sort == "seq" else NUMBERS[wanted.sort], "DESC" if wanted.down else "ASC"


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


def _blocks(found: Iterator[int], size: int = FIRST) -> Iterator[array[int]]:
    """So many ids, then the others in blocks of ``BLOCK``."""
    while block := array("q", islice(found, size)):
        yield block
        size = BLOCK


def _ids(db: sqlite3.Connection, asked: Statement, parameters: Parameters) -> Iterator[int]:
    return map(itemgetter(0), db.execute(asked.sql, {**parameters, **asked.values}))
