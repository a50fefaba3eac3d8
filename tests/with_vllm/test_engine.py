"""vLLM's offline engine with the demo's base model, alone and under a LoRA adapter, against transformers on the same.

One engine for all tests: a start takes longer than everything that is asked of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.backends import Call, hf
from engine.backends.vllm import Engine, load
from engine.chat import prompts
from engine.chat.render import render_prompt
from engine.config.schema import VLLM
from engine.demo import seed
from engine.signals import ratings
from engine.store.rows import SUBJECTS, Message
from tests.with_vllm.conftest import DEMO, SETTINGS

BASE = DEMO / "base"
CHATS = [(Message("user", row.prompt), Message("assistant", row.output)) for row in seed.seed_rows(24, 5)]
GREEDY: Any = {"max_new_tokens": 24, "temperature": 0.0, "top_p": 1.0, "seed": 0}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes what the base says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter") / "final"
    torch.manual_seed(3)
    how = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(BASE), how).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tuned(adapter: Path) -> Iterator[Engine]:
    """The base under the adapter, in vLLM."""
    engine = load(BASE, adapter, settings=VLLM(**SETTINGS))
    yield engine
    engine.close()
    hf.release()


@pytest.fixture(scope="module")
def base(tuned: Engine) -> Engine:
    """The base alone, in the same engine."""
    return Engine(BASE, None, tuned._running, tuned.tokenizer, tuned._stops)


def six(engine: Engine | hf.HF) -> list[list[int]]:
    """The six rating requests of every chat."""
    templates = {subject: prompts.load(f"judge_{subject}", DEMO) for subject in SUBJECTS}
    return [ids for chat in CHATS for ids in ratings.judge_prompts(templates, engine, chat)]


@pytest.mark.parametrize("which", ["base", "tuned"])
def test_ratings_and_digit_mass_are_those_of_transformers(
    which: str, adapter: Path, request: pytest.FixtureRequest
) -> None:
    engine: Engine = request.getfixturevalue(which)
    other = hf.load(BASE, adapter if which == "tuned" else None, device="cpu", threads=1)
    ours, theirs = engine.rate(six(engine)), other.rate(six(other))
    assert [r.error for r in ours] == [None] * 6 * len(CHATS)
    assert [r.value for r in ours] == pytest.approx([r.value for r in theirs], abs=0.05)
    assert [r.digit_mass for r in ours] == pytest.approx([r.digit_mass for r in theirs], abs=0.01)
    assert len({round(r.value or 0, 2) for r in ours}) > 10, "different samples must get different ratings"


def test_the_adapter_counts(base: Engine, tuned: Engine) -> None:
    ours, theirs = base.rate(six(base)), tuned.rate(six(tuned))
    assert max(abs((a.value or 0) - (b.value or 0)) for a, b in zip(ours, theirs, strict=True)) > 0.1


@pytest.mark.parametrize("which", ["base", "tuned"])
def test_greedy_replies_are_those_of_transformers(which: str, adapter: Path, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(which)
    other = hf.load(BASE, adapter if which == "tuned" else None, device="cpu", threads=1)
    asked = [chat[:1] for chat in CHATS]
    ours, theirs = engine.generate(asked, **GREEDY), other.generate(asked, **GREEDY)
    assert [(g.text, g.finish_reason, g.tokens_in, g.tokens_out) for g in ours] == [
        (g.text, g.finish_reason, len(render_prompt(other.tokenizer, chat, 999)), g.tokens_out)
        for g, chat in zip(theirs, asked, strict=True)
    ]


def test_what_a_sample_begins_with_is_computed_once(base: Engine) -> None:
    base.prompt_tokens = base.cached_tokens = 0
    long = [Message("user", "sort these words: " + " ".join(f"w{i}" for i in range(60)) + end) for end in ("a", "b")]
    first, second = (render_prompt(base.tokenizer, [message], 2000) for message in long)
    base.rate([first, second])
    assert base.prompt_tokens == len(first) + len(second)
    alike = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert base.cached_tokens == alike - alike % 32, "whole blocks of the second prompt come from the first"
    assert f"{base.prompt_tokens:,} prompt tokens" in base.summary()


def test_draws_depend_on_the_seed_alone(base: Engine) -> None:
    asked = [chat[:1] for chat in CHATS[:6]]
    how: Any = {"max_new_tokens": 12, "temperature": 2.0, "top_p": 1.0}
    together = base.generate(asked, seed=11, **how)
    assert base.generate(asked[:2], seed=11, **how) == together[:2]
    assert base.generate(asked, seed=12, **how) != together


def test_a_request_that_cannot_be_made_is_a_result_with_its_reason(base: Engine) -> None:
    long, good = (Message("user", "sort a b " * 2000),), CHATS[0][:1]
    refused, reply = base.generate([long, good], **GREEDY)
    assert refused.error is not None
    assert "does not fit into the model's 2047 tokens" in refused.error
    assert reply.error is None
    bad, rating = base.rate([[10**6], six(base)[0]])
    assert (bad.value, rating.error) == (None, None)
    assert bad.error is not None
    assert "vLLM rejected the request" in bad.error


def test_a_constrained_reply_is_one_digit(base: Engine) -> None:
    for i in range(20):
        base.submit(Call(i, CHATS[i][:1], 8, 2.0, 1.0, i), constrain=True)
    texts = []
    while base.in_flight:
        texts += [reply.text for _, reply in base.take()]
    assert len(texts) == 20
    assert set(texts) <= set("0123456789")
    assert len(set(texts)) > 1
