"""A file of a head (JSON) and named parts (bytes), made by one process and mapped by another.

The parts that are never looked at cost the reader no memory.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

LONGEST_HEAD = 100 << 20
WIDE = 8  # bytes of the leading head length; parts are aligned to it


def write(out: BinaryIO, head: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
    """Write the whole file."""
    places, at = {}, 0
    for name, part in parts.items():
        places[name] = (at, len(part))
        at += -(-len(part) // WIDE) * WIDE
    text = json.dumps({"head": head, "places": places}).encode()
    text += b" " * (-len(text) % WIDE)
    out.write(len(text).to_bytes(WIDE, "little") + text)
    for part in parts.values():
        out.write(part)
        out.write(b"\0" * (-len(part) % WIDE))
    out.flush()


def cut_off(path: Path) -> str:
    """Why the file cannot be whole, by what its head says of it; empty where nothing speaks against it."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(WIDE), "little")
            if size < WIDE or length > min(size - WIDE, LONGEST_HEAD):
                return "cut off: its header cannot be read"
            places = json.loads(file.read(length))["places"].values()
            want = WIDE + length + max((at + -(-part // WIDE) * WIDE for at, part in places), default=0)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "damaged: its header cannot be read"
    return "" if size == want else f"cut off: {size:,} of {want:,} bytes" if size < want else "damaged: too long"


class Sections:
    """A memory-mapped file of sections. ``file`` must stay open while this is used."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._parts = WIDE + int.from_bytes(self._map[:WIDE], "little")
        found = json.loads(self._map[WIDE : self._parts])
        self.head: dict[str, Any] = found["head"]
        self._places: dict[str, tuple[int, int]] = found["places"]

    def part(self, name: str) -> memoryview:
        """A part as bytes."""
        at, size = self._places[name]
        return memoryview(self._map)[self._parts + at : self._parts + at + size]

    def floats(self, name: str) -> Sequence[float]:
        """A part as float64."""
        return self.part(name).cast("d") if self._places[name][1] else ()

    def integers(self, name: str, kind: Literal["H", "I", "i", "q"]) -> Sequence[int]:
        """A part as integers: ``i`` for 4 bytes, ``q`` for 8; ``H`` and ``I`` for 2 and 4 without a sign."""
        return self.part(name).cast(kind) if self._places[name][1] else ()

    def has(self, name: str) -> bool:
        """Whether the part exists."""
        return name in self._places

    def rest(self) -> None:
        """Release the memory of pages that were read; they are read again on access."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
