"""A round's embedding map as arrays: the samples' coordinates, and which samples are in a rectangle.

Half a million samples are memory-mapped and never become objects. Blocks: call it in a thread.
"""

from __future__ import annotations

import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import compress
from pathlib import Path
from shlex import quote

import msgspec

from engine.errors import UsageError
from engine.files.embedding_map_file import MAP, STEPS, Box, MapFile, MapHead, digest, sums
from engine.store import read
from engine.store.read import IN_ROUND

SUMMED = "count(*), ifnull(sum({0} >> 32), 0), ifnull(sum({0} & 4294967295), 0)"
BORN = f"SELECT {SUMMED.format('id')} FROM sample INDEXED BY sample_by_place WHERE born_round<=?"  # noqa: S608
LEFT = f"SELECT {SUMMED.format('sample_id')} FROM departure WHERE round<=?"  # noqa: S608
IDS = f"SELECT json_group_array(id) FROM (SELECT id FROM sample WHERE id>:after AND {IN_ROUND} ORDER BY id LIMIT :size)"  # noqa: S608
BLOCK = 65_536
"""Rows read at a time, to limit the memory of the JSON that they come as."""
_numbers = msgspec.json.Decoder(list[int]).decode
Point = tuple[float, float]


class PlacedSamples:
    """The map of ``round``: ``head``, coordinates ``x`` (ascending) and ``y`` in steps, and ``order``, which gives for
    each point its sample's index in ``ids``.
    """

    def __init__(self, round: int, file: MapFile, ids: Sequence[int]) -> None:
        self.round, self.file, self.ids = round, file, ids
        self.head: MapHead = file.head
        self.x, self.y, self.order = file.x, file.y, file.order

    def __len__(self) -> int:
        return len(self.order)

    def id(self, at: int) -> int:
        """The id of the sample at point ``at``."""
        return self.ids[self.order[at]]

    def point(self, at: int) -> Point:
        """The coordinates of point ``at`` in units of the map."""
        left, lower, right, upper = self.head.ends
        across, up = self.x[at] / STEPS, self.y[at] / STEPS
        return left + across * (right - left), lower + up * (upper - lower)

    def span(self, left: float, right: float) -> tuple[int, int]:
        """The points [begin, end) whose x is in [``left``, ``right``)."""
        return bisect_left(self.x, self._step(left, 0)), bisect_left(self.x, self._step(right, 0))

    def rows(self, edges: Sequence[float]) -> list[int]:
        """For each step of y the index of the interval between two ``edges`` (ascending) that holds it; -1: none.

        Intervals count from the top: the last one is 0.
        """
        cuts = [min(STEPS + 1, max(0, -int(-self._step(edge, 1) // 1))) for edge in edges]
        out = [-1] * cuts[0]
        for part in range(len(cuts) - 1):
            out += [len(cuts) - 2 - part] * (cuts[part + 1] - cuts[part])
        return out + [-1] * (STEPS + 1 - len(out))

    def within(self, box: Box) -> list[int]:
        """The points in a rectangle, including its left and lower edges."""
        begin, end = self.span(box[0], box[2])
        low, high = self._step(box[1], 1), self._step(box[3], 1)
        return [at for at, y in enumerate(self.y[begin:end], begin) if low <= y < high]

    def ids_within(self, box: Box) -> list[int]:
        """The ids of the samples in a rectangle."""
        return [self.id(at) for at in self.within(box)]

    def _step(self, value: float, axis: int) -> float:
        low, high = self.head.ends[axis], self.head.ends[axis + 2]
        return (value - low) / (high - low) * STEPS

    def points(self, ids: Iterable[int]) -> dict[int, Point]:
        """The coordinates of those of ``ids`` that are on the map."""
        ranks = {}
        for id in ids:
            rank = bisect_left(self.ids, id)
            if rank < len(self.ids) and self.ids[rank] == id:
                ranks[rank] = id
        wanted = compress(range(len(self.order)), map(ranks.__contains__, self.order))
        return {ranks[self.order[at]]: self.point(at) for at in wanted}


def open_map(db: sqlite3.Connection, project: Path, round: int) -> PlacedSamples:
    """The map of ``round``.

    Raises:
        UsageError: there is none; says why, and how to make one.
    """
    return with_ids(db, open_places(db, project, round))


def open_places(db: sqlite3.Connection, project: Path, round: int) -> PlacedSamples:
    """The points, without checking that they belong to this dataset, so that they can be drawn at once. ``ids`` is
    empty for a file of an older format.

    Raises:
        UsageError: there is no map; says why, and how to make one.
    """
    found = read.artifact(db, round, MAP)
    if found is None:
        raise UsageError(_missing(db, project, round))
    try:
        file = MapFile(project / found[0])
        return PlacedSamples(round, file, file.ids)
    except (OSError, ValueError) as error:
        raise UsageError(f"The map of round {round} cannot be read: {error}. {_make_anew(project)}") from None


def with_ids(db: sqlite3.Connection, placed: PlacedSamples) -> PlacedSamples:
    """The same points with their ids, checked against the dataset.

    Raises:
        UsageError: the map was made of another dataset.
    """
    known = placed.ids if placed.file.ids else _ids(db, placed.round)
    dataset = _sums(db, placed.round) if placed.file.ids else digest(array("q", known).tobytes())
    if placed.head.dataset != dataset:
        raise UsageError(f"The map of round {placed.round} is of another dataset. Rerun the score stage.")
    return placed if placed.file.ids else PlacedSamples(placed.round, placed.file, known)


def _sums(db: sqlite3.Connection, round: int) -> str:
    """A digest of the dataset's ids: of all that were ever in it, minus those that left. Half a million take 60 ms,
    mostly without the interpreter's lock.
    """
    born, left = (tuple(db.execute(sql, (round,)).fetchone()) for sql in (BORN, LEFT))
    return sums(*(int(all - gone) for all, gone in zip(born, left, strict=True)))


def _ids(db: sqlite3.Connection, round: int) -> array[int]:
    """The ids of a dataset, ascending."""
    out, after = array("q"), -(1 << 63)
    while True:
        values = {"round": round, "after": after, "size": BLOCK}
        found = _numbers(db.execute(IDS, values).fetchone()[0])
        out.extend(found)
        if len(found) < BLOCK:
            return out
        after = found[-1]


COMPARED = "SELECT 1 FROM signal WHERE round=? AND similarity IS NOT NULL LIMIT 1"
"""Finds a sample with a similarity; there is one as soon as two samples have embeddings."""


def _missing(db: sqlite3.Connection, project: Path, round: int) -> str:
    jobs = {job.stage: job.state for job in read.jobs(db) if job.round == round}
    if "score" not in jobs and jobs:
        return f"Round {round} has no map: the final evaluation scores no samples."
    if jobs.get("score") != "done":
        return f"Round {round} has no map yet: the score stage makes it."
    if read.artifact(db, round, "embeddings") is None:
        return f"Round {round} has no map: none of its samples could be embedded, or its embeddings are gone."
    if db.execute(COMPARED, (round,)).fetchone() is None:
        return f"Round {round} has no map: fewer than two of its samples have an embedding."
    return f"Round {round} was scored by a version without maps. {_make_anew(project)}"


def _make_anew(project: Path) -> str:
    return f"Make it from the saved embeddings: middo-tui plot {quote(str(project))} map map.svg"


def mapped_rounds(db: sqlite3.Connection) -> tuple[int, ...]:
    """The rounds that have a map, oldest first."""
    return tuple(row[0] for row in db.execute("SELECT round FROM artifact WHERE name=? ORDER BY round", (MAP,)))
