"""PEFT's layer for trained rows of the embedding and the head, without its copies of the whole weights.

To put a few trained rows in, PEFT copies the weight in every forward, also where somebody asks for the weight's device
only, and its embedding's gradient is as large as the weight: for a Llama of 8 billion parameters each of them is a
gigabyte. Here the rows' vectors take the places of the embedding's, and of the head's logits where nothing is learned;
in training, whose loss is computed from the head's weight, the trained rows lie in that weight itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import functional


def without_copies(model: Any, training: bool) -> None:
    """Have the layers of trained rows in ``model`` compute so; others are left alone.

    Args:
        training: the adapter stays active as long as the model lives, so that its rows may lie in the base's weights.
    """
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    for layer in [one for one in model.modules() if isinstance(one, TrainableTokensLayer)]:
        if isinstance(layer.base_layer, torch.nn.Embedding):
            layer.forward_adapters = partial(_embed, layer, layer.forward_adapters)
        elif isinstance(layer.base_layer, torch.nn.Linear) and not training:
            layer.forward_adapters = partial(_predict, layer, layer.forward_adapters)
        if training:
            layer.get_merged_weights = partial(_in_place, layer)


def _rows(layer: Any, active: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Ids of trained rows, int64[rows], and their vectors [rows, width], of the one active adapter."""
    if layer.disable_adapters or layer.merged or len(active) != 1:
        return None
    weight = layer.base_layer.weight
    ids = torch.tensor(layer.token_indices[active[0]], device=weight.device)
    return ids, layer.trainable_tokens_delta[active[0]].to(weight)


def _embed(layer: Any, original: Any, ids: torch.Tensor, active: Sequence[str], *more: Any, **named: Any) -> Any:
    """The embedding's vectors, [..., tokens, width], and the trained rows' where one of them is meant."""
    found = _rows(layer, active)
    if found is None:
        return original(ids, active, *more, **named)
    rows, vectors = found
    with torch.no_grad():  # the base is not trained
        plain = layer.base_layer(ids)
    meant = ids[..., None] == rows  # [..., tokens, rows]
    own = functional.embedding(meant.int().argmax(-1), vectors)
    if (scale := layer._get_embed_scale()) is not None:
        own = own * scale.to(own.dtype)
    return torch.where(meant.any(-1)[..., None], own, plain)


def _predict(layer: Any, original: Any, hidden: torch.Tensor, active: Sequence[str], *more: Any, **named: Any) -> Any:
    """The head's logits, [..., words], with those of the trained rows."""
    found = _rows(layer, active)
    if found is None:
        return original(hidden, active, *more, **named)
    rows, vectors = found
    logits = functional.linear(hidden, layer.base_layer.weight)
    return logits.index_copy_(-1, rows, functional.linear(hidden, vectors))


class _InPlace(torch.autograd.Function):
    """The weight itself, with the trained rows written into it; its gradient is theirs."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, rows: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(rows)
        weight.data[rows] = vectors
        return weight.detach()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, None, torch.Tensor]:
        return None, None, grad[ctx.saved_tensors[0]]


def _in_place(layer: Any, active: Sequence[str]) -> torch.Tensor:
    """In place of PEFT's ``get_merged_weights``."""
    found = _rows(layer, active)
    weight: torch.Tensor = layer.base_layer.weight
    if found is None:
        return weight
    merged: torch.Tensor = _InPlace.apply(weight, *found)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return merged
