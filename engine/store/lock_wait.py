"""A patient connection: waits out another program's lock or a full disk, reports the wait, and retries.

The worker and its children write through one. The app and the commands do not: a person is told after ``BUSY_MS`` and
decides (``engine.store.database_file``). Standard library only.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from engine.errors import StoreBlocked
from engine.store.writable import broken

P = ParamSpec("P")
R = TypeVar("R")

LOOK_MS = 1_000
"""How long SQLite itself waits for a lock before a patient connection says that it waits."""
PAUSE_S = 0.5
LOCKED, FULL = "locked", "full"
WORDS = {
    LOCKED: "waiting for the database, locked by another program",
    FULL: "waiting for space: the disk is full",
}
WAITED = {LOCKED: "the database was locked by another program", FULL: "the disk was full"}
_NO_SPACE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,  # a quota, or a file that may not grow; or the disk is broken
    sqlite3.SQLITE_IOERR_SHMSIZE,
}


def trouble(error: BaseException) -> str | None:
    """``locked`` or ``full`` if waiting helps; None for other errors."""
    if isinstance(error, StoreBlocked):
        return error.trouble
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LOCKED
    return FULL if code in _NO_SPACE else None


class Watch(Protocol):
    """Who is told of a wait. ``waits`` is called again and again while it lasts, and may raise to give up."""

    def waits(self, trouble: str) -> None:
        """The wait starts or continues."""

    def over(self, trouble: str, seconds: float) -> None:
        """The wait ended; the database can be written again."""


class Patient(sqlite3.Connection):
    """A connection whose single statements are tried until they succeed. Inside a transaction nothing is tried again:
    a part of it may be gone, so ``outlasting`` does the whole of it once more.
    """

    watch: Watch | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Like the base class's, retried until it succeeds."""
        plain = super().execute
        return outlast(self, lambda: plain(sql, parameters))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """As its base class'; outside of a transaction every row would be one, so that is not done."""
        if not self.in_transaction:
            raise sqlite3.ProgrammingError("executemany needs a transaction around it")
        return super().executemany(sql, parameters)


def outlast(db: sqlite3.Connection, work: Callable[[], R]) -> R:
    """``work()``; on a patient connection outside of a transaction as often as a lock or a full disk asks for."""
    if not isinstance(db, Patient) or db.in_transaction:
        return work()
    began, why = 0.0, ""
    while True:
        try:
            done = work()
            break
        except (sqlite3.Error, StoreBlocked) as error:
            found = trouble(error)
            if found is None:
                raise
            if found == FULL and (disk := broken(_file(db))) is not None:
                raise disk from error
            began, why = began or time.monotonic(), found
        if db.watch is not None:
            db.watch.waits(why)
        time.sleep(PAUSE_S)
    if began and db.watch is not None:
        db.watch.over(why, time.monotonic() - began)
    return done


def _file(db: sqlite3.Connection) -> Path:
    """The database's file."""
    return Path(sqlite3.Connection.execute(db, "PRAGMA database_list").fetchone()[2])


def outlasting(
    write: Callable[Concatenate[sqlite3.Connection, P], R],
) -> Callable[Concatenate[sqlite3.Connection, P], R]:
    """A function that writes in one transaction, done whole as often as it takes. Its arguments are read each time:
    sequences, no iterators.
    """

    @wraps(write)
    def tried(db: sqlite3.Connection, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return outlast(db, lambda: write(db, *args, **kwargs))

    return tried


def lasting(seconds: float) -> str:
    """``29 s``, ``21 min 04 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
