"""Whole numbers of many samples as bit planes, and sets of samples as compressed bitmaps.

A bit-sliced index (O'Neil and Quass, "Improved query performance with variant indexes", SIGMOD 1997): a plane holds one
bit of everybody's number, so that "whose number is below 1,234", "the sum over these samples" and "the smallest hundred
of these" each take a few operations a plane instead of one a sample. With half a million samples an operation on two
planes takes some microseconds, and counting what they have in common one.

Numbers in a bitmap are samples: 0 to N - 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyroaring import BitMap


class Numbers:
    """One number of 0 or more for each of N samples. ``zeros``: the planes, the lowest first; a plane holds the samples
    whose number has not its bit.
    """

    def __init__(self, zeros: Sequence[BitMap], everybody: BitMap) -> None:
        self.zeros = tuple(zeros)
        self.everybody = everybody

    def below(self, limit: int) -> BitMap:
        """Those whose number is less than ``limit``."""
        if limit <= 0:
            return BitMap()
        if limit >> len(self.zeros):
            return self.everybody
        found = BitMap()
        for at, zeros in enumerate(self.zeros):
            found = found | zeros if limit >> at & 1 else found & zeros
        return found

    def total(self, samples: BitMap) -> int:
        """The sum of the numbers of ``samples``."""
        size = len(samples)
        return sum((size - samples.intersection_cardinality(zeros)) << at for at, zeros in enumerate(self.zeros))


def smallest(groups: Sequence[tuple[BitMap, Numbers]], most: int) -> list[BitMap]:
    """Of each group's samples those that are among the ``most`` with the smallest numbers over all groups.

    No two numbers are equal, and all groups have as many planes.
    """
    left, found = [samples for samples, _ in groups], [BitMap() for _ in groups]
    planes = max((len(numbers.zeros) for _, numbers in groups), default=0)
    for at in reversed(range(planes)):
        zeros = [numbers.zeros[at] for _, numbers in groups]
        size = sum(map(BitMap.intersection_cardinality, left, zeros))
        if size > most:
            left = [samples & low for samples, low in zip(left, zeros, strict=True)]
        else:
            most -= size
            found = [a | samples & low for a, samples, low in zip(found, left, zeros, strict=True)]
            left = [samples - low for samples, low in zip(left, zeros, strict=True)]
    if most and sum(map(len, left)) <= most:
        found = [a | samples for a, samples in zip(found, left, strict=True)]
    return found
