"""Replies to prompts of unlike lengths are those that each prompt gets alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.backends import hf, left_padding
from tests.support import tiny
from tests.support.small_models import model_of

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("family", "which"),
    [
        *((family, "any") for family in ("llama", "gpt2", "bloom", "opt", "mamba")),
        ("recurrent_gemma", "alike"),
        ("rwkv", "none"),
    ],
)
def test_families_that_take_padding_for_text_are_found(family: str, which: str) -> None:
    assert left_padding.together(model_of(family), 0, 512, CPU) == which
    assert left_padding.together(model_of(family).to(torch.bfloat16), 0, 512, CPU) == which


@pytest.mark.parametrize("family", ["mamba", "rwkv", "llama", "recurrent_gemma"])
def test_a_batch_gets_the_replies_that_each_prompt_gets_alone(family: str, tmp_path: Path) -> None:
    tokenizer = tiny.make_tokenizer()
    model_of(family, words=len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = hf.load(tmp_path, device="cpu")
    how = {"max_new_tokens": 8, "temperature": 0.0, "top_p": 1.0, "seed": 0}
    asked = [chat[:1] for chat in tiny.chats(6)]
    together = model.generate(asked, **how)  # type: ignore[arg-type]
    assert together == [model.generate([one], **how)[0] for one in asked]  # type: ignore[arg-type]
    hf.release()
