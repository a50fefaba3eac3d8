"""Undoes a merge, which is possible until the next round starts. Standard library only.

A round has begun as soon as the worker has opened it; one that was opened by a worker that is gone, and of which no
stage was started, has not. Its rewrites can then be decided anew, and the merge done anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from engine.errors import UsageError
from engine.store import read, write
from engine.store.connect import transaction, writer
from engine.store.rows import Worker

FORGET_MERGE = (
    "DELETE FROM departure WHERE round=:after",
    "DELETE FROM sample WHERE born_round=:after",
    "DELETE FROM retirement WHERE round=:after",
    "DELETE FROM job WHERE round=:after",
    "DELETE FROM round WHERE round=:after",
    "UPDATE round SET finished_at=NULL WHERE round=:round",
    "UPDATE job SET state='pending', done=0, total=0, started_at=NULL, finished_at=NULL, input_key=NULL, error=NULL"
    " WHERE round=:round AND stage='merge'",
    # reopen for a person, even if a policy had decided
    "UPDATE job SET state='waiting', finished_at=NULL, error=NULL WHERE round=:round AND stage='review'",
)


def undoable(db: sqlite3.Connection, alive: bool) -> int | None:
    """The round whose merge can be undone now; None if there is none. ``alive``: a worker is running."""
    found = read.newest_merged(db)
    if found is None:
        return None
    later = db.execute(
        "SELECT count(*), coalesce(sum(state<>'pending' OR started_at IS NOT NULL), 0) FROM job WHERE round>?", (found,)
    ).fetchone()
    begun = bool(later[0]) if alive else bool(later[1])
    return None if begun else found


def undo_merge(project: Path, alive: Callable[[Worker | None], bool]) -> int:
    """Take the newest merge back; returns its round. A worker that waits to begin the next round ends.

    ``alive``: whether a worker runs (``engine.runtime.launch.alive``); asked inside the transaction.

    Raises:
        UsageError: nothing is merged, or the next round has begun.
    """
    db = writer(project, durable=True)
    try:
        with transaction(db):
            runs = alive(read.worker(db))
            round = undoable(db, runs)
            if round is None:
                newest = read.newest_merged(db)
                if newest is None:
                    raise UsageError(f"{project}: no merge to undo.")
                raise UsageError(f"The merge of round {newest} cannot be undone: round {newest + 1} has started.")
            for statement in FORGET_MERGE:
                db.execute(statement, {"round": round, "after": round + 1})
            if runs:
                db.execute("UPDATE plan SET want='pause' WHERE id=1")
            write.event(
                db, f"the merge of round {round} was undone; its review decisions are kept", round=round, stage="merge"
            )
            return round
    finally:
        db.close()
