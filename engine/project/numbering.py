"""Assigns ids and ``seq`` numbers to imported samples. Exact copies get distinct ids and are counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from msgspec.structs import replace

from engine.store.rows import Sample, content_id, load_messages


def copies(db: sqlite3.Connection, samples: Iterable[Sample]) -> int:
    """Number of samples whose content equals an earlier one's, in this import or in the project."""
    seen = {row[0] for row in db.execute("SELECT id FROM sample")}
    for row in db.execute("SELECT messages FROM heldout WHERE seq IS NOT NULL"):
        seen.add(content_id(load_messages(row["messages"])))
    count = 0
    for sample in samples:
        first = content_id(sample.messages)
        count += first in seen
        seen.add(first)
    return count


def numbered(db: sqlite3.Connection, samples: Iterable[Sample]) -> list[Sample]:
    """Samples with unused ids and ``seq`` numbers. Exact copies get copy numbers."""
    taken = {row[0] for row in db.execute("SELECT id FROM sample")}
    top = db.execute(
        "SELECT max(m) FROM (SELECT max(seq) AS m FROM sample UNION ALL SELECT max(seq) FROM heldout)"
    ).fetchone()[0]
    start = 0 if top is None else top + 1
    return [replace(s, seq=seq) for seq, s in enumerate(with_ids(samples, taken), start=start)]


def with_ids(samples: Iterable[Sample], taken: set[int]) -> list[Sample]:
    """The samples with ids that are not in ``taken``."""
    used, out = set(taken), []
    copies: dict[int, int] = {}
    for sample in samples:
        first = content_id(sample.messages)
        copy = copies.get(first, 0)
        while (id := content_id(sample.messages, copy) if copy else first) in used:
            copy += 1
        copies[first] = copy + 1
        used.add(id)
        out.append(replace(sample, id=id))
    return out
