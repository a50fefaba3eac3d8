"""Keeps the write-ahead log small. SQLite reuses it from its beginning only when no reader needs an older state, so a
program that reads for long lets it grow. Standard library only.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from engine.store.database_file import database

MB = 1 << 20
LARGE = 256 * MB
"""Bytes from which on the log is emptied, if nobody reads an older state."""
AGAIN_S = 60.0
"""Seconds between two tries: each may wait for readers for as long as the connection does for locks."""


class LogSize:
    """What the worker does about the log of its project, and whether it has said so."""

    def __init__(self, project: Path, large: int = LARGE) -> None:
        path = database(project)
        self._log = path.with_name(f"{path.name}-wal")
        self._large = large
        self._tried = -AGAIN_S
        self._told = False

    def bound(self, db: sqlite3.Connection, now: float | None = None) -> str:
        """Empty a large log. Returns what to tell a person, once, if a reader prevents it; else an empty string."""
        now = time.monotonic() if now is None else now
        size = self._size()
        if size < self._large:
            self._told = False
            return ""
        if now - self._tried < AGAIN_S:
            return ""
        self._tried = now
        blocked = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if not blocked or self._told:
            return ""
        self._told = True
        return (
            f"{self._log.name} has grown to {size / MB:,.0f} MB, because another program has been reading the"
            " database for long. Close that program."
        )

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0
