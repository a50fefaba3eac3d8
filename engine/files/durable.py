"""Files that survive a power cut: their bytes are on the disk before a name or a row says that they are there.

A rename alone may reach the disk before the bytes of the file that it renames, which is then empty after a power cut.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
"""What filesystems say that have no way to flush a folder: they keep names in their own time."""


def flush(path: Path) -> None:
    """Have a file, or a folder with all that is in it, on the disk when this returns, with its name."""
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                if not os.path.islink(place := os.path.join(folder, name)):
                    _flush(place)
            _flush_folder(folder)
    else:
        _flush(path)
    _flush_folder(path.parent)


def replace(new: Path, path: Path) -> None:
    """Give ``new`` the name ``path``, which then has all of the new bytes or all of the old ones, whatever happens."""
    flush(new)
    os.replace(new, path)
    _flush_folder(path.parent)


def _flush(path: str | Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_folder(path: str | Path) -> None:
    try:
        _flush(path)
    except OSError as error:
        if error.errno not in NO_FOLDERS:
            raise
