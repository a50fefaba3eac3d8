"""Backups: a folder with everything that a project needs, made while its worker writes, verified by reading it back.

The database is copied in one read transaction. Then come the artifacts that this copy names, the checkpoints that an
unfinished training can resume from, and all other files of the project but its controls, whose figures the database
has. ``MANIFEST.json`` is written last, with the size and hash of every file: a backup without it is not finished.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from engine.errors import StoreError, UsageError
from engine.files import durable
from engine.files.json_errors import UNREADABLE
from engine.files.whole_folder import whole_folder
from engine.nodes import machine_facts
from engine.plurals import counted
from engine.project.folder import require_new
from engine.runtime import launch
from engine.store import controls, permissions
from engine.store.connect import FILE, KEPT_BEFORE, NEWEST, copy, reader, transaction, writer
from engine.store.rows import PREVIEW
from engine.store.write import event
from engine.upkeep.artifact_files import ARTIFACTS

MANIFEST = "MANIFEST.json"
FORMAT = 1
PART = 1 << 20
TRIES = 3
RESUMABLE = "checkpoint-"
COMPLETE = "complete.json"
"""The file that the train stage writes last into a checkpoint to resume from."""
ROOM = 32 << 20
"""Bytes of the disk that must stay free."""


class FileEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a backup. ``blake2b``: 32 bytes, hexadecimal."""

    bytes: int
    blake2b: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds. ``made``: wall time. ``schema``: the database's newest migration."""

    format: int
    version: str
    schema: str
    made: float
    project: str
    files: dict[str, FileEntry]

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(entry.bytes for entry in self.files.values())


class _Changed(Exception):
    """A file or folder went away while it was copied: the worker removed an old checkpoint."""


def backup(project: Path, out: Path, say: Callable[[str], None] = lambda _: None) -> Manifest:
    """Back up ``project`` into the new folder ``out``. All or nothing; the project may run meanwhile.

    Raises:
        UsageError: ``out`` is not a new folder, or lies inside of the project.
        StoreError: something cannot be read or written, or the disk is too small.
    """
    require_new(out)
    if out.resolve().is_relative_to(project.resolve()):
        raise UsageError(f"{out}: inside of the project. Choose a folder elsewhere, best on another disk.")
    for attempt in range(TRIES):
        try:
            with whole_folder(out) as new:
                return _backup(project, new, say)
        except _Changed as what:
            if attempt == TRIES - 1:
                raise StoreError(f"{what}: went away {TRIES} times while it was copied. Try again.") from None
        except OSError as error:
            raise StoreError(f"{error.filename or out}: {error.strerror}; no backup was made.") from error
    raise AssertionError("unreachable")


def _backup(project: Path, out: Path, say: Callable[[str], None]) -> Manifest:
    db = reader(project)
    try:
        _require_room(out, db.execute("PRAGMA page_count").fetchone()[0] * 4096)
        copy(db, out / FILE)
    finally:
        db.close()
    _settle(out / FILE, project)
    files = {FILE: _entry(out / FILE)}
    wanted = dict(_files(project, _published(out / FILE)))
    _require_room(out, sum(path.stat().st_size for path in wanted.values() if path.exists()))
    for count, (name, source) in enumerate(wanted.items(), 1):
        if count % 200 == 0:
            say(f"{count:,} of {len(wanted):,} files …")
        found = _copied(source, out / name)
        if found is not None:
            files[name] = found
        elif not name.startswith("logs/"):
            raise _Changed(name)
    manifest = Manifest(FORMAT, version("middo-tui"), NEWEST, time.time(), project.resolve().name, files)
    verify(out, manifest)
    (out / f"{MANIFEST}.new").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    durable.replace(out / f"{MANIFEST}.new", out / MANIFEST)
    permissions.tighten(out)
    return manifest


def _settle(file: Path, project: Path) -> None:
    """A copy has no worker: what ran is interrupted. Raises StoreError when the copy, so ``project``'s, is damaged."""
    db = sqlite3.connect(file, isolation_level=None)
    db.row_factory = sqlite3.Row
    try:
        db.execute("DELETE FROM worker")
        db.execute("UPDATE job SET state='interrupted' WHERE state='running'")
        found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    finally:
        db.close()
    if found != "ok":
        raise StoreError(
            f"{project / FILE} is damaged ({' '.join(found.split())}), so no backup was made."
            " Look at it with `middo-tui check`."
        )


def _published(file: Path) -> list[PurePosixPath]:
    """Artifacts that a backup cannot do without."""
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT path FROM artifact WHERE name<>?", (PREVIEW,))
        return [PurePosixPath(row[0]) for row in rows]
    finally:
        db.close()


def _files(project: Path, published: list[PurePosixPath]) -> Iterator[tuple[str, Path]]:
    """Name and place of every file that belongs into a backup, but the database. Links are followed, each once.

    Controls are left out: each is a project with a database of its own, in which its worker may write.
    """
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(project, followlinks=True):
        here = Path(folder)
        try:
            mark = here.stat()
        except FileNotFoundError:
            raise _Changed(here.relative_to(project).as_posix()) from None
        if (mark.st_dev, mark.st_ino) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add((mark.st_dev, mark.st_ino))
        folders[:] = sorted(name for name in folders if here != project or name != controls.FOLDER)
        if here.name.startswith(RESUMABLE) and not (here / COMPLETE).exists():
            folders.clear()  # the train stage is writing it
            continue
        for name in sorted(names):
            place = PurePosixPath((here / name).relative_to(project).as_posix())
            if _belongs(place) and (here / name).is_file():
                yield str(place), here / name
    for place in published:
        if not (project / place).exists():
            raise _Changed(str(place))


def _belongs(place: PurePosixPath) -> bool:
    if len(place.parts) > 1:
        return True
    of_a_moment = (f"{FILE}-", KEPT_BEFORE, machine_facts.FILE)
    return not (place.name.startswith(of_a_moment) or place.name in (FILE, launch.LOCK, MANIFEST))


def _copied(source: Path, target: Path) -> FileEntry | None:
    """Copy a file and flush it to the disk; None when it is gone."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.blake2b(digest_size=32), 0
    try:
        stream = source.open("rb")
    except FileNotFoundError:
        return None
    with stream, open(target, "xb", opener=permissions.opener) as out:
        while part := stream.read(PART):
            digest.update(part)
            size += len(part)
            out.write(part)
        out.flush()
        os.fsync(out.fileno())
    return FileEntry(size, digest.hexdigest())


def _entry(path: Path) -> FileEntry:
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as stream:
        while part := stream.read(PART):
            digest.update(part)
    return FileEntry(path.stat().st_size, digest.hexdigest())


def _require_room(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need + ROOM:
        raise StoreError(
            f"{folder}: {counted(need, 'byte is', 'bytes are')} needed and {free:,} free. Choose a larger disk."
        )


def verify(out: Path, manifest: Manifest) -> None:
    """Read every file of a backup again.

    Raises:
        StoreError: one is missing or not as it was written.
    """
    for name, entry in manifest.files.items():
        path = out / name
        if not path.is_file():
            raise StoreError(f"{path}: missing in the backup. Use another one.")
        if _entry(path) != entry:
            raise StoreError(f"{path}: not as it was written. The backup is damaged; use another one.")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup.

    Raises:
        UsageError: there is none. StoreError: it is damaged, or of a newer version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(f"{folder}: no finished backup, it has no {MANIFEST}. Make one with `middo-tui backup`.")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except UNREADABLE as error:
        raise StoreError(f"{path}: damaged ({error}). Use another backup.") from None
    if found.format != FORMAT:
        raise StoreError(f"{path}: format {found.format}, of a newer middo-tui. Upgrade middo-tui.")
    for name in found.files:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or "\0" in name or not place.parts or str(place) != name:
            raise StoreError(f"{path}: names a file outside of the backup ({name!r}). Do not use this backup.")
    if FILE not in found.files:
        raise StoreError(f"{path}: names no {FILE}. Use another backup.")
    return found


def restore(backup: Path, project: Path) -> Manifest:
    """Make a project from a backup, in the new folder ``project``. All or nothing.

    Raises:
        UsageError: no backup, or ``project`` is not a new folder. StoreError: damaged, or no room.
    """
    manifest = read_manifest(backup)
    require_new(project)
    try:
        with whole_folder(project) as new:
            _require_room(new, manifest.total)
            verify(backup, manifest)
            for name, entry in manifest.files.items():
                if _copied(backup / name, new / name) != entry:
                    raise StoreError(f"{backup / name}: changed while it was read. Try again.")
            verify(new, manifest)
            for folder in (new / ARTIFACTS, new / "logs"):
                folder.mkdir(mode=0o700, exist_ok=True)
            _began(new, manifest)
            permissions.tighten(new)
    except OSError as error:
        raise StoreError(f"{error.filename or project}: {error.strerror}; nothing was restored.") from error
    return manifest


def _began(project: Path, manifest: Manifest) -> None:
    """Note in the log where the project comes from."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.made))
    db = writer(project)
    try:
        with transaction(db):
            event(db, f"restored from the backup of {when}")
    finally:
        db.close()
