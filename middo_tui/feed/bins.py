"""How a signal's values are distributed: what the feed reads and a histogram draws."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from msgspec import Struct

Side = Literal["above", "below"]


class Bins(Struct, frozen=True):
    """How many values lie in each of equal parts of [``low``, ``high``]; a part may hold a fraction of a value."""

    low: float
    high: float
    counts: tuple[float, ...]

    @classmethod
    def of(cls, ordered: Sequence[float], low: float, high: float, parts: int) -> Bins:
        """Of values in rising order; those outside are in the first and last part."""
        edges = [low + (high - low) * at / parts for at in range(1, parts)]
        places = [0, *(bisect_left(ordered, edge) for edge in edges), len(ordered)]
        return cls(low, high, tuple(float(b - a) for a, b in pairwise(places)))

    def scaled(self, factor: float) -> Bins:
        """The same with every count times ``factor``: to lay a larger or smaller dataset's behind another's."""
        return Bins(self.low, self.high, tuple(count * factor for count in self.counts))
