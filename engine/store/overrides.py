"""What a person wants of single samples, whatever the signals say. Standard library only.

- drop: it leaves the dataset with the next merge, unless an accepted rewrite replaces it;
- protect: no round selects it, and no merge retires it as redundant;
- rewrite: the next selection takes it, on the axis that the person named.

An override holds until it is cleared; a rewrite request also ends when a round has selected the sample.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from engine.errors import UsageError
from engine.store import read
from engine.store.connect import transaction, writer
from engine.store.rows import AXES, Override

ACTIONS = ("drop", "protect", "rewrite")


class OverridesSet(Struct, frozen=True):
    """``changed`` samples have another override now; ``left`` were asked for but are not in the newest dataset."""

    changed: int
    left: int


def set_overrides(project: Path, ids: Sequence[int], action: str, axis: str | None = None) -> OverridesSet:
    """Override what happens to the samples ``ids`` of the newest dataset, in one transaction.

    Args:
        action: one of ``ACTIONS``.
        axis: the axis to rewrite on; only with ``rewrite``.

    Raises:
        UsageError: the action or the axis is unknown, or a rewrite would lose something of the only sample.
    """
    if action not in ACTIONS:
        raise UsageError(f"{action}: a sample can be overridden by {', '.join(ACTIONS)}.")
    if (action == "rewrite") != (axis in AXES):
        raise UsageError(f"rewrite needs an axis ({', '.join(AXES)}), and the other overrides have none.")
    db = writer(project, durable=True)
    try:
        with transaction(db):
            inside = _in_newest(db, ids)
            if action == "rewrite":
                inside = _rewritable(db, inside)
            before = current(db)
            wanted = [Override(id, action, axis, time.time()) for id in inside]
            changed = [one for one in wanted if not one.same(before.get(one.sample_id))]
            db.executemany(
                "INSERT OR REPLACE INTO override (sample_id, action, axis, at) VALUES (?,?,?,?)",
                [(one.sample_id, one.action, one.axis, one.at) for one in changed],
            )
            return OverridesSet(len(changed), len(set(ids)) - len(inside))
    finally:
        db.close()


def clear_overrides(project: Path, ids: Sequence[int]) -> int:
    """Let the signals decide about ``ids`` again; returns how many had an override."""
    db = writer(project, durable=True)
    try:
        with transaction(db):
            sql = "DELETE FROM override WHERE sample_id IN (SELECT value FROM json_each(?))"
            return db.execute(sql, (json.dumps(list(ids)),)).rowcount
    finally:
        db.close()


def current(db: sqlite3.Connection) -> dict[int, Override]:
    """All overrides by sample id, also those of samples that have left, and requests that a round has met."""
    found = db.execute("SELECT sample_id, action, axis, at, met_round FROM override ORDER BY sample_id")
    return {row[0]: Override(*tuple(row)) for row in found}


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """How many samples of the newest dataset are overridden, by action."""
    inside = f"SELECT id FROM sample WHERE {read.IN_ROUND}"  # noqa: S608
    where = f"met_round IS NULL AND sample_id IN ({inside})"
    sql = f"SELECT action, count(*) FROM override WHERE {where} GROUP BY action"  # noqa: S608
    found = {row[0]: int(row[1]) for row in db.execute(sql, {"round": read.newest_dataset(db)})}
    return {action: found.get(action, 0) for action in ACTIONS}


def _in_newest(db: sqlite3.Connection, ids: Sequence[int]) -> list[int]:
    sql = f"SELECT id FROM sample WHERE id IN (SELECT value FROM json_each(:ids)) AND {read.IN_ROUND}"  # noqa: S608
    return [row[0] for row in db.execute(sql, {"ids": json.dumps(list(ids)), "round": read.newest_dataset(db)})]


def _rewritable(db: sqlite3.Connection, ids: Sequence[int]) -> list[int]:
    """``ids`` without the samples that a rewrite would lose something of."""
    sql = "SELECT id, seq, unwritable FROM sample WHERE id IN (SELECT value FROM json_each(?)) AND unwritable<>''"
    kept = db.execute(sql, (json.dumps(list(ids)),)).fetchall()
    if len(ids) == 1 and kept:
        raise UsageError(f"#{kept[0][1]:,} cannot be rewritten, as that would lose something: {kept[0][2]}.")
    lost = {row[0] for row in kept}
    return [id for id in ids if id not in lost]
