"""Does a rewrite still speak of what its original spoke of? Told by shared words, against random samples.

A rewrite that wandered off may have excellent signals and still be no better version of anything: a sample drawn at
random in its place would look as good. So it must share more with its original than most random samples do; what
"most" is says how often chance would pass. Words are weighed by how rare they are among the random samples, so wording
that all samples have counts for nothing. Pure Python, no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.verification.text_checks import Exchange, words

REFERENCES = 256
"""Random samples that a rewrite is held against: a share of 0.9 is then known to within 0.02."""
LEAST = 20
"""With fewer of them nothing can be told."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


def terms(exchange: Exchange) -> frozenset[str]:
    """The words of prompt and response; where a script has no spaces, pairs of its characters."""
    out: set[str] = set()
    for word in words(exchange.text):
        if _UNSPACED.search(word) and len(word) > 1:
            out.update(word[i : i + 2] for i in range(len(word) - 1))
        else:
            out.add(word)
    return frozenset(out)


@dataclass(frozen=True, slots=True)
class Topics:
    """Random samples by their ids, the ids that have a term, and the length of each sample as a vector of weights."""

    ids: Sequence[int]
    having: Mapping[str, Sequence[int]]
    lengths: Mapping[int, float]

    @classmethod
    def of(cls, samples: Iterable[tuple[int, Exchange]]) -> Topics:
        """Of these random samples."""
        found = {id: terms(exchange) for id, exchange in samples}
        having: dict[str, list[int]] = {}
        for id, every in found.items():
            for term in every:
                having.setdefault(term, []).append(id)
        out = cls(tuple(found), having, {})
        return cls(out.ids, having, {id: out._length(every) for id, every in found.items()})

    def share(self, original: Exchange, new: Exchange, but: Collection[int] = ()) -> float | None:
        """Which share of the random samples has less to do with ``original`` than ``new`` has; None when there are too
        few of them. Those in ``but`` do not count.
        """
        others = [id for id in self.ids if id not in but]
        if len(others) < LEAST:
            return None
        own, found = terms(original), terms(new)
        shared = dict.fromkeys(self.ids, 0.0)
        for term in sorted(own):  # in one order: sums of floats must not depend on a set's
            for id in self.having.get(term, ()):
                shared[id] += self._weight(term)
        near = sum(self._weight(term) for term in sorted(own & found)) / (self._length(found) or 1.0)
        return sum(shared[id] / (self.lengths[id] or 1.0) < near for id in others) / len(others)

    def overlap(self, one: Exchange, other: Exchange) -> float:
        """The share of the terms of two exchanges that both have, by their weight: 0 for two empty ones."""
        own, found = terms(one), terms(other)
        every = sum(self._weight(term) for term in sorted(own | found))
        return sum(self._weight(term) for term in sorted(own & found)) / every if every else 0.0

    def _weight(self, term: str) -> float:
        return math.log((len(self.ids) + 1) / (len(self.having.get(term, ())) + 0.5)) ** 2

    def _length(self, found: frozenset[str]) -> float:
        return math.sqrt(sum(self._weight(term) for term in sorted(found)))
