"""A file of a head (JSON) and named parts (bytes), made by one process and mapped by another.

The parts that are never looked at cost the reader no memory.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Literal

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


def expected_size(file: BinaryIO, longest: int) -> int:
    """How many bytes the file should have, by its head of at most ``longest`` bytes.

    Raises:
        ValueError: the head is none.
    """
    length = int.from_bytes(file.read(WIDE), "little")
    try:
        places = json.loads(file.read(min(length, longest)))["places"]
        return WIDE + length + max((-(-(at + size) // WIDE) * WIDE for at, size in places.values()), default=0)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None


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
