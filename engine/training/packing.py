"""Packs several samples into one row without letting them attend to each other (train.packing).

With flash attention a whole batch is one row, whose kernel computes each sample by itself; so it is where ``segments``
can do the same with sdpa. Every other kind of attention computes the whole row and masks it afterwards, which costs the
square of its length: there each packed row stays a row. Whether a family keeps to the boundaries is tried before
training, on the model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from engine.backends import lm_head, model_check
from engine.training import segments

IGNORED = -100
LEAST_ERROR = 1e-3
"""By which share logits may differ from those of the sample alone, or by 8 roundings of the number format if that is
more.
"""

Rows = Sequence[Mapping[str, Any]]
Collate = Callable[[Rows], dict[str, Any]]


def collator(pad: int, flat: bool) -> Collate:
    """Makes a batch of rows with ``input_ids``, ``labels`` and ``seq_lengths``.

    Args:
        pad: the token that fills up shorter rows.
        flat: attention is told the samples' lengths (``flash``), so that the whole batch can be one row.
    """
    if flat:
        made: Collate = DataCollatorForLanguageModeling(pad_token_id=pad, padding_free=True)
        return made
    return lambda rows: side_by_side(rows, pad)


def flash(attention: str) -> bool:
    """Whether this kind of attention is told the samples' lengths and computes each by itself.

    Args:
        attention: as a model's configuration names it.
    """
    return attention.startswith("flash")


def side_by_side(rows: Rows, pad: int) -> dict[str, torch.Tensor]:
    """``input_ids``, ``labels`` and ``position_ids``, int64[rows, longest].

    Positions begin anew with every sample, from which transformers reads the boundaries; only where there is no
    attention mask, which is why padding is a row of samples of one token.
    """
    width = max(len(row["input_ids"]) for row in rows)
    ids, labels, places = [], [], []
    for row in rows:
        rest = width - len(row["input_ids"])
        starts = [place for length in row["seq_lengths"] for place in range(length)]
        learned = [i if place else IGNORED for i, place in zip(row["labels"], starts, strict=True)]
        ids.append([*row["input_ids"], *[pad] * rest])
        labels.append([*learned, *[IGNORED] * rest])
        places.append([*starts, *[0] * rest])
    return {
        "input_ids": torch.tensor(ids),
        "labels": torch.tensor(labels),
        "position_ids": torch.tensor(places),
    }


def collate_apart(model: Any, pad: int, dtype: torch.dtype, tried: bool) -> Collate:
    """How batches are made for this model, so that its packed samples do not attend to each other.

    Args:
        dtype: what training computes in. tried: the model can be tried here; False: it lies in parts.

    Raises:
        ModelError: they would; names the family.
    """
    flat = flash(model.config.get_text_config()._attn_implementation)
    if tried and not flat and segments.possible(model):
        expected = _alone(model, dtype)
        segments.use(model, segments.NAME)
        if _apart(model, collator(pad, flat=True), dtype, expected):
            return collator(pad, flat=True)
        segments.use(model, "sdpa")
    collate = collator(pad, flat)
    if tried:
        require_apart(model, collate, dtype)
    return collate


def require_apart(model: Any, collate: Collate, dtype: torch.dtype) -> None:
    """Reject a model in which packed samples attend to each other.

    Args:
        collate: as training does it. dtype: what training computes in.

    Raises:
        ModelError: names the family.
    """
    model_check.require_told_apart(model)
    if not _apart(model, collate, dtype, _alone(model, dtype)):
        raise model_check.packed_rows_seen(model)


def _samples(model: Any) -> tuple[list[int], list[int]]:
    """Token ids of two samples."""
    size = lm_head.words(model)
    first, second = ([(7 * i * i + 3 * i) % size for i in range(start, start + 30)] for start in (1, 200))
    return first, second


@contextmanager
def _trying(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """No gradients, no dropout, the numbers of training."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
            yield
    finally:
        model.train(training)


def _alone(model: Any, dtype: torch.dtype) -> torch.Tensor:
    """The second sample's logits, float32[tokens, words], when it is alone."""
    with _trying(model, dtype):
        logits = model(input_ids=torch.tensor([_samples(model)[1]], device=model.device), use_cache=False).logits
    found: torch.Tensor = logits[0].float()
    return found


def _apart(model: Any, collate: Collate, dtype: torch.dtype, expected: torch.Tensor) -> bool:
    """Whether the second sample's logits behind the first are as ``expected``."""
    first, second = _samples(model)
    row = {"input_ids": first + second, "labels": first + second, "seq_lengths": [len(first), len(second)]}
    inputs = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for name, value in collate([row]).items()
        if name != "labels"
    }
    try:
        with _trying(model, dtype):
            found = model(**inputs, use_cache=False).logits[0, len(first) :].float()
    except TypeError:  # without position ids a forward pass cannot know the boundaries
        return False
    most = max(LEAST_ERROR, 8 * torch.finfo(dtype).eps)
    return bool((found - expected).norm() <= most * expected.norm())
