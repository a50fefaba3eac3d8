"""A project is made aside and moved into place when it is whole: killed at any moment, there is no half of one."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import UsageError
from engine.files import durable
from engine.store.connect import FILE, MAKING

PARTS = ("artifacts", "logs", "config.toml", FILE)
"""In the order in which they are moved; with the database the project is there."""


@contextmanager
def aside(project: Path) -> Iterator[Path]:
    """A new folder for the parts of ``project``, which holds nothing yet; they are moved there when the block ends.
    After an error nothing is left.

    Raises:
        UsageError: another process is making a project there.
    """
    was_there = project.exists()
    place = project / MAKING
    project.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        raise _busy(project) from None
    handle = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield place
        for part in PARTS:
            durable.replace(place / part, project / part)
        place.rmdir()
    except BaseException:
        if was_there:
            for part in (MAKING, *PARTS):
                _remove(project / part)
        else:
            shutil.rmtree(project, ignore_errors=True)
        raise
    finally:
        os.close(handle)


def clear(project: Path) -> None:
    """Remove what a killed ``aside`` left in the folder of a project that is not there.

    Raises:
        UsageError: another process is making a project there.
    """
    place = project / MAKING
    if not place.is_dir() or {path.name for path in project.iterdir()} - {MAKING, *PARTS}:
        return
    handle = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for part in (*PARTS, MAKING):
            _remove(project / part)
    except BlockingIOError:
        raise _busy(project) from None
    finally:
        os.close(handle)


def _busy(project: Path) -> UsageError:
    return UsageError(f"{project}: another middo-tui is creating a project there. Wait until it is done.")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
