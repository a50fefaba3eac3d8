"""The project's database file: its path, connections, transactions, and SQLite's errors as messages."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TypeVar

from engine.errors import StoreBlocked, StoreError
from engine.files import durable
from engine.store.lock_wait import FULL, LOCKED, LOOK_MS, Patient, Watch, trouble
from engine.store.writable import CHECK_DISK, NO_SPACE, broken, unwritable

C = TypeVar("C", bound=sqlite3.Connection)
FILE = "middo.db"
KEPT_BEFORE = f"{FILE}.before-"
"""How the copies begin that are kept of a database before it is brought up to date."""
WAL_KEPT = 64 << 20
"""Bytes that the write-ahead log is cut to when a checkpoint has emptied it: a long reader may have let it grow."""
IN_FULL = "the disk is full; no partial data was written. Free some space and retry."
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
BUSY_MS = 30_000
# WAL needs shared memory and byte-range locks that work between processes; these do not give them reliably.
NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "fuse.sshfs",
    "ceph",
    "lustre",
    "beegfs",
    "gpfs",
    "glusterfs",
}


def database(project: Path) -> Path:
    """The path of a project's database. A symbolic link is followed, so it may be on another disk."""
    return (project / FILE).resolve()


def filesystem(path: Path, mounts: str) -> str:
    """The type of the filesystem that holds ``path``, from the text of /proc/mounts ('' when unknown)."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        if (str(path) + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def refuse_network(path: Path, mounts: str | None = None) -> None:
    """Reject a database on a network filesystem.

    Raises:
        StoreError: names the filesystem and two fixes.
    """
    if mounts is None:
        proc = Path("/proc/mounts")
        mounts = proc.read_text(encoding="utf-8", errors="replace") if proc.exists() else ""
    kind = filesystem(path, mounts)
    if kind in NETWORK:
        raise StoreError(
            f"{path}: on a network filesystem ({kind}), where SQLite's write-ahead log is not safe. Put the "
            f"project on "
            f"a local disk, or link the database to one: ln -s /local/disk/{FILE} {path.parent}/{FILE}"
        )


MAKING = ".making"
"""Where, inside a project's folder, the project is made: the same disk, and the folder may be a mount point."""


def missing(path: Path) -> StoreError:
    """The error where there is no database, and what to do."""
    if path.parent.is_file():
        return StoreError(f"{path.parent}: this is a file, not the folder of a project.")
    if (path.parent / MAKING).is_dir():
        return StoreError(
            f"{path}: no project yet; it is being made, or that was killed. Run the same `middo-tui init` again: it"
            " starts afresh."
        )
    return StoreError(
        f"{path}: no project here. Create one with `middo-tui init {quote(str(path.parent))} --data FILE`,"
        " or try `middo-tui demo`."
    )


def newer(project: Path, unknown: Sequence[str]) -> StoreError:
    """The error for a database with migrations that this version does not know."""
    has = ", ".join(unknown)
    return StoreError(f"{database(project)}: made by a newer middo-tui (it has {has}). Upgrade middo-tui.")


def opened(path: Path, how: str) -> sqlite3.Connection:
    """The SQLite file ``path``, with rows by name. ``how``: the parameters of its URI."""
    db = sqlite3.connect(f"file:{quoted(path)}?{how}", uri=True, check_same_thread=False, isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    return db


def patient(project: Path, watch: Watch | None) -> Patient:
    """The worker's and the children's connection: it outlasts locks and a full disk, and tells ``watch`` (which may be
    set later).

    Raises:
        StoreError: as ``writer``.
    """
    db = _writer(project, Patient)
    db.execute(f"PRAGMA busy_timeout={LOOK_MS}")
    db.watch = watch
    return db


def writer(project: Path, create: bool = False, durable: bool = False) -> sqlite3.Connection:
    """A read-write connection in WAL mode, autocommit (use ``transaction``).

    ``durable``: every commit reaches the disk before it returns (decisions of a person); otherwise a commit survives
    any kill of the process but the last ones may be lost when the machine loses power.

    Raises:
        StoreError: missing, on a network filesystem, or not a database.
    """
    return _writer(project, sqlite3.Connection, create, durable)


def _writer(project: Path, kind: type[C], create: bool = False, durable: bool = False) -> C:
    path = database(project)
    if not create and not path.is_file():
        raise missing(project / FILE)
    refuse_network(path)
    if create:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives the write-ahead log the same permissions
    uri = f"file:{quoted(path)}?mode={'rwc' if create else 'rw'}"
    try:
        db = sqlite3.connect(uri, uri=True, isolation_level=None, factory=kind)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    db.row_factory = sqlite3.Row
    try:
        db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA journal_size_limit={WAL_KEPT}")
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    except sqlite3.Error as error:
        db.close()
        raise translated(error, path) from error
    return db


ROOMY_KIB = 64 << 10
"""Holds the small indexes of a million samples."""


def roomy(db: sqlite3.Connection) -> None:
    """More memory for many rows at once: the index of their ids, which are hashes, is written at any place. Without it
    each of its pages is written again and again.
    """
    db.execute(f"PRAGMA cache_size=-{ROOMY_KIB}")


@contextmanager
def unshared(project: Path) -> Iterator[sqlite3.Connection]:
    """A read-write connection to a database that nobody else has seen: what it held is worth nothing when this is
    killed, so every page is written once. Afterwards all is on the disk, and in WAL mode.
    """
    db = writer(project)
    try:
        roomy(db)
        db.execute("PRAGMA journal_mode=MEMORY")
        db.execute("PRAGMA synchronous=OFF")
        yield db
        db.execute("PRAGMA journal_mode=WAL")
    finally:
        db.close()
    with database(project).open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One IMMEDIATE transaction: all or nothing.

    Raises:
        StoreError: the disk is full or the database is broken; nothing of the transaction was kept.
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("COMMIT")
    except BaseException as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.IntegrityError
        ):
            raise translated(error, Path(db.execute("PRAGMA database_list").fetchone()[2])) from error
        raise


def translated(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error as a StoreError that names the file, the reason and the fix."""
    text, found = str(error), trouble(error)
    if found == FULL:
        return broken(path) or StoreBlocked(f"{path}: {IN_FULL}", FULL)
    if found == LOCKED:
        return StoreBlocked(
            f"{path}: locked by another program for over {BUSY_MS // 1000} s; nothing was changed. Close that program,"
            " then retry.",
            LOCKED,
        )
    if "readonly" in text or "unable to open" in text:
        return _refused(text, path)
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
        return StoreError(f"{path}: the disk reports an error ({text}). {CHECK_DISK}")
    return StoreError(f"{path}: {text}. If the file is damaged, restore it from a backup.")


def _refused(text: str, path: Path) -> StoreError:
    """SQLite could not open its files or write to them, and says ``text`` whatever the reason is."""
    refused = unwritable(path.parent)
    if refused is not None and refused.errno in NO_SPACE:
        return StoreBlocked(f"{path}: {IN_FULL}", FULL)
    if refused is not None:
        fix = "Check the folder's owner and permissions." if refused.errno in NOT_ALLOWED else CHECK_DISK
        return StoreError(f"{path}: cannot write ({refused.strerror}). {fix}")
    # None is opened to find out: closing it would drop the locks that other connections of this process hold.
    files = (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm")))
    if any(one.exists() and not os.access(one, os.R_OK | os.W_OK) for one in files):
        return StoreError(f"{path}: cannot write ({text}). Check the file's owner and permissions.")
    return StoreError(f"{path}: {text}, although its permissions allow it. {CHECK_DISK}")


def copy(db: sqlite3.Connection, out: Path) -> None:
    """Copy a database into the new file ``out`` in one read transaction; writers go on meanwhile. Durable on return.

    Raises:
        StoreError: it cannot be read or written; nothing is left of the copy.
    """
    os.close(os.open(out, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    made = sqlite3.connect(out, isolation_level=None)
    try:
        db.backup(made)
        made.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        made.close()
        durable.flush(out)
    except (sqlite3.Error, OSError) as error:
        made.close()
        out.unlink(missing_ok=True)
        raise StoreError(
            f"{out}: the database cannot be copied ({error}). Check the disk and its free space."
        ) from error


def keep_before(db: sqlite3.Connection, path: Path, pending: str) -> None:
    """Keep a copy of the database at ``path`` before its first ``pending`` migration: an older version can open it.

    Several programs may do so at once. What one of them has upgraded meanwhile is no such copy.
    """
    kept = path.with_name(f"{KEPT_BEFORE}{pending}")
    new = kept.with_name(f"{kept.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)  # of an upgrade that was killed
    copy(db, new)
    made = sqlite3.connect(new)
    try:
        upgraded = made.execute("SELECT 1 FROM _sqlite_migrations WHERE name=?", (pending,)).fetchone()
    finally:
        made.close()
    if upgraded:
        new.unlink()
    else:
        durable.replace(new, kept)


def quoted(path: Path) -> str:
    """A path for a ``file:`` URI."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
