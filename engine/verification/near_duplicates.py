"""Is a new prompt the copy of another one in other words? Told by the round's embeddings and by the words together.

All prompts' embeddings point much the same way, so their cosine says little: a few of their coordinates are large in
every prompt. With each coordinate centred and scaled over the dataset, small edits of a prompt stay near it and other
prompts do not. A duplicate lies nearer to a sample than all but few of the dataset's own prompts lie to one with other
words, and has its words too: templates that differ in what they ask for are near each other, but the rare words differ.

Of 499 prompts of Alpaca under SmolLM2-135M no two are called duplicates, and of 622 small edits (a typo, a word left
out, synonyms, other numbers) 91 % are found. By similarity alone, with one false duplicate in a hundred, 89 % are
found; by the plain cosine 83 %, by the cosine of centred embeddings 69 % (docs/benchmarks/near-duplicates.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.signals.nearest import Floats, Ints, against
from engine.verification.text_checks import Exchange
from engine.verification.topics import Topics

SHARED = 0.5
"""Two prompts that share so much of their words, by weight, are copies of one another if they lie near each other."""
RARE = 0.02
"""So large a part of the dataset's prompts may lie as near to one with other words as a duplicate does."""
ASKED = 1024
"""Prompts that the bound is learned from."""
LOOKED_AT = 4
"""Nearest prompts that are compared word by word."""
BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Twin:
    """The row that a prompt is a duplicate of, their similarity and the share of words that they share."""

    row: int
    similarity: float
    shared: float


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """The dataset's different prompts: the text of each, asked for by its number, and [N, D] embeddings (in a file) of
    which each coordinate has mean 0 and deviation 1; ``bound``: the similarity from which a prompt lies too near.
    """

    prompt: Callable[[int], str]
    table: Floats
    mean: Floats
    scale: Floats
    topics: Topics
    bound: float

    @classmethod
    def of(
        cls,
        prompt: Callable[[int], str],
        embeddings: Floats,
        topics: Topics,
        which: Ints | None = None,
        folder: Path | None = None,
    ) -> NearDuplicates:
        """Of the dataset's different prompts with their embeddings, the rows ``which`` (all) of [N, D], in the same
        order. ``folder``: where a file of 2·D bytes a prompt can be (the system's for temporary files); it has no name
        and is gone with the process.
        """
        which = np.arange(len(embeddings)) if which is None else which
        mean, scale = _moments(embeddings, which)
        out = cls(prompt, _in_file(embeddings, which, mean, scale, folder), mean, scale, topics, 1.0)
        return cls(prompt, out.table, mean, scale, topics, out._learned())

    def _learned(self) -> float:
        """The similarity that all but ``RARE`` of the prompts keep from every prompt with other words."""
        asked = np.linspace(0, len(self.table) - 1, min(ASKED, len(self.table))).astype(np.int64)
        near, rows = against(self.table[asked], self.table, LOOKED_AT, asked)
        others = (self._other(self.prompt(i), near[n], rows[n]) for n, i in enumerate(asked.tolist()))
        known = [value for value in others if value is not None]
        return float(np.quantile(known, 1 - RARE)) if known else 1.0

    def _other(self, text: str, near: Floats, rows: Ints) -> float | None:
        """The similarity of the nearest prompt that has other words than ``text``."""
        for similarity, row in zip(near.tolist(), rows.tolist(), strict=True):
            if row >= 0 and self.shared(text, self.prompt(row)) < SHARED:
                return float(similarity)
        return None

    def shared(self, one: str, other: str) -> float:
        """The share of the words of two prompts that both have, by their weight."""
        return self.topics.overlap(Exchange(one, ""), Exchange(other, ""))

    def find(self, prompts: Sequence[str], embeddings: Floats, own: Ints) -> list[Twin | None]:
        """What each of these prompts ([Q], with embeddings [Q, D]) is a duplicate of. ``own``: as for ``against``."""
        queries = _standard(embeddings, self.mean, self.scale)
        near, rows = against(queries, self.table, LOOKED_AT, own)
        return [self._twin(text, near[n], rows[n]) for n, text in enumerate(prompts)]

    def _twin(self, text: str, near: Floats, rows: Ints) -> Twin | None:
        for similarity, row in zip(near.tolist(), rows.tolist(), strict=True):
            if row >= 0 and similarity >= self.bound and (shared := self.shared(text, self.prompt(row))) >= SHARED:
                return Twin(row, similarity, shared)
        return None


def _moments(rows: Floats, which: Ints) -> tuple[Floats, Floats]:
    """Mean and deviation of each coordinate over the finite ones of ``rows[which]``, float64[D]; a constant one has
    deviation 1.
    """
    count, total, squares = 0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for start in range(0, len(which), BLOCK):
        block = np.asarray(rows[which[start : start + BLOCK]], dtype=np.float64)
        block = block[np.isfinite(block).all(1)]
        count, total, squares = count + len(block), total + block.sum(0), squares + (block**2).sum(0)
    mean = total / max(count, 1)
    deviation = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0.0))
    return mean, np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6), deviation, 1.0)


def _standard(rows: Floats, mean: Floats, scale: Floats) -> Floats:
    """The rows with each coordinate centred and scaled, float16 as embeddings are kept."""
    return np.asarray((np.asarray(rows, dtype=np.float64) - mean) / scale, dtype=np.float16)


def _in_file(rows: Floats, which: Ints, mean: Floats, scale: Floats, folder: Path | None) -> Floats:
    """``_standard`` of ``rows[which]``, read from a file without a name: memory does not grow with the dataset."""
    if not len(which):
        return np.zeros((0, rows.shape[1]), np.float16)
    with tempfile.TemporaryFile(dir=folder) as file:
        for start in range(0, len(which), BLOCK):
            file.write(_standard(rows[which[start : start + BLOCK]], mean, scale).tobytes())
        file.flush()
        return np.memmap(file, np.float16, mode="r", shape=(len(which), rows.shape[1]))
