"""Opening the project's database to read it; ``database_file`` opens it to write. Standard library only."""

from __future__ import annotations

import atexit
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import StoreBlocked, StoreError
from engine.store.database_file import FILE as FILE
from engine.store.database_file import IN_FULL as IN_FULL
from engine.store.database_file import KEPT_BEFORE as KEPT_BEFORE
from engine.store.database_file import MAKING as MAKING
from engine.store.database_file import copy as copy
from engine.store.database_file import database as database
from engine.store.database_file import filesystem as filesystem
from engine.store.database_file import missing, opened
from engine.store.database_file import newer as newer
from engine.store.database_file import patient as patient
from engine.store.database_file import refuse_network as refuse_network
from engine.store.database_file import roomy as roomy
from engine.store.database_file import transaction as transaction
from engine.store.database_file import translated as translated
from engine.store.database_file import unshared as unshared
from engine.store.database_file import writer as writer
from engine.store.lock_wait import FULL
from engine.store.writable import NO_SPACE
from engine.store.writable import unwritable as unwritable

if TYPE_CHECKING:
    from engine.files.scratch import Scratch

NEWEST = "m039_unflagged"
"""The last migration: a reader that does not find it has an older project before it."""


def reader(project: Path) -> sqlite3.Connection:
    """A read-only connection; rows come as ``sqlite3.Row``. A project of an older version is brought up to date first;
    where it cannot be written, a copy of it is.

    Raises:
        StoreError: there is no database, it is not one of ours, or it is a newer one.
    """
    db = _read_only(project)
    try:
        applied = [row["name"] for row in db.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]
    except sqlite3.DatabaseError as error:
        db.close()
        raise translated(error, database(project)) from error
    if NEWEST in applied and applied[-1] != NEWEST:
        db.close()
        raise newer(project, applied[applied.index(NEWEST) + 1 :])
    if NEWEST not in applied:
        db.close()
        from engine.store.schema import migrate  # takes 100 ms and is rarely needed

        refused = unwritable(database(project).parent)
        if refused is not None and refused.errno not in NO_SPACE:
            try:
                made = _copied(database(project))
            except OSError as error:
                raise _not_here(database(project), error) from None
            migrate(made)
            return opened(made / FILE, "mode=rw")
        migrate(project)
        db = _read_only(project)
    return db


def _read_only(project: Path) -> sqlite3.Connection:
    path = database(project)
    if not path.is_file():
        raise missing(project / FILE)
    db = None
    try:
        db = opened(path, "mode=ro")
        known = _is_ours(db)
    except sqlite3.DatabaseError as error:
        if db is not None:
            db.close()
        refused = unwritable(path.parent)
        if refused is not None and refused.errno in NO_SPACE:
            said = "the disk is full, and reading needs some room too. Free some space and retry."
            raise StoreBlocked(f"{path}: {said}", FULL) from None
        if refused is None or getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOTADB:
            raise StoreError(f"{path}: not a readable database: {error}. Restore it from a backup.") from None
        db = _frozen(path)  # SQLite keeps what readers share beside the file, and cannot here
        known = _is_ours(db)
    if not known:
        db.close()
        if path.stat().st_size == 0 and (path.parent / "config.toml").exists():
            raise StoreError(f"{path}: empty, so everything in it is gone. Restore a backup with `middo-tui restore`.")
        raise StoreError(f"{path}: not a middo-tui project. Create one with `middo-tui init`.")
    return db


def _is_ours(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name='job'").fetchone() is not None


_copies: dict[Path, Scratch] = {}
"""Of databases on read-only disks whose log holds what the file does not, or that are of an older version. They go
with the program.
"""


def _copied(path: Path) -> Path:
    """The folder of a copy of a database with its log, made at the first call.

    Raises:
        OSError: it cannot be read, or there is no room.
    """
    if path not in _copies:
        from engine.files.scratch import Scratch  # few programs need it

        made = Scratch("middo-copy-")
        atexit.register(made.remove)
        for end in ("", "-wal"):
            if (source := path.with_name(f"{path.name}{end}")).exists():
                shutil.copyfile(source, made.path / f"{FILE}{end}")
        _copies[path] = made
    return _copies[path].path


def _not_here(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path}: not readable here: {error}. Copy the project to a writable disk.")


def _frozen(path: Path) -> sqlite3.Connection:
    """A database in a folder that nobody can write: as it is, or a copy of it where its log has to be read as well.

    Raises:
        StoreError: it is not readable.
    """
    log = path.with_name(f"{path.name}-wal")
    try:
        if not log.exists() or not log.stat().st_size:
            return opened(path, "immutable=1")
        return opened(_copied(path) / FILE, "mode=rw")
    except (sqlite3.DatabaseError, OSError) as error:
        raise _not_here(path, error) from None
