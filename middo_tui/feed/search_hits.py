"""The hits of a search in a list, as one byte for each row; a set of ids would take seventy."""

from __future__ import annotations

from array import array
from functools import cached_property

FIRST_LOOK = 8_192
"""Up to this many ids, intersecting with a set of them is fastest."""
AT_ONCE = 131_072
"""Ids in a set at a time, about 8 MB: as fast as one set of all, which would not fit into a processor's cache."""


def among(found: array[int], ids: array[int]) -> bytes:
    """For each of ``ids`` 1 if it is one of ``found``, else 0. Both may hold half a million."""
    if len(ids) <= FIRST_LOOK:
        both = set(ids).intersection(found)
        return bytes(map(both.__contains__, ids))
    out = 0
    for begin in range(0, len(found), AT_ONCE):
        some = set(found[begin : begin + AT_ONCE])
        out |= int.from_bytes(bytes(map(some.__contains__, ids)), "little")
    return out.to_bytes(len(ids), "little")


class FoundPlaces:
    """The rows of a list, counted from 0, that a search found. ``flags``: a byte for each row, 1 for a hit."""

    def __init__(self, flags: bytes = b"") -> None:
        self._flags = flags

    def __contains__(self, at: object) -> bool:
        return isinstance(at, int) and 0 <= at < len(self._flags) and self._flags[at] == 1

    @cached_property
    def _count(self) -> int:
        return self._flags.count(1)

    def __len__(self) -> int:
        return self._count

    def after(self, at: int) -> int:
        """The next hit after row ``at``, wrapping around; -1 where nothing was found."""
        found = self._flags.find(1, at + 1)
        return self._flags.find(1) if found < 0 else found

    def before(self, at: int) -> int:
        """The hit before row ``at``, wrapping around; -1 where nothing was found."""
        found = self._flags.rfind(1, 0, max(0, at))
        return self._flags.rfind(1) if found < 0 else found
