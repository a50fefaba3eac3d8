"""Is a file whole? A cut-off file is told by what it says of itself: the header of safetensors and npy gives its size,
JSON and Arrow end in a known way. Reads a few kilobytes per file, however large it is; JSON whole.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable
from pathlib import Path

from engine.files import mapped_file

HEADER = 100 << 20
"""Most bytes of a header that are read, as in safetensors itself."""


def parts(path: Path) -> list[Path]:
    """The files of an artifact, which is a file or a folder."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def cut_off(path: Path) -> str:
    """Why a file cannot be whole, by what it says of itself; empty when nothing speaks against it."""
    check = CHECKS.get(path.suffix)
    try:
        return check(path) if check else ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _safetensors(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, HEADER):
            return "cut off"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return "damaged: its header cannot be read"
    want = 8 + length + max(ends, default=0)
    return "" if size == want else f"cut off: {size:,} of {want:,} bytes" if size < want else "damaged: too long"


def _npy(path: Path) -> str:
    """The header of numpy's format 1 to 3 (numpy.lib.format)."""
    with path.open("rb") as file:
        magic = file.read(8)
        if len(magic) < 8 or magic[:6] != b"\x93NUMPY":
            return "damaged: not a numpy file"
        wide = 2 if magic[6] == 1 else 4
        length = int.from_bytes(file.read(wide), "little")
        try:
            head = ast.literal_eval(file.read(min(length, HEADER)).decode("latin-1"))
            item, count = int(head["descr"][2:]), 1
            for side in head["shape"]:
                count *= side
        except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
            return "damaged: its header cannot be read"
    size, want = path.stat().st_size, 8 + wide + length + item * count
    return "" if size == want else f"cut off: {size:,} of {want:,} bytes" if size < want else "damaged: too long"


def _json(path: Path) -> str:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return "damaged: no JSON" if path.stat().st_size else "empty"
    return ""


def _arrow(path: Path) -> str:
    """A stream that ``datasets`` wrote ends in eight bytes."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < 8:
            return "cut off"
        file.seek(-8, os.SEEK_END)
        return "" if file.read() == b"\xff\xff\xff\xff\x00\x00\x00\x00" else "cut off"


CHECKS: dict[str, Callable[[Path], str]] = {
    ".safetensors": _safetensors,
    ".npy": _npy,
    ".json": _json,
    ".arrow": _arrow,
    ".map": mapped_file.cut_off,
    ".mapped": mapped_file.cut_off,
}
