"""A round of the store as arrays, in one pass: for looking at 500k samples at once, where objects would be too slow.

The queries touch only indexes and the signal table, never the conversations; what belongs together is matched in
numpy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import config as configs
from engine import selection
from engine.projection import Lengths, Made, Usage
from engine.selection import Earlier, Lineage, Picks, Try
from engine.store import read
from engine.store.connect import reader
from engine.store.rows import Threshold

Ints = NDArray[np.int64]
SIGNAL = np.dtype(
    [(name, "f8") for name in ("loss_before", "loss_after", "similarity", "quality")]
    + [(name, "f4") for name in ("prompt", "response")]
    + [("id", "i8")]
)


@dataclass(frozen=True, slots=True)
class Round:
    """One round in dataset order: sample ids ([N]), the four signals ([N] each, NaN: missing), lengths in tokens, what
    is not tried again per axis (empty: all may be), and what earlier rounds and rewrites say.
    """

    round: int
    ids: Ints
    values: selection.Values
    lengths: Lengths
    tried: Picks = field(default_factory=dict)
    earlier: Earlier = field(default_factory=lambda: Earlier({}))
    usage: Usage = field(default_factory=Usage)


def read_round(project: Path, round: int, config: configs.Config) -> Round:
    """``round`` of the project in ``project``, as the select stage with ``config`` would see it.

    Raises:
        StoreError: there is no project, or its database cannot be read.
        ConfigError: an overridden rewrite prompt lacks a placeholder.
    """
    db = reader(project)
    db.row_factory = None
    try:
        db.execute("BEGIN")  # one snapshot for all queries, whatever is written meanwhile
        ids = _ids(db, round)
        table = _signals(db, round, ids)
        select = config.select
        tried: Picks = {}
        if select.parity == "ours" and select.remember and round:
            tried = selection.tried(ids.tolist(), _lineages(db, round), _tries(db, round))
        tokens = np.nan_to_num(np.stack([table["prompt"], table["response"]]))
        return Round(
            round,
            ids,
            {s.name: np.ascontiguousarray(table[s.name]) for s in selection.SIGNALS},
            Lengths.of(tokens, config, project),
            tried,
            Earlier.of([_thresholds(db, r) for r in range(round)], config),
            _usage(db, round),
        )
    finally:
        db.close()


def _ids(db: sqlite3.Connection, round: int) -> Ints:
    """The dataset's sample ids in dataset order. Two covering indexes: who is in, and everybody's place."""
    inside = _column(db.execute(f"SELECT id FROM sample WHERE {read.IN_ROUND}", {"round": round}))  # noqa: S608
    placed = _column(db.execute("SELECT id FROM sample ORDER BY seq"))
    return placed[np.isin(placed, inside)] if len(inside) < len(placed) else placed


def _column(rows: Iterable[tuple[int]]) -> Ints:
    return np.fromiter((row[0] for row in rows), np.int64)


def _signals(db: sqlite3.Connection, round: int, ids: Ints) -> NDArray[Any]:
    """The round's signal rows in the order of ``ids``; all NaN where a sample has none."""
    found = np.fromiter(
        db.execute(
            "SELECT loss_before, loss_after, similarity, quality, prompt_tokens, response_tokens, sample_id"
            " FROM signal WHERE round=? ORDER BY sample_id",
            (round,),
        ),
        SIGNAL,
    )
    out = np.zeros(len(ids), dtype=SIGNAL)
    for name in (s.name for s in selection.SIGNALS):
        out[name] = np.nan
    if len(found):
        at = np.minimum(np.searchsorted(found["id"], ids), len(found) - 1)
        known = found["id"][at] == ids
        out[known] = found[at[known]]
    return out


def _lineages(db: sqlite3.Connection, round: int) -> list[Lineage]:
    """Where the dataset's rewritten samples came from."""
    sql = f"SELECT id, parent_id, axis, born_round FROM sample WHERE parent_id IS NOT NULL AND {read.IN_ROUND}"  # noqa: S608
    return [Lineage(*row) for row in db.execute(sql, {"round": round})]


def _tries(db: sqlite3.Connection, round: int) -> list[Try]:
    """All earlier rewrites."""
    found = db.execute("SELECT round, sample_id, axis, state, attempts, improved FROM rewrite WHERE round<?", (round,))
    return [Try(*row) for row in found]


def _thresholds(db: sqlite3.Connection, round: int) -> list[Threshold]:
    sql = "SELECT round, signal, axis, mean, sigma, m, cut, floor, rule, detail FROM threshold WHERE round=?"
    return [Threshold(*row) for row in db.execute(sql, (round,))]


def _usage(db: sqlite3.Connection, round: int) -> Usage:
    """What the rewrites of this and earlier rounds took."""
    found = db.execute(
        "SELECT axis, count(*), sum(attempts + answer_attempts), sum(tokens_in), sum(tokens_out) FROM rewrite"
        " WHERE round<=? AND attempts>0 GROUP BY axis",
        (round,),
    )
    return Usage({axis: Made(*figures) for axis, *figures in found})
