"""What a search found: eight bytes a sample, where a set would take seventy."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import compress, count


class FoundSamples:
    """Sample ids; to be asked for one at a time. ``ids`` rise."""

    def __init__(self, ids: array[int] | None = None) -> None:
        self._ids = array("q") if ids is None else ids

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, int):
            return False
        at = bisect_left(self._ids, id)
        return at < len(self._ids) and self._ids[at] == id

    def places(self, ids: array[int]) -> array[int]:
        """Where in the order ``ids`` those that were found are, rising."""
        inside = set(self._ids)  # for so long: ten times as fast
        return array("i", compress(count(), map(inside.__contains__, ids)))
