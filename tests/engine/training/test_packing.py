"""Packed samples: none sees another, and no forward gets more of them in one row than fit into it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.errors import ModelError
from engine.training import packing, segments
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


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2_moe", "gemma2"])
def test_without_flash_attention_a_batch_is_one_row_computed_sample_by_sample(family: str) -> None:
    """The same numbers as alone, in training too, without a mask of the whole row."""
    model = model_of(family, "sdpa").train()
    parameter = model.get_output_embeddings().weight
    weights = torch.rand(3, parameter.shape[0], generator=torch.Generator().manual_seed(0))

    def gradient(logits: list[torch.Tensor]) -> torch.Tensor:
        model.zero_grad()
        torch.stack([(one[-1] * weight).sum() for one, weight in zip(logits, weights, strict=True)]).sum().backward()
        found: torch.Tensor = parameter.grad
        return found.clone()

    parts = [[5, 6, 7], [8, 9], [10, 11, 12]]
    alone = gradient([model(input_ids=torch.tensor([ids]), use_cache=False).logits[0] for ids in parts])
    collate = packing.collate_apart(model, 0, FLOAT, tried=True)
    assert model.config._attn_implementation == segments.NAME
    assert model.training
    batch = collate(ROWS)
    assert batch["input_ids"].shape == (1, 8)
    labels = batch.pop("labels")
    logits = model(**batch, use_cache=False).logits[0]
    packed = gradient([logits[:3], logits[3:5], logits[5:]])
    assert torch.allclose(packed, alone, atol=1e-5)
    assert labels[0].tolist() == [-100, -100, 7, -100, 9, -100, 11, 12]
    assert "segments" not in model.config.to_json_string(), "a saved model knows nothing of it"


def test_a_window_holds_within_a_sample() -> None:
    model = model_of("mistral", "sdpa").eval()
    model.config.sliding_window = window = 4
    for layer in model.model.layers:
        layer.self_attn.sliding_window = window
    ids = torch.arange(5, 19)[None]
    with torch.no_grad():
        alone = model(input_ids=ids, use_cache=False).logits[0]
        collate = packing.collate_apart(model, 0, FLOAT, tried=True)
        row = {"input_ids": [1, 2, *ids[0].tolist()], "labels": [0] * 16, "seq_lengths": [2, 14]}
        batch = {name: value for name, value in collate([row]).items() if name != "labels"}
        assert torch.allclose(model(**batch, use_cache=False).logits[0, 2:], alone, atol=1e-5)
        assert segments._window(torch.zeros(1, 1, 14, 2), window, None) is not None


@pytest.mark.parametrize(("family", "attention"), [("llama", "eager"), ("gpt2", "eager")])
def test_what_cannot_be_cut_stays_row_by_row(family: str, attention: str) -> None:
    model = model_of(family, attention)
    assert packing.collate_apart(model, 0, FLOAT, tried=True)(ROWS)["input_ids"].shape == (2, 5)
    assert model.config._attn_implementation == attention


def test_a_model_in_parts_is_not_tried() -> None:
    model = model_of("llama", "sdpa")
    assert packing.collate_apart(model, 0, FLOAT, tried=False)(ROWS)["input_ids"].shape == (2, 5)


def test_a_family_that_knows_no_boundaries_in_a_mask_is_packed_where_samples_are_cut() -> None:
    """Refused with its other kind of attention; its numbers are compared before it is accepted."""
    assert packing.collate_apart(model_of("opt", "sdpa"), 0, FLOAT, tried=True)(ROWS)["input_ids"].shape == (1, 8)
