"""Which prompts the rows of an import ask, in 24 bytes a prompt."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from struct import iter_unpack

from engine.store.prompt_keys import Key

WIDTH = 16
"""Bytes of a key (``engine.store.prompt_keys``)."""


class Asked:
    """Per row its prompts' keys, that of the last answer first."""

    def __init__(self) -> None:
        self._keys = bytearray()
        self._ends = array("q", [0])

    def append(self, keys: Sequence[Key]) -> None:
        """The next row's prompts."""
        self._keys += b"".join(keys)
        self._ends.append(self._ends[-1] + len(keys))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> list[Key]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        keys = self._keys[self._ends[row] * WIDTH : self._ends[row + 1] * WIDTH]
        return [key for (key,) in iter_unpack(f"{WIDTH}s", keys)]

    def __iter__(self) -> Iterator[list[Key]]:
        return (self[row] for row in range(len(self)))

    def rows(self, wanted: Collection[Key]) -> Iterator[tuple[int, Key]]:
        """The rows that have any key of ``wanted``, each with it, in order."""
        for place, (key,) in enumerate(iter_unpack(f"{WIDTH}s", self._keys)):
            if key in wanted:
                yield bisect_right(self._ends, place) - 1, key
