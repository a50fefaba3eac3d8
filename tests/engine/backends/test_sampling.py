"""Drawing the next token: from the right ones, as often as their shares say, by the row's own numbers."""

from __future__ import annotations

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from engine.backends.sampling import NUCLEUS, Sampling, draw, numbers


def shares(logits: torch.Tensor, how: Sampling) -> torch.Tensor:
    """The shares as transformers would draw by."""
    scores = TemperatureLogitsWarper(how.temperature)(None, logits)
    if how.top_k:
        scores = TopKLogitsWarper(how.top_k)(None, scores)
    if how.top_p < 1:
        scores = TopPLogitsWarper(how.top_p)(None, scores)
    return torch.softmax(scores, -1)


@pytest.mark.parametrize(
    "how",
    [Sampling(1.0), Sampling(0.7, 0.9), Sampling(1.5, 0.5), Sampling(1.0, 1.0, 5), Sampling(0.8, 0.6, 7)],
)
@pytest.mark.parametrize("size", [40, 3 * NUCLEUS])
def test_tokens_are_drawn_as_transformers_draws_them(how: Sampling, size: int) -> None:
    logits = torch.randn(1, size, generator=torch.Generator().manual_seed(1)) * 2
    wanted = shares(logits, how)[0]
    count = 4000
    chances = [(i + 0.5) / count for i in range(count)]  # evenly, so that counts are shares
    drawn = torch.tensor(draw(logits.expand(count, -1), how, chances))
    found = torch.bincount(drawn, minlength=size) / count
    assert float((found - wanted).abs().max()) <= 1.01 / count + 1e-6
    assert set(drawn.tolist()) <= set(wanted.nonzero()[:, 0].tolist())


def test_a_nucleus_wider_than_what_is_looked_at_first() -> None:
    logits = torch.zeros(2, 3 * NUCLEUS)
    assert draw(logits, Sampling(1.0, 0.99), [0.0, 0.999999])[1] > NUCLEUS


@pytest.mark.parametrize("chance", [0.0, 1 - 2**-53])
def test_the_ends_of_the_range_are_tokens_too(chance: float) -> None:
    logits = torch.tensor([[-torch.inf, 1.0, 2.0, -torch.inf]])
    for how in (Sampling(1.0), Sampling(1.0, 0.999), Sampling(1.0, 1.0, 3)):
        assert draw(logits, how, [chance])[0] in (1, 2)


def test_greedy_takes_the_likeliest() -> None:
    assert draw(torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]]), Sampling(), ()) == [1, 0]


def test_numbers_follow_from_the_seed() -> None:
    assert torch.equal(numbers(3, 5), numbers(3, 5))
    assert torch.equal(numbers(3, 9)[:5], numbers(3, 5))
    assert not torch.equal(numbers(3, 5), numbers(4, 5))
