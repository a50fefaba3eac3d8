"""An append-only file of lines. The next reader drops a last line that was cut off by a kill."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def whole(path: Path) -> list[str]:
    """The lines of ``path``, empty if it does not exist. Removes a truncated last line from the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        os.truncate(path, end)
    return data[:end].decode("utf-8").split("\n")[:-1]


def append(path: Path, lines: Iterable[str]) -> None:
    """Append ``lines``. They survive a kill of the process once this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
