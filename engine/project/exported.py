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


def _place(sample: Sample) -> int:
    return sample.seq
