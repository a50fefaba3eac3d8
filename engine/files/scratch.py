"""Private folders for a process's files, among the temporary ones, which go with it also when it is killed.

Whoever makes one removes those of this user's processes that are gone. A process that is alive holds a lock in its
folder: a pid would not tell that, as machines and containers may share the place of temporary files.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LOCK = "lock"


class Scratch:
    """A new folder, its ``path`` beginning with ``prefix``, which is swept before. ``remove`` it.

    Raises:
        OSError: there is no room, or no place.
    """

    def __init__(self, prefix: str) -> None:
        sweep(prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            self._lock = locked(self.path)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def remove(self) -> None:
        """Remove it with all that is in it."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """The path of a ``Scratch`` for the time of the block."""
    made = Scratch(prefix)
    try:
        yield made.path
    finally:
        made.remove()


def locked(folder: Path) -> IO[bytes]:
    """A lock in ``folder`` that is held for as long as the file is open, and that nobody inherits."""
    made = folder / f"{LOCK}.new"
    lock = made.open("wb")
    with suppress(OSError):  # a filesystem without locks: then nobody removes the folder of another
        fcntl.flock(lock, fcntl.LOCK_EX)
    made.rename(folder / LOCK)  # whoever sweeps sees it only locked
    return lock


def sweep(prefix: str) -> None:
    """Remove the folders of this user's processes that were killed: what they hold may be large."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):  # held, or it is no folder of ours
            if folder.lstat().st_uid != os.getuid():
                continue
            with (folder / LOCK).open("r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
