"""Which token comes next, for many rows at a time, each with random numbers of its own.

A row's numbers follow from its seed alone, so what a row draws does not depend on who else is computed with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

NUCLEUS = 1024
"""Tokens that are looked at for ``top_p`` first: sorting all of a vocabulary takes a CPU as long as a small model."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw. ``temperature`` 0: the likeliest token. ``top_k`` 0 and ``top_p`` 1: from all of them."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    @property
    def greedy(self) -> bool:
        """Nothing is drawn."""
        return self.temperature <= 0


def numbers(seed: int, count: int) -> torch.Tensor:
    """A row's random numbers, one a token: float64[count], each below 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator, dtype=torch.float64)


def draw(logits: torch.Tensor, how: Sampling, chances: Sequence[float]) -> list[int]:
    """The next token of each row.

    Args:
        logits: [rows, vocabulary].
        chances: a random number per row, below 1; not looked at when nothing is drawn.
    """
    if how.greedy:
        return [int(token) for token in logits.argmax(-1).tolist()]
    scores = logits.float() / how.temperature
    at = torch.tensor(chances, dtype=torch.float64, device=logits.device)[:, None]
    if not how.top_k and how.top_p >= 1.0:
        return _pick(torch.softmax(scores, -1).double().cumsum(-1), at)
    likeliest, tokens = _likeliest(scores, how)
    shares = torch.softmax(likeliest, -1) if how.top_k else torch.exp(likeliest - scores.logsumexp(-1, keepdim=True))
    sums = shares.double().cumsum(-1)
    # A token stays while those before it hold less than top_p; the first one always does.
    kept = torch.where(sums - shares < how.top_p, shares.double(), 0.0)
    places = _pick(kept.cumsum(-1), at)
    return [int(tokens[row, place]) for row, place in enumerate(places)]


def _likeliest(scores: torch.Tensor, how: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and tokens of the likeliest ones, best first: ``top_k``, or enough that ``top_p`` is among them."""
    size = scores.shape[-1]
    if how.top_k:
        return scores.topk(min(how.top_k, size), -1)
    found = scores.topk(min(NUCLEUS, size), -1)
    held = torch.exp(found[0].logsumexp(-1) - scores.logsumexp(-1))
    enough = len(found[0][0]) == size or bool((held >= how.top_p).all())
    return found if enough else scores.sort(dim=-1, descending=True, stable=True)


def _pick(sums: torch.Tensor, at: torch.Tensor) -> list[int]:
    """The place in each row's growing ``sums`` where ``at`` (a share of the whole) falls."""
    whole = sums[:, -1:].contiguous()
    places = torch.searchsorted(sums, at * whole, right=True).squeeze(-1)
    # Rounding may put a number at the very end: the last token that has a share at all is meant.
    last = torch.searchsorted(sums, whole).squeeze(-1)
    return [int(place) for place in torch.minimum(places, last).tolist()]
