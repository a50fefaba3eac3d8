"""Whole numbers of many samples as bit planes, and sets of samples as the bits of one integer.

A bit-sliced index (O'Neil and Quass, "Improved query performance with variant indexes", SIGMOD 1997): a plane holds one
bit of everybody's number, so that "whose number is below 1,234", "the sum over these samples" and "the smallest hundred
of these" each take a few operations a plane instead of one a sample. With half a million samples a plane has 62 KB,
and one operation takes some microseconds: the loops are those of Python's own integers, and no array library is needed.

Bit i of every integer here belongs to sample i.
"""

from __future__ import annotations

from collections.abc import Sequence


class Numbers:
    """One number of 0 or more for each of N samples. ``zeros``: the planes, the lowest first; a bit is set where the
    number's is not.
    """

    def __init__(self, zeros: Sequence[int], everybody: int) -> None:
        self.zeros = tuple(zeros)
        self.everybody = everybody

    def below(self, limit: int) -> int:
        """Those whose number is less than ``limit``."""
        if limit <= 0:
            return 0
        if limit >> len(self.zeros):
            return self.everybody
        found = 0
        for at, zeros in enumerate(self.zeros):
            found = found | zeros if limit >> at & 1 else found & zeros
        return found

    def total(self, samples: int, size: int) -> int:
        """The sum of the numbers of ``samples``, of which there are ``size``."""
        return sum((size - (samples & zeros).bit_count()) << at for at, zeros in enumerate(self.zeros))


def smallest(groups: Sequence[tuple[int, Numbers]], most: int) -> list[int]:
    """Of each group's samples those that are among the ``most`` with the smallest numbers over all groups.

    No two numbers are equal, and all groups have as many planes.
    """
    left, found = [samples for samples, _ in groups], [0] * len(groups)
    planes = max((len(numbers.zeros) for _, numbers in groups), default=0)
    for at in reversed(range(planes)):
        low = [samples & numbers.zeros[at] for samples, (_, numbers) in zip(left, groups, strict=True)]
        size = sum(map(int.bit_count, low))
        if size > most:
            left = low
        else:
            most -= size
            found = [a | b for a, b in zip(found, low, strict=True)]
            left = [a ^ b for a, b in zip(left, low, strict=True)]
    if most and sum(map(int.bit_count, left)) <= most:
        found = [a | b for a, b in zip(found, left, strict=True)]
    return found
