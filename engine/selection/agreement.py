"""Does the teacher's answer to a sample's own prompt say the same as the sample's answer? Pure text, no model.

A teacher may know the very words of the dataset or have its own: some call "Paris" what others answer in a paragraph.
Which it is, random samples that look fine tell, asked alike (``Bounds.of``). Where it has the dataset's words, short
answers (a number, a name, a line) agree when they are equal but for case, spacing and punctuation, and long ones when
they are no outliers among those. Where it has its own words, answers agree when they share more words and pairs of
words, weighed by how rare they are, than answers to different prompts do; and a short one's numbers must be in both.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from engine.verification.text_checks import words

T = TypeVar("T")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese."""
_STOPS = frozenset("。、・「」『』《》〈〉【】")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
SHORT = 16
"""Words (or characters of a script without spaces) of an answer that may be held to be equal rather than alike."""
LEAST = 0.05
"""No bound for answers in the teacher's own words is lower."""
FEW = 4
"""Random samples that look fine, under which nothing is known of the teacher's words."""
SAME = 0.75
"""Of them so many have the teacher's very words where a short answer must be equal."""
ALIKE = 0.8
"""From here on the words are the same ones, where there are too few short answers to ask whether they are equal."""
OUTLIER = 1.5
"""An outlier lies so many quartile distances below the lower quartile (Tukey 1977)."""
UNRELATED = 0.95
"""Share of answers to different prompts that must be less alike than two that agree."""
SAMPLED = 64
"""Samples whose answers are compared for that, at most."""
UNKNOWN = 0.5
"""The bound where nothing is known of the teacher's words."""


def tokens(text: str) -> list[str]:
    """The words of a text; where a script has no spaces between words, its characters."""
    out: list[str] = []
    for word in words(text):
        if _UNSPACED.search(word):
            out += [c for c in word if c.isalnum()]
        elif word not in _STOPS:
            out.append(word)
    return out


@dataclass(frozen=True, slots=True)
class Rarity:
    """How much a word counts: the logarithm of the number of texts over those that have it. Of no texts: all alike."""

    weights: Mapping[str, float] = field(default_factory=dict)
    unknown: float = 1.0

    @classmethod
    def of(cls, texts: Sequence[str]) -> Rarity:
        """Among these texts."""
        having = Counter(word for text in texts for word in set(tokens(text)))
        every = len(texts) + 1
        return cls({word: math.log(every / (n + 0.5)) for word, n in having.items()}, math.log(2 * every))

    def of_word(self, word: str) -> float:
        """What a word counts."""
        return self.weights.get(word, self.unknown)

    def of_pair(self, pair: tuple[str, str]) -> float:
        """What two neighbouring words count."""
        return self.of_word(pair[0]) + self.of_word(pair[1])


EVEN = Rarity()


def similarity(one: str, other: str, rarity: Rarity = EVEN) -> float:
    """How alike two texts are, 0 to 1: 1 when their words are the same in the same order, else how many of their words
    and pairs of neighbouring words they share (the mean of two F1 scores).
    """
    a, b = tokens(one), tokens(other)
    if a == b:
        return 1.0
    pairs = _shared(list(pairwise(a)), list(pairwise(b)), rarity.of_pair)
    return min(0.999, (_shared(a, b, rarity.of_word) + pairs) / 2)


def _shared(a: Sequence[T], b: Sequence[T], weight: Callable[[T], float]) -> float:
    def total(found: Counter[T]) -> float:
        return math.fsum(weight(one) * n for one, n in found.items())

    mine, theirs = Counter(a), Counter(b)
    both = mine & theirs
    return 2 * total(both) / max(total(mine) + total(theirs), 1e-9) if both else 0.0


def is_short(answer: str) -> bool:
    """Whether an answer is so short that it may be held to be equal."""
    return len(tokens(answer)) <= SHORT


def numbers(text: str) -> set[str]:
    """The numbers that a text names."""
    return {found.rstrip(".,") for found in _NUMBER.findall(text)}


@dataclass(frozen=True, slots=True)
class Bounds:
    """When two answers agree.

    long: the similarity from which on long ones do. equal: short ones must be equal. own: the same for short ones that
    need not be.
    """

    long: float = UNKNOWN
    equal: bool = True
    own: float = UNKNOWN
    rarity: Rarity = EVEN

    @classmethod
    def of(cls, fine: Sequence[tuple[str, str]], asked: Sequence[tuple[str, str]] = ()) -> Bounds:
        """From pairs of an original and the teacher's answer.

        Args:
            fine: of random samples that look fine.
            asked: of samples of all kinds, as many as there are; ``fine`` where nothing is named.
        """
        known = (asked or fine)[:SAMPLED]
        rarity = Rarity.of([text for pair in known for text in pair])
        if len(fine) < FEW:
            return cls(rarity=rarity)
        found = [similarity(*pair, rarity) for pair in fine]  # one per sample: equal pairs count each time
        unrelated = [similarity(a, b, rarity) for a, _ in known for _, b in known if (a, b) not in known]
        own = max(LEAST, _quantile(unrelated, UNRELATED))
        short = [alike for (original, _), alike in zip(fine, found, strict=True) if is_short(original)]
        long = [alike for (original, _), alike in zip(fine, found, strict=True) if not is_short(original)]
        enough = len(short) >= FEW
        same = [alike >= (1.0 if enough else ALIKE) for alike in (short if enough else found)]
        fence = _fence(long if len(long) >= FEW else found)
        return cls(max(own, fence), sum(same) >= SAME * len(same), own, rarity)

    def alike(self, original: str, answer: str) -> float:
        """How alike two answers are, 0 to 1."""
        return similarity(original, answer, self.rarity)

    def agree(self, original: str, answer: str) -> bool:
        """Whether the teacher's ``answer`` says the same as ``original``."""
        found = self.alike(original, answer)
        if not is_short(original):
            return found >= self.long
        if found >= 1.0:
            return True
        return not self.equal and found >= self.own and numbers(original) <= numbers(answer)

    def stands(self, original: str, first: str, second: str) -> bool:
        """Whether two answers that both differ from ``original`` speak against it: not where the teacher has its own
        words and says something else each time, as it does for a story.
        """
        known = self.equal if is_short(original) else self.long >= UNKNOWN
        return known or self.alike(first, second) >= self.own


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else 0.0


def _fence(found: Sequence[float]) -> float:
    """Below it a value is an outlier among ``found``, two at least."""
    low, _, high = statistics.quantiles(found, n=4, method="inclusive")
    return low - OUTLIER * (high - low)
