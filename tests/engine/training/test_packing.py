"""Packed samples: none sees another, and no forward gets more of them in one row than fit into it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.errors import ModelError
from engine.training import packing
from tests.support.small_models import model_of

ROWS: list[dict[str, Any]] = [
    {"input_ids": [5, 6, 7, 8, 9], "labels": [5, -100, 7, 8, 9], "seq_lengths": [3, 2]},
    {"input_ids": [10, 11, 12], "labels": [10, 11, 12], "seq_lengths": [3]},
]
FLOAT = torch.float32


def test_each_packed_row_stays_a_row_without_flash_attention() -> None:
    batch = packing.collator(0, flat=packing.flash("sdpa"))(ROWS)
    assert batch.keys() == {"input_ids", "labels", "position_ids"}, "a mask would hide the boundaries"
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [10, 11, 12, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 7, -100, 9], [-100, 11, 12, -100, -100]]


def test_flash_attention_gets_the_whole_batch_as_one_row_with_its_lengths() -> None:
    batch = packing.collator(0, flat=packing.flash("flash_attention_2"))(ROWS)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 10, 11, 12]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 5, 8]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral", "qwen2_moe"])
def test_a_packed_sample_gets_what_it_gets_alone(family: str, attention: str) -> None:
    model = model_of(family, attention)
    batch = packing.side_by_side(ROWS, 0)
    labels = batch.pop("labels")
    with torch.no_grad():
        packed = model(**batch, use_cache=False).logits
        for row, begin, ids in ((0, 0, [5, 6, 7]), (0, 3, [8, 9]), (1, 0, [10, 11, 12])):
            alone = model(input_ids=torch.tensor([ids])).logits[0]
            assert torch.allclose(packed[row, begin : begin + len(ids)], alone, atol=1e-4)
    assert labels.shape == batch["input_ids"].shape
    packing.require_apart(model, packing.collator(0, flat=False), FLOAT)


@pytest.mark.parametrize("family", ["bloom", "mpt", "mamba", "rwkv", "opt"])
def test_families_that_know_no_boundaries_are_refused(family: str) -> None:
    model = model_of(family).train()
    with pytest.raises(ModelError, match=rf"family '{family}' would let packed samples .* packing = false"):
        packing.require_apart(model, packing.collator(0, flat=packing.flash("sdpa")), FLOAT)
    assert model.training, "it is left as it was"
