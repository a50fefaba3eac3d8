"""Writing from a person's side: what is wanted, and decisions. Durable when the call returns; standard library only.

Every decision is journalled. A batch (one keypress, one command) is one step of undo.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from engine.errors import StoreError, UsageError
from engine.store.connect import transaction, writer

OPEN = ("proposed", "accepted", "rejected")  # states a person may still change; merged ones are history


def set_plan(project: Path, rounds: int, until: tuple[int, str] | None = None, auto: bool = False) -> None:
    """Ask for at most ``rounds`` rounds, up to and including stage ``until`` = (round, stage). Asking for more rounds
    than before lifts the stop rule's last verdict."""
    db = writer(project, durable=True)
    try:
        with transaction(db):
            before = db.execute("SELECT rounds FROM plan WHERE id=1").fetchone()
            if before is not None and rounds > before["rounds"]:
                db.execute("UPDATE round SET stopped=NULL")
            db.execute(
                "INSERT INTO plan (id, rounds, until_round, until_stage, auto, want) VALUES (1,?,?,?,?,'run')"
                " ON CONFLICT (id) DO UPDATE SET rounds=excluded.rounds, until_round=excluded.until_round,"
                " until_stage=excluded.until_stage, auto=excluded.auto, want='run'",
                (rounds, until[0] if until else None, until[1] if until else None, auto),
            )
    finally:
        db.close()


def set_want(project: Path, want: str) -> None:
    """Desired state of the run: ``run``, ``pause`` or ``cancel``."""
    if want not in ("run", "pause", "cancel"):
        raise UsageError(f"want must be run, pause or cancel, not {want!r}")
    db = writer(project, durable=True)
    try:
        with transaction(db):
            db.execute("UPDATE plan SET want=? WHERE id=1", (want,))
    finally:
        db.close()


def set_auto(project: Path, auto: bool) -> None:
    """Whether the policy ``improved`` stands in for a person at the review."""
    db = writer(project, durable=True)
    try:
        with transaction(db):
            db.execute("UPDATE plan SET auto=? WHERE id=1", (auto,))
    finally:
        db.close()


def decide(
    project: Path,
    round: int,
    keys: Sequence[tuple[int, str]],
    state: str,
    reason: str | None = None,
    source: str = "app",
) -> int:
    """Decide rewrites ``keys`` = (sample id, axis) of ``round``: accepted, rejected or proposed (undecided). One batch.

    Returns:
        How many changed (those already in ``state``, failed or merged do not).
    """
    if state not in OPEN:
        raise UsageError(f"a rewrite can be accepted, rejected or proposed, not {state!r}")
    db = writer(project, durable=True)
    try:
        with transaction(db):
            batch = db.execute("SELECT coalesce(max(batch), 0) + 1 FROM decision").fetchone()[0]
            return sum(_decide_one(db, batch, round, key, state, reason, source) for key in keys)
    finally:
        db.close()


def _decide_one(
    db: sqlite3.Connection,
    batch: int,
    round: int,
    key: tuple[int, str],
    state: str,
    reason: str | None,
    source: str,
) -> int:
    now = db.execute(
        "SELECT state, reason FROM rewrite WHERE round=? AND sample_id=? AND axis=?", (round, *key)
    ).fetchone()
    if now is None:
        raise StoreError(f"round {round} has no rewrite of sample {key[0]} for {key[1]}")
    if now["state"] not in OPEN or now["state"] == state:
        return 0
    db.execute(
        "INSERT INTO decision (batch, at, source, round, sample_id, axis, before, after, before_reason, reason)"
        " VALUES (?,?,?,?,?,?,?,?,?,?)",
        (batch, time.time(), source, round, *key, now["state"], state, now["reason"], reason),
    )
    db.execute(
        "UPDATE rewrite SET state=?, reason=? WHERE round=? AND sample_id=? AND axis=?",
        (state, reason, round, *key),
    )
    return 1


def decide_open(project: Path, round: int, which: str, source: str) -> dict[str, int]:
    """Decide every rewrite of ``round`` that is still proposed, as one batch.

    ``which``: ``improved`` accepts those whose signals are better and rejects the rest with the verdict as the reason;
    ``all`` accepts all; ``none`` rejects all.

    Returns:
        Counts of accepted and rejected.
    """
    if which not in ("improved", "all", "none"):
        raise UsageError(f"--accept takes improved, all or none, not {which!r}")
    counts = {"accepted": 0, "rejected": 0}
    db = writer(project, durable=True)
    try:
        with transaction(db):
            batch = db.execute("SELECT coalesce(max(batch), 0) + 1 FROM decision").fetchone()[0]
            open_ = db.execute(
                "SELECT sample_id, axis, improved, verdict FROM rewrite WHERE round=? AND state='proposed'",
                (round,),
            ).fetchall()
            for row in open_:
                good = which == "all" or (which == "improved" and bool(row["improved"]))
                state = "accepted" if good else "rejected"
                reason = None if good else (row["verdict"] if which == "improved" else "rejected in a batch")
                counts[state] += _decide_one(db, batch, round, (row["sample_id"], row["axis"]), state, reason, source)
    finally:
        db.close()
    return counts


def undo(project: Path) -> int:
    """Take the newest batch that still stands back; returns how many decisions that were (0: nothing to undo)."""
    db = writer(project, durable=True)
    try:
        with transaction(db):
            batch = db.execute("SELECT max(batch) FROM decision WHERE undone=0").fetchone()[0]
            taken = 0
            for row in db.execute(
                "SELECT * FROM decision WHERE batch=? AND undone=0 ORDER BY id DESC", (batch,)
            ).fetchall():
                key = (row["round"], row["sample_id"], row["axis"])
                changed = db.execute(
                    "UPDATE rewrite SET state=?, reason=? WHERE round=? AND sample_id=? AND axis=? AND state<>'merged'",
                    (row["before"], row["before_reason"], *key),
                )
                taken += changed.rowcount
                db.execute("UPDATE decision SET undone=1 WHERE id=?", (row["id"],))
            return taken
    finally:
        db.close()
