"""Can files be made in the database's folder, and if not, why? SQLite says the same of a full disk, of one that turned
read-only and of a folder that others own.
"""

from __future__ import annotations

import errno
from pathlib import Path
from tempfile import TemporaryFile

from engine.errors import StoreError

CHECK_DISK = "Check the disk and the limit of open files, then retry."
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
BROKEN = (errno.EROFS, errno.EIO)
"""A disk that turned read-only, as it does after an error, or that fails: waiting does not help."""
BESIDE = 32 << 10
"""Bytes of the least file that SQLite needs beside the database: the log's index."""


def unwritable(folder: Path) -> OSError | None:
    """Why no file can be made in a folder; None: one can."""
    try:
        with TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(BESIDE))
    except OSError as error:
        return error
    return None


def broken(path: Path) -> StoreError | None:
    """What is wrong with the disk of the database ``path``; None: nothing but, it may be, too little space."""
    refused = unwritable(path.parent)
    if refused is None or refused.errno not in BROKEN:
        return None
    return StoreError(f"{path}: cannot write ({refused.strerror}). {CHECK_DISK}")
