"""An embedding is of what a prompt says: not of its template or length, nor of a system prompt that all share."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from engine.chat.render import Rendered, render
from engine.config.schema import Config
from engine.models.locate import ModelRef
from engine.signals import last_exchange, losses, round_models
from engine.signals.nearest import neighbours
from engine.store.rows import Message
from tests.support import tiny
from tests.support.chat_templates import tokenizer_of

SYSTEM = "You are a helpful assistant. " + " ".join(tiny.WORDS[i % len(tiny.WORDS)] for i in range(36))


def make_model(folder: Path, family: str) -> Path:
    """A random model of the family's architecture, with its chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    tokenizer = tokenizer_of(family)
    config, kind = (LlamaConfig, LlamaForCausalLM) if family.startswith("llama") else (Qwen2Config, Qwen2ForCausalLM)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = kind(
            config(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=1024,
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prompts() -> list[str]:
    draw = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choice(letters) for _ in range(draw.randint(2, 7))) for _ in range(400)]
    return [" ".join(draw.choice(words) for _ in range(draw.randint(4, 60))) for _ in range(250)]


def correlation(config: Config, chats: list[tuple[Message, ...]], lengths: list[int]) -> float:
    """Of a prompt's mean similarity to its two nearest, as the score stage embeds it, with its length."""
    model = round_models.open_model(config.model, ModelRef(Path(config.model.name)))
    rows = list(losses.rendered(model, chats, config.model.max_length))
    embedded = losses.embedded_rows(config, model, chats, rows)
    found = losses.score_batch(model, rows, None if embedded is None else list(embedded))
    vectors = np.stack([one.embedding for one in found if one.embedding is not None]).astype(np.float32)
    similarity, _ = neighbours(vectors, 2)
    return float(spearmanr(similarity.mean(1), lengths).statistic)


@pytest.mark.parametrize("family", ["llama3_2", "qwen2_5", "qwen3"])
def test_similarity_depends_on_length_no_more_than_the_bare_texts_does(tmp_path: Path, family: str) -> None:
    model = make_model(tmp_path / "m", family)
    plain = [tiny.chat(text, "ok") for text in prompts()]
    lengths = [len(chat[0].content) for chat in plain]

    def of(embed: str, chats: list[tuple[Message, ...]]) -> float:
        how = tiny.make_config(model, f'[model]\nmax_length = 1000\n[score]\nembed = "{embed}"\n')
        return correlation(how, chats, lengths)

    expected = of("bare_prompt", plain)
    told = [(Message("system", SYSTEM), *chat) for chat in plain]
    assert [abs(of("prompt", chats) - expected) < 0.1 for chats in (plain, told)] == [True, True]


def pooled(tokenizer: Any, row: Rendered) -> str:
    return str(tokenizer.decode([i for i, on in zip(row.ids, row.own, strict=False) if on]))


def test_a_prompts_embedding_is_of_what_was_said_before_the_last_answer() -> None:
    chat = (Message("system", "be brief"), *tiny.chat("sort red", "red", "again: blue", "blue"))
    assert last_exchange.context_words(chat) == "sort red\n\nred\n\nagain: blue"


def test_in_the_template_it_is_what_the_turns_before_the_last_answer_say() -> None:
    tokenizer = tiny.make_tokenizer()
    chat = (Message("system", "be brief"), *tiny.chat("sort red", "red", "again: blue", "blue"))
    row = render(tokenizer, chat, 200)
    assert pooled(tokenizer, row) == "sort redredagain: blue"
    assert len(row.own) == row.prompt_end


def test_a_prompt_that_says_nothing_is_pooled_whole() -> None:
    tokenizer = tiny.make_tokenizer()
    assert render(tokenizer, tiny.chat("", "ok"), 200).own == []
