"""Ids of imported samples: exact copies get distinct ids and are counted."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from functools import partial

from msgspec.structs import replace

from engine.store.conversation import Sample, content_id, content_id_of, dump_messages


class Numbering:
    """Hands out ids that are not in ``used``, which grows. ``duplicates``: how many samples had the content of an
    earlier one, or of one among ``held``, the content ids of samples that were held out.
    """

    def __init__(self, used: set[int], held: Container[int] = ()) -> None:
        self._used, self._held = used, held
        self._copies: dict[int, int] = {}
        self.duplicates = 0

    def next(self, first: int, text: Callable[[], str]) -> int:
        """The id of the next sample, whose content id is ``first`` and whose messages are stored as ``text()``."""
        self.duplicates += first in self._used or first in self._held
        id = first
        if first in self._used:
            copy = self._copies.get(first, 1)
            stored = text()
            while (id := content_id_of(stored, copy)) in self._used:
                copy += 1
            self._copies[first] = copy + 1
        self._used.add(id)
        return id


def with_ids(samples: Iterable[Sample], taken: set[int]) -> list[Sample]:
    """The samples with ids that are not in ``taken``."""
    numbers = Numbering(set(taken))
    return [replace(s, id=numbers.next(content_id(s.messages), partial(dump_messages, s.messages))) for s in samples]
