"""What families do to their logits is done to ours too, or the model is refused: every time it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from engine.backends import hf, lm_head
from engine.chat.render import render
from engine.errors import ModelError
from tests.support import tiny
from tests.support.small_models import model_of

CAPPED = ("gemma2", "recurrent_gemma")


@pytest.mark.parametrize("family", ["llama", "gemma2", "recurrent_gemma", "hyperclovax", "granite", "opt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_the_models_own(family: str, dtype: torch.dtype) -> None:
    model = model_of(family).to(dtype)
    head = lm_head.read(model, Path("there"))
    ids = torch.tensor([[5, 9, 40, 77, 200]])
    with torch.no_grad():
        inner = getattr(model, model.base_model_prefix)
        ours = head.logits(model, inner(input_ids=ids, use_cache=False).last_hidden_state)
        theirs = model(input_ids=ids, use_cache=False).logits.float()
    assert torch.allclose(ours, theirs, atol=1e-5 if dtype == torch.float32 else 0.2)
    assert (head.cap is not None) == (family in CAPPED)


@pytest.mark.parametrize(
    ("family", "dtype"), [(CAPPED[0], torch.float32), (CAPPED[0], torch.bfloat16), (CAPPED[1], torch.float32)]
)
def test_a_cap_that_nobody_knows_is_found(family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_head, "CAPS", ())
    with pytest.raises(ModelError, match=f"there: models of the family '{family}' compute logits in a way"):
        lm_head.read(model_of(family).to(dtype), Path("there"))


def test_a_refused_model_stays_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny.make_tokenizer()
    model_of("hyperclovax", words=len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = hf.load(tmp_path, device="cpu")
    rows = [render(tokenizer, tiny.chat("sort red", "red"), 96)]
    loss = model.score(rows)[0].loss
    hf.release()
    monkeypatch.setattr(lm_head, "MULTIPLIES", "")
    model = hf.load(tmp_path, device="cpu")
    for _ in range(2):
        with pytest.raises(ModelError, match="family 'hyperclovax' compute logits in a way"):
            model.score(rows)
    hf.release()
    monkeypatch.undo()
    plain = model_of("hyperclovax", words=len(tokenizer))
    ids = torch.tensor(rows[0].ids)
    each = functional.cross_entropy(plain(ids[None]).logits[0, :-1], ids[1:], reduction="none")
    assert loss == pytest.approx(float(each[torch.tensor(rows[0].mask[1:])].mean()), abs=1e-5)
