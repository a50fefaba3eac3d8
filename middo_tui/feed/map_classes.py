"""What a map is coloured by: every sample's class (a fate, an axis, a fifth of a signal, a cluster), and their names.

Classes are told apart by a mark as well as by a colour. For threads.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Literal

import msgspec
from msgspec import Struct

from engine.plurals import counted
from middo_tui.feed.map_places import BLOCK
from middo_tui.feed.pages import OPENING
from middo_tui.terminal import guard
from middo_tui.text import number_format

Colour = Literal["state", "axis", "base loss", "tuned loss", "quality", "similarity", "flaw", "cluster"]
COLOURS: tuple[Colour, ...] = ("state", "axis", "base loss", "tuned loss", "quality", "similarity", "flaw", "cluster")
SIGNALS: dict[Colour, tuple[str, bool, int]] = {
    "base loss": ("loss_before", True, 2),
    "tuned loss": ("loss_after", True, 2),
    "quality": ("quality", False, 1),
    "similarity": ("similarity", False, 3),
    "flaw": ("flaw", True, 2),
}
"""Column, whether high values are the ones to look at, decimals."""
FIFTHS = ("series-3", "series-2", "series-1", "active", "warn")
"""From what is fine to what needs a look: grey, blue, orange are told apart by all eyes, and by their lightness."""
CLUSTERS = 6
CLUSTER_ROLES = ("complexity", "diversity", "quality", "active", "decide", "bad")
STATES: tuple[tuple[str, str, str], ...] = (
    ("·", "not selected", "series-1"),
    ("+", "new in this round", "diversity"),
    ("=", "original kept", ""),
    ("…", "rewrite pending", "active"),
    ("!", "failed", "warn"),
    ("✘", "rejected", "bad"),
    ("✔", "accepted", "quality"),
    ("?", "undecided", "decide"),
)
"""Mark, name, role; of several rewrites of a sample the one that is last here counts."""
OF_STATE = {"kept": 2, "owed": 3, "prompted": 3, "failed": 4, "rejected": 5, "accepted": 6, "proposed": 7}
AXES: tuple[tuple[str, str, str], ...] = (
    ("·", "not selected", "series-1"),
    ("C", "complexity", "complexity"),
    ("D", "diversity", "diversity"),
    ("Q", "quality", "quality"),
    ("&", "several axes", "decide"),
)
NAME = 60
"""Characters of a cluster's exemplar."""
CUTS = "SELECT {0} FROM signal WHERE round=:round AND {0} IS NOT NULL ORDER BY {0} LIMIT 1 OFFSET :offset"
COUNT = "SELECT count(*) FROM signal WHERE round=:round AND {0} IS NOT NULL"
VALUES = (
    "SELECT json_group_array(v) FROM (SELECT {0} AS v FROM signal WHERE round=:round"
    " AND sample_id BETWEEN :first AND :last ORDER BY sample_id)"
)
LARGEST = (
    "SELECT cluster, exemplar FROM cluster WHERE round=:round AND cluster>=0 AND size>0 ORDER BY size DESC, cluster"
)

_values = msgspec.json.Decoder(list[float | None]).decode


class MapClass(Struct, frozen=True):
    """One class: its mark, its name, its role among the colours, how many samples of the map are in it."""

    mark: str
    name: str
    role: str
    count: int


class Coloured(Struct, frozen=True):
    """``codes``: of every place of a map, in its order, the number of its class."""

    colour: Colour
    codes: bytes
    classes: tuple[MapClass, ...]

    @property
    def total(self) -> int:
        """Samples on the map."""
        return len(self.codes)


def coloured(db: sqlite3.Connection, round: int, ids: Sequence[int], order: Sequence[int], colour: Colour) -> Coloured:
    """The classes of a map's samples. ``ids``: of the dataset, ascending; ``order``: of each place its rank there."""
    ranks, names = _MADE_BY.get(colour, _fifths(colour))(db, round, ids)
    codes = bytes(map(ranks.__getitem__, order))
    counts = Counter(codes)
    return Coloured(colour, codes, tuple(MapClass(*name, counts[at]) for at, name in enumerate(names)))


Names = Sequence[tuple[str, str, str]]
Classes = tuple[bytearray, Names]


def _states(db: sqlite3.Connection, round: int, ids: Sequence[int]) -> Classes:
    out = bytearray(len(ids))
    born = db.execute("SELECT id FROM sample WHERE born_round=? AND born_round>0", (round,))
    _put(out, ids, ((id, 1) for (id,) in map(tuple, born)))
    found = db.execute("SELECT sample_id, state FROM rewrite WHERE round=?", (round,))
    _put(out, ids, ((id, OF_STATE[state]) for id, state in map(tuple, found)))
    return out, STATES


def _axes(db: sqlite3.Connection, round: int, ids: Sequence[int]) -> Classes:
    out = bytearray(len(ids))
    codes = {"complexity": 1, "diversity": 2, "quality": 3}
    several = "SELECT sample_id, CASE count(*) WHEN 1 THEN max(axis) ELSE '' END FROM selection WHERE round=?"
    found = db.execute(f"{several} GROUP BY sample_id", (round,))
    _put(out, ids, ((id, codes.get(axis, 4)) for id, axis in map(tuple, found)))
    return out, AXES


def _put(out: bytearray, ids: Sequence[int], found: Iterable[tuple[int, int]]) -> None:
    """Set the classes of some samples; the higher one stays."""
    for id, code in found:
        rank = bisect_left(ids, id)
        if rank < len(ids) and ids[rank] == id:
            out[rank] = max(out[rank], code)


def _fifths(colour: Colour) -> Callable[[sqlite3.Connection, int, Sequence[int]], Classes]:
    """Fifths of the samples by a signal; the last class is the one to look at."""

    def made(db: sqlite3.Connection, round: int, ids: Sequence[int]) -> Classes:
        column, high, digits = SIGNALS[colour]
        values = _column(db, round, column, ids)
        count = db.execute(COUNT.format(column), {"round": round}).fetchone()[0]
        cuts = [_at(db, round, column, count * part // 5) for part in range(1, 5)] if count else []
        code = {at: at + 1 if high else 5 - at for at in range(5)}
        out = bytearray(0 if value is None else code[bisect_right(cuts, value)] for value in values)
        names = [("·", "not measured", "series-3")]
        for fifth in range(5):
            at = fifth if high else 4 - fifth
            names.append((str(fifth + 1), _range(cuts, at, digits), FIFTHS[fifth]))
        return out, names

    return made


def _range(cuts: Sequence[float], at: int, digits: int) -> str:
    """``0.52 to 1.10``, with an open end at both ends."""
    if not cuts:
        return "none"
    low = "" if at == 0 else number_format.fixed(cuts[at - 1], digits)
    high = "" if at == len(cuts) else number_format.fixed(cuts[at], digits)
    return f"below {high}" if not low else f"{low} and above" if not high else f"{low} to {high}"


def _at(db: sqlite3.Connection, round: int, column: str, offset: int) -> float:
    return float(db.execute(CUTS.format(column), {"round": round, "offset": offset}).fetchone()[0])


def _column(db: sqlite3.Connection, round: int, column: str, ids: Sequence[int]) -> Iterator[float | None]:
    """A signal of each of ``ids`` in turn; of none where some have no row yet."""
    for start in range(0, len(ids), BLOCK):
        block = ids[start : start + BLOCK]
        values = {"round": round, "first": block[0], "last": block[-1]}
        found = _values(db.execute(VALUES.format(column), values).fetchone()[0])
        yield from found if len(found) == len(block) else repeat(None, len(block))


def _clusters(db: sqlite3.Connection, round: int, ids: Sequence[int]) -> Classes:
    largest = [tuple(row) for row in db.execute(LARGEST, {"round": round})]
    place = {float(cluster): at + 2 for at, (cluster, _) in enumerate(largest[:CLUSTERS])}
    values = _column(db, round, "cluster", ids)
    out = bytearray(0 if value is None or value < 0 else place.get(value, 1) for value in values)
    rest = max(0, len(largest) - CLUSTERS)
    names = [("·", number_format.UNCLUSTERED, "series-3"), ("o", counted(rest, "smaller cluster"), "series-1")]
    prompts = _openings(db, [exemplar for _, exemplar in largest[:CLUSTERS]])
    for at, (cluster, exemplar) in enumerate(largest[:CLUSTERS]):
        names.append((chr(ord("a") + at), prompts.get(exemplar, f"cluster {cluster}"), CLUSTER_ROLES[at]))
    return out, names


def _openings(db: sqlite3.Connection, ids: Sequence[int]) -> dict[int, str]:
    """How the prompts of ``ids`` begin, clean."""
    sql = f"SELECT s.id, substr({OPENING}, 1, {NAME + 1}) FROM sample s WHERE s.id IN (SELECT value FROM json_each(?))"  # noqa: S608
    found = db.execute(sql, (msgspec.json.encode(list(ids)).decode(),))
    return {id: guard.one_line(text or "", NAME) for id, text in map(tuple, found)}


_MADE_BY: Mapping[str, Callable[[sqlite3.Connection, int, Sequence[int]], Classes]] = {
    "state": _states,
    "axis": _axes,
    "cluster": _clusters,
}
