"""Trained rows of the embedding and the head: PEFT's numbers without its copies."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode

from engine.backends import trained_rows
from tests.support.small_models import model_of

IDS = torch.tensor([[5, 9, 7, 9, 2]])
ROWS = [2, 9]


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor held that was made meanwhile, beside the weights of ``model``."""

    def __init__(self, model: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.numbers = 0
        self._there = {value.data_ptr() for value in model.parameters()}

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = call(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.data_ptr() not in self._there:
            self.numbers = max(self.numbers, made.numel())
        return made


def adapted(tied: bool, family: str = "llama") -> Any:
    """A small model whose rows 2 and 9 are trained, and have moved."""
    model = model_of(family, "sdpa")
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight
        model.config.tie_word_embeddings = True
    named = {"embed_tokens": ROWS} if tied else {"embed_tokens": ROWS, "lm_head": ROWS}
    made = get_peft_model(model, LoraConfig(target_modules=["q_proj"], trainable_token_indices=named))
    with torch.no_grad():
        for name, value in made.named_parameters():
            if "delta" in name:
                value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    return made


def gradients(model: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The logits as training's loss computes them, from the head's weight, and what they give the rows."""
    rows = [value for name, value in model.named_parameters() if "delta" in name]
    hidden = model.get_base_model().model(input_ids=IDS, use_cache=False).last_hidden_state
    logits = hidden @ model.get_output_embeddings().weight.T
    return logits.detach(), list(torch.autograd.grad(logits.square().mean(), rows))


@pytest.mark.parametrize("tied", [True, False])
def test_training_gets_pefts_numbers(tied: bool) -> None:
    model = adapted(tied)
    expected, theirs = gradients(model)
    trained_rows.without_copies(model, training=True)
    found, ours = gradients(model)
    assert torch.equal(found, expected)
    assert len(ours) == (1 if tied else 2)
    for one, other in zip(ours, theirs, strict=True):
        assert one.norm() > 0
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


def test_gemmas_scale_of_the_embedding_is_kept() -> None:
    model = adapted(tied=True, family="gemma2")
    expected, theirs = gradients(model)
    trained_rows.without_copies(model, training=True)
    found, ours = gradients(model)
    assert torch.equal(found, expected)
    assert torch.allclose(ours[0], theirs[0], rtol=1e-5, atol=1e-7)


def test_training_makes_nothing_as_large_as_the_embedding() -> None:
    model = adapted(tied=False)
    trained_rows.without_copies(model, training=True)
    words = model.get_input_embeddings().original_module.weight.numel()
    with Largest(model) as largest:
        model.get_input_embeddings()(IDS).sum().backward()
        weight = model.get_output_embeddings().weight
    assert largest.numbers < words
    assert weight.data_ptr() == model.get_output_embeddings().original_module.weight.data_ptr()


@pytest.mark.parametrize("tied", [True, False])
def test_scoring_makes_none_either_and_leaves_the_base_as_it_is(tied: bool) -> None:
    model = adapted(tied).eval()
    with torch.inference_mode():
        expected = model(input_ids=IDS, use_cache=False).logits
        with model.disable_adapter():
            base = model(input_ids=IDS, use_cache=False).logits
        trained_rows.without_copies(model, training=False)
        before = copy.deepcopy(model.get_base_model().state_dict())
        with Largest(model) as largest:
            found = model(input_ids=IDS, use_cache=False).logits
        assert torch.allclose(found, expected, atol=1e-5)
        with model.disable_adapter():
            assert torch.equal(model(input_ids=IDS, use_cache=False).logits, base)
    assert largest.numbers < model.get_input_embeddings().original_module.weight.numel()
    after = model.get_base_model().state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
