"""A project is its owner's alone: folders 0700, files 0600, whatever the umask says. What leaves it follows the umask.

The folder's own rights protect all that is in it; what a library writes inside with other rights is tightened when a
stage has ended. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from engine.plurals import counted
from engine.store.connect import database

OTHERS = 0o077


def opener(path: str, flags: int) -> int:
    """For ``open``: a new file that only its owner can read."""
    return os.open(path, flags, 0o600)


def tighten(project: Path) -> int:
    """Take the rights of others from the project's folders and files; returns how many had them.

    Links are not followed, except to the database. What belongs to another user stays, and so does a read-only disk.
    """
    return sum(_tightened(path) for path in _inside(project))


def readable_by_others(project: Path) -> int:
    """How many folders and files of the project other users have rights to."""
    modes = (path.lstat().st_mode for path in _inside(project) if path.exists())
    return sum(bool(mode & OTHERS) and not stat.S_ISLNK(mode) for mode in modes)


def _inside(project: Path) -> Iterator[Path]:
    yield project
    for folder, folders, files in os.walk(project):
        yield from (Path(folder, name) for name in (*folders, *files))
    file = database(project)
    if file.parent != project.resolve():
        yield from (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm"))


def _tightened(path: Path) -> bool:
    with suppress(OSError):
        mode = path.lstat().st_mode
        if mode & OTHERS and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)
            return True
    return False


def note(project: Path) -> str:
    """``tighten`` for a project that is opened; what there is to say of it, empty when nobody else could read it.

    What a library writes in the middle of a stage has other rights, but nobody else comes by in a closed folder.
    """
    closed = not project.stat().st_mode & OTHERS and database(project).parent == project.resolve()
    count = tighten(project)
    if closed:
        return ""
    what = counted(count, "file or folder", "files and folders")
    return f"{what} of {project} were readable by other users of this machine; fixed, now only by you." if count else ""


def release(path: Path) -> None:
    """Give what was copied out of a project the rights that a new file or folder has here."""
    mask = os.umask(0)
    os.umask(mask)
    for each in (path, *path.rglob("*")):
        if not each.is_symlink():
            each.chmod((0o777 if each.is_dir() else 0o666) & ~mask)


def copy(source: Path, out: Path) -> None:
    """A file or folder of a project, copied to a new place outside of it."""
    if source.is_dir():
        shutil.copytree(source, out)
    else:
        shutil.copy2(source, out)
    release(out)
