"""What an export writes: a round's dataset and what was held out of it, read from the disk as it is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from heapq import merge

from msgspec.structs import replace

from engine.store import numbering, read
from engine.store.dataset import Dataset
from engine.store.rows import Sample


class ExportedSamples:
    """The samples of D_round and those held out of it by ``seq``: the order of the files that they came from."""

    def __init__(self, db: sqlite3.Connection, round: int) -> None:
        self._db, self._round = db, round
        self._dataset = Dataset(db, round)
        held = {row["item"]: row["seq"] for row in db.execute("SELECT item, seq FROM heldout WHERE seq IS NOT NULL")}
        away = [replace(s, seq=held[s.seq]) for s in read.heldout(db) if s.seq in held]
        self._held = sorted(numbering.with_ids(away, set(self._dataset.ids)) if away else [], key=_place)

    def __len__(self) -> int:
        return len(self._dataset) + len(self._held)

    def __iter__(self) -> Iterator[Sample]:
        return merge(self._dataset, self._held, key=_place)

    def extras(self) -> Iterator[str]:
        """The other columns of the samples that have any, in order."""
        held = ((s.seq, s.extra) for s in self._held if s.extra)
        return (extra for _, extra in merge(read.extras(self._db, self._round), held))

    def unusual(self) -> Iterator[Sample]:
        """Those with a turn that has more than a role and text, and all that are held out."""
        sql = (
            f"SELECT id FROM sample WHERE {read.IN_ROUND}"  # noqa: S608 - a constant
            " AND EXISTS (SELECT 1 FROM json_each(messages) WHERE json_array_length(value) > 2)"
        )
        ids = [row[0] for row in self._db.execute(sql, {"round": self._round})]
        yield from self._dataset.walk(ids)
        yield from self._held

    def rewritten(self) -> int:
        """How many have a parent."""
        sql = f"SELECT count(*) FROM sample WHERE {read.IN_ROUND} AND parent_id IS NOT NULL"  # noqa: S608 - a constant
        return int(self._db.execute(sql, {"round": self._round}).fetchone()[0])


def _place(sample: Sample) -> int:
    return sample.seq
