"""A round's dataset as a lazy sequence: the texts of half a million rows stay on disk."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from typing import overload

from engine.store.read import FLAGGED, IN_ROUND, SAMPLE_COLUMNS, to_sample
from engine.store.rows import Sample

PAGE = 500


class Dataset(Sequence[Sample]):
    """D_round in ``seq`` order, as it was when this was made: 8 bytes a sample, the rest is read on demand.

    Reading one by one in order is a query per ``PAGE`` samples; ``dataset[i]`` is a query of its own.
    """

    def __init__(self, db: sqlite3.Connection, round: int) -> None:
        self._db, self._round = db, round
        found = db.execute(f"SELECT id FROM sample WHERE {IN_ROUND} ORDER BY seq", {"round": round})  # noqa: S608
        self.ids = array("q", (row[0] for row in found))
        """The samples' ids, in order."""

    @property
    def flagged(self) -> dict[int, str]:
        """Why samples of it are flagged as possible prompt injections, by id, in order."""
        sql = f"SELECT id, injection FROM sample WHERE {FLAGGED} AND {IN_ROUND} ORDER BY seq"  # noqa: S608
        there = set(self.ids)
        return {row[0]: row[1] for row in self._db.execute(sql, {"round": self._round}) if row[0] in there}

    @property
    def unflagged(self) -> set[int]:
        """The ids of samples, of any round, that a person says are no prompt injections."""
        return {row[0] for row in self._db.execute("SELECT sample_id FROM unflagged")}

    def without(self, ids: Collection[int]) -> Dataset:
        """The same without the samples ``ids``."""
        out = copy(self)
        out.ids = array("q", (id for id in self.ids if id not in ids))
        return out

    @property
    def next_place(self) -> int:
        """The first place after those of all samples that there were until now, also of those that have left."""
        sql = "SELECT seq + 1 FROM sample WHERE +born_round <= ? ORDER BY seq DESC LIMIT 1"  # +: from the table's end
        return next((int(row[0]) for row in self._db.execute(sql, (self._round,))), 0)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> list[Sample]: ...
    def __getitem__(self, at: int | slice) -> Sample | list[Sample]:
        return self.take(self.ids[at]) if isinstance(at, slice) else self.take([self.ids[at]])[0]

    def __iter__(self) -> Iterator[Sample]:
        return self.walk(self.ids)

    def walk(self, ids: Sequence[int]) -> Iterator[Sample]:
        """The samples with these ids, in this order, a page at a time."""
        for start in range(0, len(ids), PAGE):
            yield from self._page(ids[start : start + PAGE])

    def take(self, ids: Sequence[int]) -> list[Sample]:
        """The samples with these ids, in this order."""
        return list(self.walk(ids))

    def _page(self, ids: Sequence[int]) -> list[Sample]:
        marks = ",".join("?" * len(ids))
        sql = f"SELECT {SAMPLE_COLUMNS} FROM sample WHERE id IN ({marks})"  # noqa: S608 - marks only
        found = {row["id"]: to_sample(row) for row in self._db.execute(sql, tuple(ids))}
        return [found[id] for id in ids]
