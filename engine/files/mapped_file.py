"""A file of a head (JSON) and named parts (bytes), made by one process and mapped by another.

The parts that are never looked at cost the reader no memory.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Literal

WIDE = 8  # the head's length comes first, in so many bytes; parts begin at multiples of it


def write(out: BinaryIO, head: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
    """Write all of it."""
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


class Sections:
    """Such a file, mapped. ``file`` stays open as long as this."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._parts = WIDE + int.from_bytes(self._map[:WIDE], "little")
        found = json.loads(self._map[WIDE : self._parts])
        self.head: dict[str, Any] = found["head"]
        self._places: dict[str, tuple[int, int]] = found["places"]

    def part(self, name: str) -> memoryview:
        """The bytes of a part."""
        at, size = self._places[name]
        return memoryview(self._map)[self._parts + at : self._parts + at + size]

    def floats(self, name: str) -> Sequence[float]:
        """A part of doubles."""
        return self.part(name).cast("d") if self._places[name][1] else ()

    def integers(self, name: str, kind: Literal["i", "q"]) -> Sequence[int]:
        """A part of integers: ``i`` of four bytes, ``q`` of eight."""
        return self.part(name).cast(kind) if self._places[name][1] else ()

    def has(self, name: str) -> bool:
        """Whether there is such a part."""
        return name in self._places

    def rest(self) -> None:
        """Give back the memory of what was looked at; it is read again when it is looked at again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
