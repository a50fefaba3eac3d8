"""Does the teacher's answer to a sample's own prompt say the same as the sample's answer? Pure text, no model.

Short answers (a number, a name, a line) agree when they are equal but for case, spacing and punctuation. Long ones are
never equal: they agree when they share as many words and pairs of words as answers usually do here, which is told by
random samples that look fine, asked alike (``Bounds.of``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.verification.text_checks import words

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese."""
_STOPS = frozenset("。、・「」『』《》〈〉【】")
SHORT = 16
"""Words (or characters of a script without spaces) of an answer that is held to be equal rather than alike, at most."""
LEAST = 0.2
"""No bound for long answers is lower."""
FEW = 4
"""Random samples with long answers, under which ``ALIKE`` is the bound."""
LOW = 0.2
"""Share of the random samples that look fine that are taken to disagree by chance."""
UNRELATED = 0.95
"""Share of unrelated pairs of answers that must be less alike than two that agree."""
ALIKE = 0.5
"""The bound for long answers where random samples do not tell it."""


def tokens(text: str) -> list[str]:
    """The words of a text; where a script has no spaces between words, its characters."""
    out: list[str] = []
    for word in words(text):
        if _UNSPACED.search(word):
            out += [c for c in word if c.isalnum()]
        elif word not in _STOPS:
            out.append(word)
    return out


def similarity(one: str, other: str) -> float:
    """How alike two texts are, 0 to 1: 1 when their words are the same in the same order, else how many of their words
    and pairs of neighbouring words they share (the mean of two F1 scores).
    """
    a, b = tokens(one), tokens(other)
    if a == b:
        return 1.0
    return min(0.999, (_shared(a, b) + _shared(list(pairwise(a)), list(pairwise(b)))) / 2)


def _shared(a: Sequence[object], b: Sequence[object]) -> float:
    both = (Counter(a) & Counter(b)).total()
    return 2 * both / (len(a) + len(b)) if both else 0.0


def is_short(answer: str) -> bool:
    """Whether an answer is held to be equal."""
    return len(tokens(answer)) <= SHORT


@dataclass(frozen=True, slots=True)
class Bounds:
    """From which similarity on two ``long`` answers agree; short ones must be equal."""

    long: float = ALIKE

    @classmethod
    def of(cls, fine: Sequence[tuple[str, str]]) -> Bounds:
        """From random samples that look fine: each the original answer and the teacher's."""
        return cls(_bound([pair for pair in fine if not is_short(pair[0])]))

    def agree(self, original: str, alike: float) -> bool:
        """Whether a similarity to ``original`` is an agreement."""
        return alike >= (1.0 if is_short(original) else self.long)


def _bound(fine: Sequence[tuple[str, str]]) -> float:
    """Below what most agreeing answers have, and above what unrelated ones do."""
    if len(fine) < FEW:
        return ALIKE
    found = sorted(similarity(*pair) for pair in fine)
    unrelated = sorted(similarity(a, b) for i, (a, _) in enumerate(fine) for j, (_, b) in enumerate(fine) if i != j)
    return max(LEAST, found[int(LOW * len(found))], unrelated[int(UNRELATED * len(unrelated))])
