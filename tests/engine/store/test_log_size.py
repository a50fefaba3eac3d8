"""The write-ahead log stays small, also after a program that read for long."""

from __future__ import annotations

from pathlib import Path

from engine.store.connect import reader, transaction, writer
from engine.store.database_file import WAL_KEPT
from engine.store.log_size import AGAIN_S, LogSize
from engine.store.schema import migrate

LARGE = 1 << 20


def grow(project: Path, megabytes: int) -> None:
    db = writer(project)
    for number in range(megabytes):
        with transaction(db):
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (str(number % 4), "x" * LARGE))
    db.close()


def test_a_long_reader_is_told_of_once_and_the_log_is_emptied_after_it(tmp_path: Path) -> None:
    migrate(tmp_path, create=True)
    log = tmp_path / "middo.db-wal"
    db = writer(tmp_path)
    db.execute("PRAGMA busy_timeout=1")
    size = LogSize(tmp_path, LARGE)
    long = reader(tmp_path)
    long.execute("BEGIN")
    long.execute("SELECT count(*) FROM meta").fetchone()
    grow(tmp_path, 12)
    assert log.stat().st_size > 8 * LARGE
    said = size.bound(db, now=0.0)
    assert "another program has been reading" in said
    assert size.bound(db, now=1.0) == "", "not tried again at once"
    assert size.bound(db, now=AGAIN_S) == "", "nor told again"
    long.close()
    assert size.bound(db, now=2 * AGAIN_S) == ""
    assert log.stat().st_size == 0
    db.close()


def test_without_a_worker_the_next_checkpoint_cuts_it(tmp_path: Path) -> None:
    """Every writer cuts an emptied log to ``WAL_KEPT``."""
    migrate(tmp_path, create=True)
    db = writer(tmp_path)
    assert db.execute("PRAGMA journal_size_limit").fetchone()[0] == WAL_KEPT
    db.execute(f"PRAGMA journal_size_limit={LARGE}")
    long = reader(tmp_path)
    long.execute("BEGIN")
    long.execute("SELECT count(*) FROM meta").fetchone()
    for number in range(12):
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (str(number % 4), "x" * LARGE))
    long.close()
    for number in range(4):
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (str(number % 4), "y"))
    assert (tmp_path / "middo.db-wal").stat().st_size < 4 * LARGE
    db.close()
