"""From hidden states to logits, for some positions at a time: what each family does to its logits is done here too.

It is compared once with the model's own forward, so that no family gets wrong numbers in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from engine.errors import ModelError

CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Gemma, RecurrentGemma, xLSTM."""
FACTORS = ("logit_scale", "output_multiplier", "lm_head_multiplier")
"""Cohere, Muse Glimmer, Falcon-H1."""
MULTIPLIES = "hyperclovax"
"""Other families divide by what it calls ``logits_scaling`` as well."""
LEAST_ERROR = 1e-3
"""By which share logits may differ from the model's own, or by 2 roundings of its number format if that is more."""
PROBED = 16


@dataclass(frozen=True, slots=True)
class Head:
    """logits = cap · tanh(scale · W h / cap), or without the cap."""

    scale: float
    cap: float | None

    def logits(self, model: Any, hidden: torch.Tensor) -> torch.Tensor:
        """Logits in float32, [..., words], of last hidden states."""
        logits: torch.Tensor = model.get_output_embeddings()(hidden).float()
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


def read(model: Any, path: Path) -> Head:
    """The head of ``model``, after comparing it with the model's own forward.

    Raises:
        ModelError: this family does something else to its logits.
    """
    config = model.config.get_text_config()
    head = Head(_scale(config), cap(config))
    ids = probe(model)
    inner = getattr(model, model.base_model_prefix)
    with torch.no_grad():
        ours = head.logits(model, inner(input_ids=ids, use_cache=False).last_hidden_state[0])
        theirs = model(input_ids=ids, use_cache=False).logits[0].float()
    _require_numbers(theirs, path)
    most = max(LEAST_ERROR, 2 * torch.finfo(model.dtype).eps)
    if not (ours - theirs).norm() <= most * theirs.norm():
        raise ModelError(
            f"{path}: models of the family {model.config.model_type!r} compute logits in a way that scoring does not"
            " support. Use another model, or report this."
        )
    return head


def _require_numbers(logits: torch.Tensor, path: Path) -> None:
    if not logits.isfinite().all():
        raise ModelError(
            f"{path}: the model's logits are NaN or infinite. Its weights are damaged, or overflow this dtype:"
            ' download them again, or set [model] dtype = "float32".'
        )


def cap(config: Any) -> float | None:
    """What a family's logits cannot exceed, or None."""
    found = next((value for name in CAPS if (value := getattr(config, name, None)) is not None), None)
    return None if found is None else float(found)


def _scale(config: Any) -> float:
    """What a family multiplies its logits by."""
    for name in FACTORS:
        if (scale := getattr(config, name, None)) is not None:
            return float(scale)
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0
    return float(scaling) if config.model_type == MULTIPLIES else 1.0 / float(scaling)


def words(model: Any) -> int:
    """How many rows the embedding has; PEFT wraps one whose rows are trained (``engine.models.untrained_tokens``)."""
    embedding = model.get_input_embeddings()
    return int(getattr(embedding, "original_module", embedding).num_embeddings)


def probe(model: Any) -> torch.Tensor:
    """A few token ids, int64[1, tokens], on the model's device."""
    size = words(model)
    return torch.tensor([[(7 * i * i + 3 * i) % size for i in range(1, 1 + PROBED)]], device=model.device)


def require_fused(model: Any, path: Path, dtype: torch.dtype) -> None:
    """Refuse to train a model whose loss TRL computes in another way than the model itself.

    TRL's trainer has put a head of its own into ``model``, which knows what some families do to their logits.

    Args:
        dtype: what training computes in.

    Raises:
        ModelError: names the family.
    """
    ids, training = probe(model), model.training
    model.eval()
    with torch.no_grad(), torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
        fused = model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs.float()
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
    model.train(training)
    _require_numbers(logits, path)
    own = -functional.cross_entropy(logits, ids[0, 1:], reduction="none")
    most = max(LEAST_ERROR, 4 * torch.finfo(dtype).eps)
    if not (fused[0] - own).norm() <= most * own.norm():
        raise ModelError(
            f"{path}: models of the family {model.config.model_type!r} compute logits in a way that training does not"
            " support. Use another model, or report this."
        )
