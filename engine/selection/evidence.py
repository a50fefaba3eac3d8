"""Where to stop asking about samples that look flawed: what the answers so far say. Pure numbers.

The teacher answers the prompts of samples as they are, those that look worst first, in batches. Where its answer
disagrees with the sample's, the sample is flawed, or the two differ by chance. How often that happens by chance is told
by a control group: random samples asked alike, of which those that look fine count. The asking ends with the first
batch that shows (at the 5 % level) that fewer than half of its calls find a flaw beyond chance: a new sample costs two
calls, so from there on they buy more elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.plurals import counted
from engine.signals.label_report import too_wide

FIRST = 22
"""Calls of the first batch: on clean data they and the control group are all that is spent."""
CONTROL = 16
"""Random samples asked with the first batch, at least; later ones bring ``SHARE`` of their calls."""
SHARE = 0.05
PARTS, PARTS_AWAY = 25, 8
"""The largest batch is the dataset over this; of batches that a provider works on for hours there are fewer."""
GROWTH, GROWTH_AWAY = 2, 4
NOISE = 0.3
"""If answers differ by chance more often, no sample is dropped for them; if that is all they tell, none is selected."""
DOUBT = 0.05
"""Where more of a batch's differing answers may be chance, those samples are asked about a second time."""
PAYS = 0.5
"""Flaws per call that are worth it."""
LEVEL = 0.05
Z = 1.96


def batch_size(number: int, samples: int, away: bool) -> int:
    """How many samples batch ``number`` (from 0) asks about. ``away``: a provider takes hours for each batch."""
    growth, parts = (GROWTH_AWAY, PARTS_AWAY) if away else (GROWTH, PARTS)
    largest = math.ceil(samples / parts)
    return max(FIRST, min(FIRST * int(growth ** min(number, 32)), largest))


def controls(number: int, size: int) -> int:
    """How many random samples a batch of ``size`` brings."""
    return max(CONTROL, math.ceil(SHARE * size)) if number == 0 else math.ceil(SHARE * size)


@dataclass(frozen=True, slots=True)
class Tally:
    """Samples asked about, and those of them where the teacher's answer disagrees."""

    asked: int = 0
    differ: int = 0


def chance(fine: Tally) -> float:
    """How often answers differ where nothing looks wrong, with half a sample of doubt. Nobody asked: never."""
    return (fine.differ + 0.5) / (fine.asked + 1) if fine.asked else 0.0


def pays(batch: Tally, fine: Tally) -> bool:
    """Whether another batch after ``batch`` is worth its calls. ``fine``: of the control group what looks fine."""
    by_chance = chance(fine)
    return at_most(batch.differ, batch.asked, by_chance + (1 - by_chance) * PAYS) >= LEVEL


def doubtful(batch: Tally, fine: Tally) -> bool:
    """Whether more than ``DOUBT`` of the answers that differ in ``batch`` may do so by chance."""
    by_chance = chance(fine)
    if not batch.differ or by_chance >= 1:
        return False
    return by_chance * (batch.asked - batch.differ) > DOUBT * (1 - by_chance) * batch.differ


def tells(asked: Tally, fine: Tally) -> bool:
    """Whether answers differ more often (at the 5 % level) for what looks flawed than for what looks fine."""
    return asked.differ > 0 and 1 - at_most(asked.differ - 1, asked.asked, chance(fine)) < LEVEL


def at_most(hits: int, of: int, rate: float) -> float:
    """The probability of at most ``hits`` among ``of`` at ``rate`` each."""
    if rate <= 0 or hits >= of:
        return 1.0
    if rate >= 1:
        return 0.0
    logs = [
        math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
        + k * math.log(rate) + (of - k) * math.log1p(-rate)
        for k in range(hits + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(math.exp(value) for value in logs))


def wilson(tally: Tally) -> tuple[float, float]:
    """The 95 % interval of a share; (0, 1) when nobody was asked."""
    if not tally.asked:
        return 0.0, 1.0
    n, p = tally.asked, tally.differ / tally.asked
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class FlawedShare:
    """The share of a dataset that is flawed, with a 95 % interval."""

    share: float
    low: float
    high: float

    def of(self, samples: int) -> str:
        """E.g. ``about 36% (36% to 43%) of 600 samples look flawed``."""
        interval = f"{self.low:.0%} to {self.high:.0%}"
        if too_wide(self.low, self.high):
            return f"too few answers to estimate how many of {counted(samples, 'sample')} look flawed ({interval})"
        return f"about {self.share:.0%} ({interval}) of {counted(samples, 'sample')} look flawed"


class End(NamedTuple):
    """Why the asking is over, in words. ``settled``: what was not asked about looks too good to be worth a call."""

    why: str
    settled: bool


def flawed_share(
    samples: int, asked: Tally, last: Tally, rest: Tally, fine: Tally, sure: Tally = Tally()
) -> FlawedShare:
    """What is flawed of ``samples``: of those asked about what differs beyond chance, of the rest what its random
    samples say, and no more than the last batch, which looked worse than they do.

    Args:
        asked: all that were asked about once for looking flawed.
        last: the last batch of them.
        rest: the control group's samples that look better than those.
        fine: the control group's samples that look fine.
        sure: what was asked about a second time where answers differed: none of it differs by chance.
    """
    by_chance = chance(fine) if fine.differ else 0.0
    beyond = max(0.0, asked.differ - by_chance * asked.asked) / (1 - by_chance)
    others = max(0, samples - asked.asked - sure.asked)
    low, high = wilson(rest)
    among = min(rest.differ / rest.asked, last.differ / last.asked) if rest.asked and last.asked else 0.0
    high = min(high, wilson(last)[1])
    ends = [max(0.0, value - by_chance) / (1 - by_chance) * others for value in (among, min(low, high), high)]
    spread = Z * math.sqrt(by_chance * (1 - by_chance) * asked.asked) / (1 - by_chance) if by_chance else 0.0
    share, low, high = beyond + ends[0], max(0.0, beyond - spread) + ends[1], beyond + spread + ends[2]
    share, low, high = share + sure.differ, low + sure.differ, high + sure.differ
    low, high = min(low, share), max(high, share)  # the last batch may know more of the rest than the control group
    return FlawedShare(*(min(1.0, value / max(1, samples)) for value in (share, low, high)))


def tally(differ: Sequence[bool]) -> Tally:
    """Of samples whether the teacher's answer differs."""
    return Tally(len(differ), sum(differ))
