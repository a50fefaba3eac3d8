"""The last line of a log, however long the log is."""

from __future__ import annotations

import os
from pathlib import Path

TAIL_BYTES = 1 << 16
"""How much of the end of a file is read."""


def last_line(path: Path) -> str:
    """The last line that is not blank in the last TAIL_BYTES of ``path``, decoded as UTF-8; "" if there is none."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
