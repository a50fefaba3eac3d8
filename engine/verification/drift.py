"""Is a rewrite that replaces a sample still an answer to what the sample asked? Told by the base model.

A rewrite may share its original's words and ask for something else: "Generate a short story" becomes "Name three
characters that could appear in a short story". Its own signals are then excellent. But the new answer is no likelier
after the original's prompt than after a random one: its IFD (``engine.signals.lenses``) under that prompt is as high as
that of random answers under random prompts of the dataset.

It is asked only where the original's prompt explains the original's own answer: a prompt too vague to be answered
explains nothing. About half of the rewrites that drifted are found so (docs/benchmarks/drift.md), and 2 % of the demo's
rewrites are doubted.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest

import numpy as np

from engine.signals import losses
from engine.signals.last_exchange import Chat
from engine.signals.round_models import base_model
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.rows import Lenses, Message, Sample
from engine.verification.candidates import Candidate
from engine.verification.verdicts import Explained

PAIRS = 256
"""Random prompts with random answers from which the bound is learned."""
LEAST = 20
"""With fewer of them there is none."""


class Drift:
    """What random prompts of the dataset explain, and what the originals' prompts explain of rewrites."""

    def __init__(self, ctx: Ctx, data: Dataset) -> None:
        self._config, self._base = ctx.config, base_model(ctx)
        self._ifd = {row.sample_id: row.ifd for row in ctx.rows(Lenses)}
        self._pairs = drawn_pairs(data)
        self._bound: float | None = None

    @property
    def bound(self) -> float:
        """The IFD that a share ``verify.on_topic`` of random answers exceeds under random prompts; NaN: unknown."""
        if self._bound is None:
            share = self._config.verify.on_topic
            enough = share and len(self._pairs) >= LEAST
            self._bound = bound_of(losses.ifds(self._config, self._base, self._pairs) if enough else [], share)
        return self._bound

    def explained(self, chunk: Sequence[Candidate]) -> list[Explained | None]:
        """How the original's prompt explains each new answer; None for what is added or has the original's prompt, and
        where nothing can be told.
        """
        out: list[Explained | None] = [None] * len(chunk)
        asked = [
            i for i, one in enumerate(chunk) if one.row.axis != "diversity" and one.new.prompt != one.sample.prompt
        ]
        asked = [i for i in asked if (ifd := self._ifd.get(chunk[i].sample.id)) is not None and ifd < self.bound]
        chats = [crossed(chunk[i].sample, chunk[i].new.response) for i in asked]
        for i, ifd in zip(asked, losses.ifds(self._config, self._base, chats), strict=True):
            out[i] = None if ifd is None else Explained(ifd, self.bound)
        return out


def bound_of(found: Sequence[float | None], share: float) -> float:
    """The IFD that a ``share`` of random answers under random prompts exceeds; NaN for too few."""
    known = [value for value in found if value is not None]
    return float(np.quantile(known, 1 - share)) if len(known) >= LEAST else float("nan")


def drawn_pairs(data: Dataset) -> list[Chat]:
    """Prompts of random samples with the answers of others."""
    return crossed_pairs(data.take(nsmallest(2 * PAIRS, data.ids)))  # ids are hashes: the smallest are random ones


def crossed_pairs(drawn: Sequence[Sample]) -> list[Chat]:
    """The prompts of the first half with the answers of the second."""
    half = len(drawn) // 2
    return [crossed(a, b.response) for a, b in zip(drawn[:half], drawn[half:], strict=False)]


def crossed(asks: Sample, answer: str) -> Chat:
    """What is said up to the last answer of ``asks``, then another answer."""
    last = max(i for i, m in enumerate(asks.messages) if m.role == "assistant")
    return (*asks.messages[:last], Message("assistant", answer))
