"""A file that grows by whole lines: what a kill cuts off of the last one is dropped by who reads it next."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def whole(path: Path) -> list[str]:
    """The lines of ``path``, none when there is no such file. A last line that was cut off is removed from it."""
    if not path.exists():
        return []
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        os.truncate(path, end)
    return data[:end].decode("utf-8").split("\n")[:-1]


def append(path: Path, lines: Iterable[str]) -> None:
    """Add ``lines``; when this returns they outlive the process."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
