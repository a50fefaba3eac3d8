"""One signal of a round as ``engine.selection.preview.build`` laid it out in a file: searched, compared, counted into
bins."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise, takewhile
from math import nan

from pyroaring import BitMap

from engine.files.mapped_file import Sections
from engine.selection.preview.bitplanes import Numbers
from engine.signals.axes import Signal


@dataclass(frozen=True, slots=True)
class BinCounts:
    """``counts[i]`` values lie in [edges[i], edges[i + 1]); the outermost bins hold what lies further out as well."""

    counts: tuple[int, ...]
    edges: tuple[float, ...]


class SortedSignal:
    """One signal of all samples, sorted once: places are counted among the known values."""

    def __init__(self, signal: Signal, laid: Sections, everybody: BitMap) -> None:
        self.signal = signal
        self.sorted = laid.floats(f"sorted {signal.name}")
        self.order = laid.integers(f"order {signal.name}", "i")
        self.place = laid.integers(f"place {signal.name}", "i")
        self.known = members(laid, f"known {signal.name}")
        self._places = numbers(laid, f"place {signal.name}", everybody)

    def value(self, sample: int) -> float:
        """NaN where there is none."""
        place = self.place[sample]
        return self.sorted[place] if place >= 0 else nan

    def first(self, limit: float) -> int:
        """The place where being beyond ``limit`` begins (above) or ends (below)."""
        search = bisect_right if self.signal.side == "above" else bisect_left
        return search(self.sorted, limit)

    def beyond(self, limit: float) -> BitMap:
        """Which samples lie strictly beyond ``limit``."""
        low = self._places.below(self.first(limit)) & self.known
        return self.known - low if self.signal.side == "above" else low


def members(laid: Sections, name: str) -> BitMap:
    """The set of samples called ``name``."""
    return BitMap.deserialize(bytes(laid.part(name)))


def places(laid: Sections, ids: Iterable[int]) -> BitMap:
    """Which samples have ``ids``; an id of no sample of the round is left out."""
    known, order = laid.integers("sorted ids", "q"), laid.integers("order ids", "i")
    found = ((bisect_left(known, id), id) for id in ids)
    return BitMap(order[at] for at, id in found if at < len(known) and known[at] == id)


def numbers(laid: Sections, name: str, everybody: BitMap) -> Numbers:
    """The bit planes called ``name``."""
    planes = takewhile(laid.has, (f"plane {at} {name}" for at in count()))
    return Numbers([members(laid, plane) for plane in planes], everybody)


def histogram(known: Sequence[float], bins: int, trim: float) -> BinCounts:
    """From sorted values, by searching the edges."""
    if not len(known):
        return BinCounts((0,) * bins, tuple(at / bins for at in range(bins + 1)))
    low, high = known[int(trim * (len(known) - 1))], known[int((1 - trim) * (len(known) - 1))]
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = (*(low + (high - low) * at / bins for at in range(bins)), high)
    inner = [0, *(bisect_left(known, edge) for edge in edges[1:-1]), len(known)]
    return BinCounts(tuple(b - a for a, b in pairwise(inner)), edges)
