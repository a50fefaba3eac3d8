"""Losses of a batch with transformers: planned, halved where memory is short, computed in parts on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.backends import hf
from engine.chat import batches
from engine.chat.render import render
from engine.errors import ModelError
from tests.engine.stages.test_score import CHATS

pytestmark = pytest.mark.usefixtures("own_models")


def test_batches_are_planned_by_length_and_stay_in_budget() -> None:
    lengths = [3, 9, 9, 1, 30, 4, 4, 0]
    plan = batches.plan(lengths, 18)
    assert plan == [[4], [1, 2], [5, 6], [0], [3], [7]]
    assert batches.plan([], 10) == []
    assert batches.seed("a", 1) == batches.seed("a", 1) != batches.seed("a", 2)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_batch_that_does_not_fit_is_halved_and_no_row_is_lost(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    model = hf.load(tiny_model, device="cpu", threads=1)
    rows = [render(model.tokenizer, chat, 96) for chat in CHATS[:9]]
    expected = model.score(rows)
    real = hf.HF._hidden

    def small_memory(self: hf.HF, ids: torch.Tensor) -> torch.Tensor:
        if ids.numel() > 60:
            raise error
        return real(self, ids)

    monkeypatch.setattr(hf.HF, "_hidden", small_memory)
    found = model.score(rows)
    for row, want, got in zip(rows, expected, found, strict=True):
        if len(row.ids) <= 60:
            assert got.loss == pytest.approx(want.loss, abs=1e-5)
        else:
            assert "does not fit into memory" in str(got.error)


def test_on_a_cpu_a_batch_is_computed_in_parts_that_its_cache_serves(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hf.load(tiny_model, device="cpu", threads=1)
    rows = [render(model.tokenizer, chat, 96) for chat in CHATS[:9]]
    whole = model.score(rows)
    shapes: list[torch.Size] = []
    model.loaded.model.get_input_embeddings().register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape))
    monkeypatch.setattr(hf, "CPU_TOKENS", 120)
    parts = model.score(rows)
    assert len(shapes) > 2
    assert all(count * width <= 120 for count, width in shapes)
    assert [one.loss for one in parts] == pytest.approx([one.loss for one in whole], abs=1e-5)
    for one, other in zip(parts, whole, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-5)


def test_logits_that_cannot_be_reproduced_are_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = hf.load(tiny_model, device="cpu", threads=1)
    monkeypatch.setattr(model.loaded.model.config, "final_logit_softcapping", 1.0, raising=False)
    with pytest.raises(ModelError, match="family 'llama' compute logits in a way"):
        model.score([render(model.tokenizer, CHATS[0], 96)])
