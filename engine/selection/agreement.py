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
from typing import Any, TypeVar

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


@dataclass(frozen=True, slots=True)
class _Counted:
    """What the items of a text (words, or pairs of them) count, and all together."""

    items: Counter[Any]
    weights: Mapping[Any, float]
    total: float

    @classmethod
    def of(cls, items: Sequence[T], weight: Callable[[T], float]) -> _Counted:
        found = Counter(items)
        weights = {item: weight(item) for item in found}
        return cls(found, weights, math.fsum(weights[item] * n for item, n in found.items()))

    def shared(self, other: _Counted) -> float:
        """The F1 score of what both have, 0 to 1."""
        few, many = sorted((self, other), key=lambda one: len(one.items))
        both = [few.weights[item] * min(n, many.items[item]) for item, n in few.items.items() if item in many.items]
        return 2 * math.fsum(both) / max(self.total + other.total, 1e-9) if both else 0.0


@dataclass(frozen=True, slots=True)
class _Text:
    """A text as it is compared, so that one compared with many is taken apart once."""

    tokens: Sequence[str]
    words: _Counted
    pairs: _Counted

    @classmethod
    def of(cls, text: str, rarity: Rarity) -> _Text:
        found = tokens(text)
        return cls(found, _Counted.of(found, rarity.of_word), _Counted.of(list(pairwise(found)), rarity.of_pair))

    def like(self, other: _Text) -> float:
        """See ``similarity``."""
        if self.tokens == other.tokens:
            return 1.0
        return min(0.999, (self.words.shared(other.words) + self.pairs.shared(other.pairs)) / 2)


def similarity(one: str, other: str, rarity: Rarity = EVEN) -> float:
    """How alike two texts are, 0 to 1: 1 when their words are the same in the same order, else how many of their words
    and pairs of neighbouring words they share (the mean of two F1 scores).
    """
    return _Text.of(one, rarity).like(_Text.of(other, rarity))


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
        unrelated = _unrelated(known, rarity)
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


def _unrelated(pairs: Sequence[tuple[str, str]], rarity: Rarity) -> list[float]:
    """How alike each pair's first text is to the second ones of the others."""
    related = set(pairs)
    texts = {text: _Text.of(text, rarity) for pair in pairs for text in pair}
    return [texts[a].like(texts[b]) for a, _ in pairs for _, b in pairs if (a, b) not in related]


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else 0.0


def _fence(found: Sequence[float]) -> float:
    """Below it a value is an outlier among ``found``, two at least."""
    low, _, high = statistics.quantiles(found, n=4, method="inclusive")
    return low - OUTLIER * (high - low)
