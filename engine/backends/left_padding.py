"""Prompts of unlike lengths in one batch of replies: they are padded at the left, which not every family is told of.

Recurrent layers without a mask take the padding for text, and give another reply in silence. It is tried once on a few
tokens; those families get prompts of one length at a time, or (RWKV, whose states get mixed up) one prompt at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from engine.backends import lm_head

SHORT, LONG, STEPS = 4, 60, 3
"""Tokens of the two prompts, and of the replies."""
MOST_ERROR = {torch.float32: 1e-2}
"""By which share the next tokens' logits may differ in a batch: rounding stays below, padding that is read as text
does not.
"""
IN_16_BITS = 0.1

Together = Literal["any", "alike", "none"]
"""Which prompts can be answered in one batch: of any lengths, of the same length, or none with another."""
Steps = list[tuple[torch.Tensor, int]]


def left(rows: Sequence[list[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, int64[rows, longest], padded at the left."""
    width = max(map(len, rows))
    ids = [[pad] * (width - len(row)) + row for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def together(model: Any, pad: int, positions: int, device: torch.device) -> Together:
    """Which prompts this model answers in a batch as it answers each alone.

    Args:
        positions: how many tokens it sees at most.
    """
    size = lm_head.words(model)
    long = min(LONG, positions - STEPS)
    short, other, longer = ([(7 * i * i + 3 * i) % size for i in range(9, 9 + n)] for n in (SHORT, SHORT, long))
    other = other[::-1]
    alone = _first_logits(model, [short], pad, device)
    if _same(alone, _first_logits(model, [short, longer], pad, device), model.dtype):
        return "any"
    return "alike" if _same(alone, _first_logits(model, [short, other], pad, device), model.dtype) else "none"


def _same(alone: Steps, batched: Steps, dtype: torch.dtype) -> bool:
    most = MOST_ERROR.get(dtype, IN_16_BITS)
    for (logits, token), (found, same) in zip(alone, batched, strict=True):
        if not (logits - found).norm() <= most * logits.norm():
            return False
        if token != same:  # a near tie; what comes behind it cannot be compared
            break
    return True


def _first_logits(model: Any, rows: Sequence[list[int]], pad: int, device: torch.device) -> Steps:
    """The logits of the first row's next tokens, float32[words], with the token taken."""
    from transformers import GenerationConfig

    ids, mask = left(rows, pad, device)
    how = GenerationConfig(
        max_new_tokens=STEPS, do_sample=False, pad_token_id=pad, output_logits=True, return_dict_in_generate=True
    )
    out = model.generate(input_ids=ids, attention_mask=mask, generation_config=how)
    tokens = out.sequences[0, ids.shape[1] :].tolist()
    return [(logits[0].float(), token) for logits, token in zip(out.logits, tokens, strict=True)]
