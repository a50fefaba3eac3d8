"""The prompts that there are, to find copies and near copies of a new one, without their texts in memory.

Near copies are found by prefix filtering: two sets of word shingles whose Jaccard similarity is at least t share one of
the first (1 - t)·n + 1 shingles of each, in any order that is the same for all; with the rarest first few other prompts
are looked at. Of a prompt its key, a hash of its normalised text and those of its prefix are kept, some 70 bytes; the
texts behind a hash are asked for again, so what two texts with one hash cost is time.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.store.dataset import Dataset
from engine.verification.text_checks import NEAR, jaccard, normalise, shingled

BUCKETS = 1 << 21
"""Shingles are counted by so many hashes (4 bytes each): a wrong count costs time only."""


class DatasetPrompts(Mapping[int, str]):
    """The prompts of a dataset by sample id, read when they are asked for."""

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def __getitem__(self, id: int) -> str:
        return self._data.take([id])[0].prompt

    def __iter__(self) -> Iterator[int]:
        return iter(self._data.ids)

    def __len__(self) -> int:
        return len(self._data)

    def pairs(self) -> Iterator[tuple[int, str]]:
        """All of them in order, a page of the store at a time."""
        return ((sample.id, sample.prompt) for sample in self._data)


@dataclass(slots=True)
class _HashIndex:
    """Hashes with the numbers of the prompts that have them, sorted: int64[n], int64[n]."""

    hashes: NDArray[Any]
    numbers: NDArray[Any]

    @classmethod
    def of(cls, hashes: array[int], numbers: array[int]) -> _HashIndex:
        found = np.frombuffer(hashes, np.int64) if hashes else np.zeros(0, np.int64)
        order = np.argsort(found, kind="stable")
        return cls(found[order], np.array(numbers, np.int64)[order])

    def of_hash(self, wanted: int) -> list[int]:
        """The numbers with this hash, ascending."""
        begin, end = np.searchsorted(self.hashes, wanted, "left"), np.searchsorted(self.hashes, wanted, "right")
        return [int(number) for number in self.numbers[begin:end]]


@dataclass(slots=True)
class Corpus:
    """Prompts by hashes of their normalised text and of their rarest shingles. Keys are the caller's.

    added: the texts that came by ``add``, which are few; they are kept.
    """

    prompts: Mapping[int, str]
    threshold: float
    keys: array[int]
    counts: NDArray[Any]
    exact: _HashIndex
    index: _HashIndex
    added: dict[int, str] = field(default_factory=dict)
    added_exact: dict[str, list[int]] = field(default_factory=dict)
    added_index: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, prompts: Mapping[int, str], threshold: float = NEAR) -> Corpus:
        """A corpus of ``prompts``, which are gone through twice and asked for again later."""
        counts = np.zeros(BUCKETS, np.uint32)
        for _, text in _pairs(prompts):
            counts[[hash(one) % BUCKETS for one in shingled(text)]] += 1
        empty = _HashIndex(np.zeros(0, np.int64), np.zeros(0, np.int64))
        out = cls(prompts, threshold, array("q"), counts, empty, empty)
        exact, hashes, numbers = array("q"), array("q"), array("q")
        for key, text in _pairs(prompts):
            prefix = out._prefix(shingled(text))
            hashes.extend(prefix)
            numbers.extend([len(out.keys)] * len(prefix))
            exact.append(hash(normalise(text)))
            out.keys.append(key)
        out.exact = _HashIndex.of(exact, array("q", range(len(exact))))
        out.index = _HashIndex.of(hashes, numbers)
        return out

    def add(self, key: int, prompt: str) -> None:
        """One more prompt."""
        self.added[key] = prompt
        self.added_exact.setdefault(normalise(prompt), []).append(key)
        for shingle in self._prefix(shingled(prompt)):
            self.added_index.setdefault(shingle, []).append(key)

    def near(self, prompt: str, but: Collection[int] = ()) -> tuple[int, float] | None:
        """The first prompt that ``prompt`` is a (near) copy of, with the similarity; those in ``but`` do not
        count.
        """
        normal = normalise(prompt)
        for key in (self.keys[number] for number in self.exact.of_hash(hash(normal))):
            if key not in but and normalise(self._text(key)) == normal:
                return key, 1.0
        same = next((key for key in self.added_exact.get(normal, ()) if key not in but), None)
        if same is not None:
            return same, 1.0
        own = shingled(prompt)
        for key in sorted(self._sharing(own) - set(but)):
            similarity = jaccard(own, shingled(self._text(key)))
            if similarity >= self.threshold:
                return key, similarity
        return None

    def _sharing(self, own: frozenset[str]) -> set[int]:
        """The keys of the prompts that have one of its rarest shingles among theirs."""
        out: set[int] = set()
        for one in self._prefix(own):
            out.update(self.keys[number] for number in self.index.of_hash(one))
            out.update(self.added_index.get(one, ()))
        return out

    def _prefix(self, found: frozenset[str]) -> list[int]:
        """The hashes of the rarest shingles, enough of them for ``threshold``."""
        hashes = [hash(one) for one in found]
        ranked = sorted(hashes, key=lambda one: (int(self.counts[one % BUCKETS]), one))
        return ranked[: int((1 - self.threshold) * len(found) + 1e-9) + 1]

    def _text(self, key: int) -> str:
        return self.added[key] if key in self.added else self.prompts[key]


def _pairs(prompts: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    return prompts.pairs() if isinstance(prompts, DatasetPrompts) else iter(prompts.items())
