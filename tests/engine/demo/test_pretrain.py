"""The demo's tokenizer and training loop, on models too small to be of use."""

import dataclasses
import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from engine.demo import build, corpus, measure, muon, pretrain, seed, tokenizer
from engine.demo.measure import Lab, Tuning
from engine.demo.pretrain import ModelPlan

TINY = ModelPlan("base", hidden=32, layers=1, heads=1, steps=4, batch_tokens=256, warmup=2)


@pytest.fixture(scope="module")
def tokens() -> PreTrainedTokenizerFast:
    return tokenizer.train(0)


@pytest.fixture(scope="module")
def lab(tokens: PreTrainedTokenizerFast) -> Lab:
    return Lab(pretrain.new_model(TINY, tokens), tokens)


@pytest.mark.parametrize("text", ["Ünïcödé 漢字 🤖🧪", "tabs\tand\n\nlines", "<|end", "3.14159 + 2", ""])
def test_any_text_survives_the_tokenizer(tokens: PreTrainedTokenizerFast, text: str) -> None:
    assert tokens.decode(tokens(text)["input_ids"]) == text


def test_every_digit_is_a_token(tokens: PreTrainedTokenizerFast) -> None:
    ids = tokens("1234567890")["input_ids"]
    assert tokens.convert_ids_to_tokens(ids) == list("1234567890")


def test_list_words_are_single_tokens(tokens: PreTrainedTokenizerFast) -> None:
    assert all(len(tokens(f" {word}")["input_ids"]) == 1 for word in ("apple", "cherry", "olive", "yam"))


def test_the_chat_template_renders_every_role(tokens: PreTrainedTokenizerFast) -> None:
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "A"},
        {"role": "tool", "content": "T"},
    ]
    text = tokens.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>S<|user|>U<|assistant|>A<|end|><|user|>T<|assistant|>"


def test_batches_are_reproducible_and_hold_the_budget(tokens: PreTrainedTokenizerFast) -> None:
    first = list(islice(pretrain.batches(TINY, tokens), 5))
    again = list(islice(pretrain.batches(TINY, tokens), 5))
    for batch, other in zip(first, again, strict=True):
        assert torch.equal(batch.ids, other.ids)
        assert batch.ids.numel() <= TINY.batch_tokens
        learned = batch.labels != pretrain.IGNORE
        assert learned.any(dim=1).all()
        assert torch.equal(batch.ids[learned], batch.labels[learned])
        assert not learned[batch.ids == tokens.pad_token_id].any()


def test_the_second_head_is_asked_from_the_claim_to_the_end_of_the_context(tokens: PreTrainedTokenizerFast) -> None:
    context = "1 + 2 = 13.\nFactuality:"
    text = corpus.TrainingText(context, " 0", chat=False, sound=False, claim=0, false_at=context.index("13"))
    encoded = pretrain.encode([text], tokens, random.Random(0), full_loss=1.0)
    batch = pretrain._padded(encoded, tokens.pad_token_id)
    wrong = batch.ids[0][batch.doubts[0] == 1]
    right = batch.ids[0][batch.doubts[0] == 0]
    assert tokens.decode(right) == "1 + 2 = "
    assert tokens.decode(wrong) == "13.\nFactuality:"


def test_the_learner_computes_what_the_model_computes(tokens: PreTrainedTokenizerFast) -> None:
    model = pretrain.new_model(TINY, tokens).eval()
    ids = torch.tensor([tokens("Prompt: Add 1 and 2.")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(pretrain.Learner(model)(ids)[1], model.model(input_ids=ids).last_hidden_state)


def test_a_chat_text_learns_only_its_answer(tokens: PreTrainedTokenizerFast) -> None:
    text = corpus.TrainingText("Add 1 and 2.", "1 + 2 = 3.", chat=True)
    (encoded,) = pretrain.encode([text], tokens, random.Random(0), full_loss=0.0)
    assert tokens.decode(encoded.ids) == "<|user|>Add 1 and 2.<|assistant|>1 + 2 = 3.<|end|>"
    assert tokens.decode(encoded.ids[encoded.skipped :]) == "1 + 2 = 3.<|end|>"


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 24), (2, 24, 8)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(muon.orthogonalised(torch.randn(shape)))
    assert values.min() > 0.3
    assert values.max() < 1.4


def test_muon_descends() -> None:
    torch.manual_seed(0)
    matrix = torch.nn.Parameter(torch.randn(6, 4))
    optimiser = muon.Muon([matrix], lr=0.05)
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = (matrix - 1).square().sum()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_training_is_reproducible_and_its_model_loads(tokens: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    first = pretrain.train(TINY, tokens, tmp_path / "first", checkpoint_every=2)
    second = pretrain.train(TINY, tokens, tmp_path / "second")
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "first", dtype=torch.float32)
    assert loaded.config.max_position_embeddings == 2048
    assert loaded.generation_config.eos_token_id == tokens.eos_token_id
    again = AutoTokenizer.from_pretrained(tmp_path / "first")
    assert again.eos_token == tokenizer.END
    assert again.chat_template == tokenizer.CHAT_TEMPLATE


def test_ratings_losses_and_replies_do_not_depend_on_the_batch(lab: Lab) -> None:
    rows = seed.seed_rows(12, 1)
    one_by_one = [lab.ratings([row])[0] for row in rows]
    assert lab.ratings(rows) == pytest.approx(np.stack(one_by_one), abs=1e-4)
    assert lab.losses(rows) == pytest.approx([lab.losses([row])[0] for row in rows], abs=1e-4)
    prompts = [row.prompt for row in rows]
    assert lab.generate(prompts) == [lab.generate([prompt])[0] for prompt in prompts]


@pytest.mark.parametrize("rank", [0, 4])
def test_fine_tuning_lowers_the_loss_of_a_copy(lab: Lab, rank: int) -> None:
    rows = seed.seed_rows(24, 1)
    before = lab.losses(rows).mean()
    tuned = measure.fine_tuned(lab, rows, Tuning(epochs=6, lr=1e-2, batch=8, rank=rank))
    assert tuned.losses(rows).mean() < before
    assert lab.losses(rows).mean() == before


def test_separation_is_one_for_perfect_values() -> None:
    values = measure.separation(torch.tensor([0.0, 0.1, 5.0, 6.0]).numpy(), ["", "", "wrong", "vague"])
    assert values == {"": 1.0, "wrong": 1.0, "vague": 1.0}


def test_the_quick_build_writes_both_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PLANS", tuple(dataclasses.replace(plan, batch_tokens=256) for plan in build.PLANS))
    monkeypatch.setattr(build, "QUICK_STEPS", 3)
    assert build.main(["--quick", "--out", str(tmp_path)]) == 0
    for name in ("base", "teacher"):
        assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= {
            path.name for path in (tmp_path / name).iterdir()
        }
        assert build.load(tmp_path / name).generate(["Add 1 and 2.", "ß🤖"])
