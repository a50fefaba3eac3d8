"""What an invented project is made of: the present dataset as arrays, and the constants of its story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.store.rows import Message

Floats = NDArray[np.float64]

ROUNDS = 3
START = 1_770_000_000.0
HOUR = 3600.0
MAX_LENGTH = 2048
PRICE_IN, PRICE_OUT = 0.4e-6, 1.6e-6
SIDES = {"loss_before": 1.0, "loss_after": 1.0, "similarity": -1.0, "quality": -1.0}
"""Thresholded signals, and whether large (1) or small (-1) values are selected."""


@dataclass(slots=True)
class Data:
    """The present dataset as arrays, one place per sample. ``hard`` and ``flaw`` (0 to 1) are what signals come of."""

    id: NDArray[np.int64]
    seq: NDArray[np.int64]
    topic: NDArray[np.int64]
    flaw: Floats
    hard: Floats
    prompt: NDArray[np.int64]
    response: NDArray[np.int64]

    @classmethod
    def empty(cls, size: int) -> Data:
        """Room for ``size`` samples."""
        id, seq, topic, prompt, response = (np.zeros(size, np.int64) for _ in range(5))
        flaw, hard = (np.zeros(size, np.float64) for _ in range(2))
        return cls(id, seq, topic, flaw, hard, prompt, response)

    def put(self, at: int, id: int, seq: int, topic: int, flawed: bool, turns: Sequence[Message]) -> None:
        """One sample; a digest of its content stands in for chance, so that equal rows get equal signals."""
        chance = (id % 1_000_003) / 1_000_003
        self.id[at], self.seq[at], self.topic[at] = id, seq, topic
        self.flaw[at] = 0.3 + 0.7 * chance if flawed else 0.25 * chance * chance
        self.hard[at] = ((id >> 20) % 1_000_003) / 1_000_003
        sizes = [len(t.content) // 4 + 4 for t in turns]
        self.prompt[at], self.response[at] = sum(sizes[:-1]), min(sizes[-1], MAX_LENGTH - sum(sizes[:-1]))

    def joined(self, other: Data, kept: NDArray[np.bool_]) -> Data:
        """Those that are ``kept``, then ``other``'s."""
        names = self.__slots__
        return Data(*(np.concatenate([getattr(self, name)[kept], getattr(other, name)]) for name in names))
