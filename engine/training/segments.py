"""Attention over packed samples without flash attention: sample by sample, as if each were alone.

transformers computes a packed row whole and masks what belongs to other samples, which costs the square of the row's
length. Here a batch is one row (as with flash attention), cut at its boundaries, and each sample goes through
transformers' own ``sdpa``: the square of its own length, the same kernel and the same numbers as alone.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "middo_segments"
FULL = {"full_attention", "sliding_attention"}
"""Kinds of layers whose mask is known from what attention is told."""

_last: tuple[Any, list[int]] = (lambda: None, [])  # the boundaries of the newest batch: every layer asks for them


def possible(model: Any) -> bool:
    """Whether the model's attention may be computed sample by sample, as far as its configuration tells."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or FULL)
    return config._attn_implementation == "sdpa" and kinds <= FULL and bool(model._can_set_attn_implementation())


def use(model: Any, name: str) -> None:
    """Have the model compute its attention by ``name``, as transformers calls it."""
    if name == NAME:
        AttentionInterface.register(NAME, attend)
    model.set_attn_implementation(name)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cu_seq_lens_q: torch.Tensor | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' attention functions.

    Args:
        query, key, value: [1, heads, tokens, width]. cu_seq_lens_q: [samples + 1] where samples begin, and the end.
    """
    lengths = [query.shape[2]] if cu_seq_lens_q is None else _lengths(cu_seq_lens_q)
    parts = zip(*(torch.split(one, lengths, dim=2) for one in (query, key, value)), strict=True)
    out = [
        sdpa_attention_forward(module, *part, _window(part[0], sliding_window, attention_mask), **kwargs)[0]
        for part in parts
    ]
    return torch.cat(out, dim=1), None


def _lengths(bounds: torch.Tensor) -> list[int]:
    """Tokens of each sample. Asked of a GPU once per batch, not once per layer."""
    global _last
    if _last[0]() is not bounds:
        _last = weakref.ref(bounds), bounds.diff().tolist()
    return _last[1]


def _window(query: torch.Tensor, window: int | None, mask: torch.Tensor | None) -> torch.Tensor | None:
    """The mask of one sample: None for a plain causal one."""
    tokens = query.shape[2]
    if window is None or tokens <= window:
        return mask
    place = torch.arange(tokens, device=query.device)
    distance = place[:, None] - place[None, :]
    return ((distance >= 0) & (distance < window))[None, None]
