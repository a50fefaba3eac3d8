"""How a signal's values are distributed: what the feed reads and a histogram draws."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Side = Literal["above", "below"]


class Bins(Struct, frozen=True):
    """How many values lie in each of equal parts of [``low``, ``high``]; a part may hold a fraction of a value."""

    low: float
    high: float
    counts: tuple[float, ...]

    def scaled(self, factor: float) -> Bins:
        """The same with every count times ``factor``: to lay a larger or smaller dataset's behind another's."""
        return Bins(self.low, self.high, tuple(count * factor for count in self.counts))
