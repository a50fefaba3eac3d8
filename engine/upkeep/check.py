"""``middo-tui check``: is everything that a project needs there and whole? Reads, and changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from engine.config import schema as configs
from engine.errors import MiddoError
from engine.plurals import counted
from engine.runtime import launch
from engine.store import permissions, read
from engine.store.connect import FILE, KEPT_BEFORE, database, reader
from engine.store.log_size import LARGE
from engine.upkeep import artifact_files, invariants

UNUSED = "unused"
"""What pages are called that hold nothing: they are written to before the file grows."""


class Fault(Struct, frozen=True):
    """Something that ``check`` found. ``level``: damage (something is lost or wrong) or note (space, rights, a dead
    worker: the next run or ``prune`` deals with it).
    """

    name: str
    level: str
    where: str
    what: str
    mend: str


class Size(Struct, frozen=True):
    """What one round takes: rows that it brought to the store, and bytes of its artifacts and logs."""

    round: int
    rows: int
    artifacts: int
    logs: int


class CheckReport(Struct, frozen=True):
    """What ``check`` found. ``tables``: bytes by table with its indexes, the largest first."""

    faults: tuple[Fault, ...]
    database: int
    wal: int
    tables: dict[str, int]
    rounds: tuple[Size, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return all(fault.level != "damage" for fault in self.faults)


def check(project: Path) -> CheckReport:
    """Look at database, invariants, artifacts, config and rights. A project may be checked while its worker runs.

    Raises:
        StoreError: there is no project, or its database cannot be read at all.
    """
    db = reader(project)
    try:
        db.execute("BEGIN")  # one state of the store, whatever a worker writes meanwhile
        path = database(project)
        wal = path.with_name(f"{path.name}-wal")
        sizes = path.stat().st_size, wal.stat().st_size if wal.exists() else 0
        if damage := list(_database(db)):  # what a broken file says of itself is no finding
            return CheckReport((*damage, *_config(project)), *sizes, {}, ())
        faults = [*_invariants(db), *_artifacts(db, project), *_config(project), *_notes(db, project)]
        return CheckReport(tuple(faults), *sizes, _tables(db), tuple(_rounds(db, project)))
    finally:
        db.close()


def _database(db: sqlite3.Connection) -> Iterator[Fault]:
    mend = "Restore a backup, or rescue what is readable: sqlite3 middo.db .recover"
    try:
        for row in db.execute("PRAGMA integrity_check(20)"):
            if row[0] != "ok":
                yield Fault("database", "damage", FILE, str(row[0]), mend)
    except sqlite3.DatabaseError as error:
        yield Fault("database", "damage", FILE, str(error), mend)


def _invariants(db: sqlite3.Connection) -> Iterator[Fault]:
    for one in invariants.broken(db):
        more = f" and {one.count - len(one.places):,} more" if one.count > len(one.places) else ""
        yield Fault(one.name, "damage", ", ".join(one.places) + more, f"{one.count:,} {one.words}", one.mend)


def _artifacts(db: sqlite3.Connection, project: Path) -> Iterator[Fault]:
    for one in artifact_files.faults(db, project):
        level = "note" if one.leftover else "damage"
        yield Fault("leftover" if one.leftover else "artifact", level, one.path, one.reason, one.mend)


def _config(project: Path) -> Iterator[Fault]:
    try:
        configs.load(project)
    except MiddoError as error:
        yield Fault("config", "damage", "config.toml", str(error), "Edit config.toml, or restore a backup.")


def _notes(db: sqlite3.Connection, project: Path) -> Iterator[Fault]:
    worker = read.worker(db)
    left = [f"{job.stage} of round {job.round}" for job in read.jobs(db) if job.state == "running"]
    if (left or worker is not None) and not launch.alive(worker):  # one that ends by itself leaves no row
        where = ", ".join(left) or "between two stages"
        yield Fault("worker", "note", where, "its worker has died", "Run the project: it resumes.")
    for job in read.jobs(db):
        if job.state in ("failed", "interrupted"):
            what = (job.error or "it was interrupted").rstrip(".")
            yield Fault("stage", "note", f"{job.stage} of round {job.round}", what, "Run the project: it resumes.")
    path = database(project)
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists() and wal.stat().st_size > LARGE:
        mend = "Close programs that read the database for long; it shrinks by itself."
        yield Fault("wal", "note", wal.name, f"{counted(wal.stat().st_size, 'byte')} of write-ahead log", mend)
    for kept in sorted(path.parent.glob(f"{KEPT_BEFORE}*")):
        what = f"{counted(kept.stat().st_size, 'byte')}: the database before an upgrade"
        yield Fault("old-database", "note", kept.name, what, "Remove it with `prune` once all is well.")
    if count := permissions.readable_by_others(project):
        what = f"{counted(count, 'file or folder', 'files or folders')} can be read by other users"
        yield Fault("rights", "note", str(project), what, "Open or run the project: it tightens them.")


def _tables(db: sqlite3.Connection) -> dict[str, int]:
    """Bytes by table, each with its indexes, and of what is unused; empty where SQLite was built without dbstat."""
    sql = (
        "SELECT coalesce(m.tbl_name, s.name), sum(s.pgsize) FROM dbstat('main', 1) s"
        " LEFT JOIN sqlite_master m ON m.name=s.name GROUP BY 1"
    )
    try:
        found = {str(name): int(size) for name, size in db.execute(sql)}
    except sqlite3.DatabaseError:
        return {}
    free = db.execute("SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size").fetchone()[0]
    found |= {UNUSED: int(free)} if free else {}
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def _rounds(db: sqlite3.Connection, project: Path) -> Iterator[Size]:
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    rows: dict[int, int] = {}
    for table in tables:
        names = read.columns(db, table)
        column = "round" if "round" in names else "born_round" if "born_round" in names else ""
        if column:
            sql = f"SELECT {column}, count(*) FROM {table} WHERE {column} IS NOT NULL GROUP BY 1"  # noqa: S608
            for round, count in db.execute(sql):
                rows[round] = rows.get(round, 0) + count
    for row in db.execute("SELECT round FROM round ORDER BY round"):
        round = int(row[0])
        logs = sum(file.stat().st_size for file in (project / "logs").glob(f"round-{round}-*"))
        yield Size(round, rows.get(round, 0), folder_bytes(project / "artifacts" / f"round-{round}"), logs)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below ``folder``; 0 when it is not there."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
