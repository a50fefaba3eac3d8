"""Evaluation: the held-out loss is token-weighted, exact match ignores whitespace, replies end where they should."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from engine.backends import BACKENDS, Generation, backend, hf
from engine.chat.render import render, render_prompt
from engine.errors import BackendError
from engine.models import locate
from engine.stages import evaluate, train
from engine.store.rows import EvalItem, EvalScore, Message
from tests.support import tiny
from tests.support.chat_templates import tokenizer_of

pytestmark = pytest.mark.usefixtures("own_models")

HELDOUT = [*tiny.chats(30)[20:], tiny.chat("red " * 200, "ok")]
FULL = '[train]\nmethod = "full"\n'
LEARNED = """
[train]
method = "full"
epochs = 30
learning_rate = 0.005
gradient_accumulation = 1
checkpoint_steps = 1000
[evaluate]
exact_match = true
max_new_tokens = 40
"""


def project(folder: Path, model: Path, extra: str = "", heldout: Any = HELDOUT) -> tiny.Project:
    out = tiny.Project(folder, tiny.make_config(model, FULL + extra), tiny.chats(8), heldout)
    train.run(out.ctx("train"))
    return out


def scores(one: tiny.Project) -> dict[str, EvalScore]:
    return {row.task: row for row in one.ctx("evaluate").rows(EvalScore)}


def test_the_heldout_loss_is_a_mean_over_tokens(tmp_path: Path, tiny_model: Path) -> None:
    one = project(tmp_path / "p", tiny_model)
    evaluate.run(one.ctx("evaluate"))
    tokenizer = tiny.make_tokenizer()
    model = AutoModelForCausalLM.from_pretrained(one.ctx("evaluate").artifact("checkpoint"))
    sums, counts = [], []
    for chat in HELDOUT[:-1]:
        row = render(tokenizer, chat, 96)
        with torch.no_grad():
            logits = model(torch.tensor([row.ids])).logits[0]
        each = cross_entropy(logits[:-1], torch.tensor(row.ids[1:]), reduction="none")[torch.tensor(row.mask[1:])]
        sums.append(float(each.sum()))
        counts.append(len(each))
    mean = sum(sums) / sum(counts)
    spread = math.sqrt(sum((s - mean * c) ** 2 for s, c in zip(sums, counts, strict=True))) / sum(counts)
    found = scores(one)
    assert list(found) == ["heldout_loss"]
    assert (found["heldout_loss"].value, found["heldout_loss"].stderr) == pytest.approx((mean, spread), abs=1e-4)
    assert found["heldout_loss"].n == len(HELDOUT) - 1
    assert "1 of 11 held-out samples has no loss, e.g.: the prompt alone has" in one.events()[-1]


def test_exact_match_ignores_whitespace(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replies(self: hf.HF, chats: Sequence[Sequence[Message]], **how: Any) -> list[Generation]:
        assert (how["temperature"], how["max_new_tokens"]) == (0.0, 6)
        assert all(chat[-1].role == "user" for chat in chats)
        right = {chat[0].content: chat[1].content for chat in HELDOUT}
        texts = [right[chat[-1].content] for chat in chats]
        return [Generation(f" {t}\n" if "sort" in c[-1].content else "", "stop", 1, 1)
                for t, c in zip(texts, chats, strict=True)]  # fmt: skip

    monkeypatch.setattr(hf.HF, "generate", replies)
    one = project(tmp_path / "p", tiny_model, "[evaluate]\nexact_match = true\n")
    evaluate.run(one.ctx("evaluate"))
    accuracy = scores(one)["accuracy"]
    assert accuracy.value == pytest.approx(10 / 11)
    assert accuracy.stderr == pytest.approx(math.sqrt(10 / 11 * 1 / 11 / 11))
    assert accuracy.n == 11
    wrong = [row for row in one.ctx("x").rows(EvalItem) if not row.correct]
    assert [row.item for row in wrong] == [10]


def test_a_resumed_evaluation_equals_an_undisturbed_one(tmp_path: Path, tiny_model: Path) -> None:
    one = project(tmp_path / "p", tiny_model, "[evaluate]\nexact_match = true\n")
    evaluate.run(one.ctx("evaluate"))
    rows, found = one.ctx("x").rows(EvalItem), scores(one)
    one.db.execute("DELETE FROM eval_item WHERE item IN (0, 3)")
    one.db.execute("UPDATE eval_item SET reply=NULL, correct=NULL WHERE item > 6")
    one.db.execute("DELETE FROM score")
    evaluate.run(one.ctx("evaluate"))
    assert one.ctx("x").rows(EvalItem) == rows
    assert scores(one) == found


def test_copies_of_a_held_out_sample_are_measured_once(tmp_path: Path, tiny_model: Path) -> None:
    held = tiny.chats(3)
    figures = []
    for name, heldout in (("once", held), ("twice", [*held, *held])):
        one = project(tmp_path / name, tiny_model, heldout=heldout)
        evaluate.run(one.ctx("evaluate"))
        found = scores(one)["heldout_loss"]
        figures.append((found.value, found.stderr, found.n))
    assert figures[0] == figures[1]


def test_without_heldout_samples_there_is_no_score(tmp_path: Path, tiny_model: Path) -> None:
    one = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), tiny.chats(4))
    evaluate.run(one.ctx("evaluate"))
    assert scores(one) == {}
    assert one.events() == ["no held-out samples to evaluate. Set data.heldout or data.heldout_share before an import."]


def greedy(model: Any, ids: list[int], limit: int, stops: Sequence[int]) -> list[int]:
    """One token at a time from full forwards, without cache or padding."""
    new: list[int] = []
    while len(new) < limit and (not new or new[-1] not in stops):
        with torch.no_grad():
            new.append(int(model(torch.tensor([ids + new])).logits[0, -1].argmax()))
    return new


def test_greedy_replies_equal_a_naive_loop(tiny_model: Path) -> None:
    model = hf.load(tiny_model, device="cpu", threads=1)
    naive = AutoModelForCausalLM.from_pretrained(tiny_model)
    chats = [chat[:1] for chat in tiny.chats(12)]
    found = model.generate(chats, max_new_tokens=40, temperature=0.0, top_p=1.0, seed=0)
    for chat, reply in zip(chats, found, strict=True):
        asked = render_prompt(model.tokenizer, chat, 512)
        new = greedy(naive, asked, 40, model.loaded.stops)
        ended = new[-1] in model.loaded.stops
        assert reply.text == model.tokenizer.decode(new[:-1] if ended else new, skip_special_tokens=True)
        assert reply.finish_reason == ("stop" if ended else "length")
        assert (reply.tokens_in, reply.tokens_out, reply.error) == (len(asked), len(new), None)


def test_a_reply_stops_at_the_end_of_turn(tiny_model: Path) -> None:
    """The first token is made the end of turn for one chat: it stops there, the others run on."""
    model = hf.load(tiny_model, device="cpu", threads=1)
    chats = [chat[:1] for chat in tiny.chats(6)]
    asked = render_prompt(model.tokenizer, chats[0], 512)
    first = greedy(AutoModelForCausalLM.from_pretrained(tiny_model), asked, 1, [])
    stops, model.loaded.stops[:] = [*model.loaded.stops], [*model.loaded.stops, *first]
    found = model.generate(chats, max_new_tokens=3, temperature=0.0, top_p=1.0, seed=0)
    model.loaded.stops[:] = stops
    assert (found[0].text, found[0].finish_reason, found[0].tokens_out) == ("", "stop", 1)
    assert {reply.finish_reason for reply in found} == {"stop", "length"}


def test_sampling_follows_its_seed_and_leaves_the_generator_alone(tiny_model: Path) -> None:
    model = hf.load(tiny_model, device="cpu", threads=1)
    chats = [chat[:1] for chat in tiny.chats(4)]

    def draw(seed: int) -> list[str]:
        found = model.generate(chats, max_new_tokens=8, temperature=1.5, top_p=0.95, seed=seed)
        return [reply.text for reply in found]

    before = torch.random.get_rng_state()
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_models_own_generation_settings_do_not_mix_in(tmp_path: Path, tiny_model: Path) -> None:
    from transformers import GenerationConfig

    own = tiny.make_model(tmp_path / "own")
    strange = {"do_sample": True, "temperature": 3.0, "max_length": 3, "repetition_penalty": 9.0}
    GenerationConfig(**strange, eos_token_id=[7]).save_pretrained(own)
    chats = [chat[:1] for chat in tiny.chats(4)]
    texts = []
    for folder in (tiny_model, own):
        model = hf.load(folder, device="cpu", threads=1)
        texts.append([r.text for r in model.generate(chats, max_new_tokens=8, temperature=0.0, top_p=1.0, seed=0)])
        stops = model.loaded.stops
    assert texts[0] == texts[1]
    assert 7 in stops, "but what ends its text still does"


def test_a_prompt_that_does_not_fit_has_an_error_and_a_long_one_less_room(tiny_model: Path) -> None:
    model = hf.load(tiny_model, device="cpu", threads=1)
    chats = [tiny.chat("red " * 600), tiny.chat("a"), tiny.chat("red " * 500)]
    found = model.generate(chats, max_new_tokens=40, temperature=0.0, top_p=1.0, seed=0)
    assert "exceeds the model's context of 512 tokens" in str(found[0].error)
    assert found[1].error is None
    assert found[2].tokens_in + found[2].tokens_out <= 512


def test_the_base_and_the_tuned_model_share_their_weights(tmp_path: Path, tiny_model: Path) -> None:
    one = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), tiny.chats(16))
    train.run(one.ctx("train"))
    folder = one.ctx("x").artifact("checkpoint")
    assert folder is not None
    base = hf.load(tiny_model, device="cpu", threads=1)
    row = render(base.tokenizer, tiny.chats(1)[0], 96)
    alone = base.score([row])[0].loss
    tuned = hf.load(tiny_model, folder, device="cpu", threads=1)
    assert tuned.loaded is base.loaded
    assert tuned.score([row])[0].loss != alone
    assert base.score([row])[0].loss == pytest.approx(alone, abs=1e-6)
    assert locate.checkpoint(folder, tmp_path) == locate.ModelRef(tiny_model, folder)


def test_backends_are_named(tiny_model: Path) -> None:
    assert backend("hf") is hf.load
    assert "hf" in BACKENDS
    with pytest.raises(BackendError, match="no backend named 'nope'"):
        backend("nope")


def test_a_reply_is_asked_for_as_its_row_was_trained_and_compared_without_reasoning(tmp_path: Path) -> None:
    folder, tokenizer = tiny.make_model(tmp_path / "m"), tokenizer_of("qwen3")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = [(chat[0], Message("assistant", f"<think>\nred\n</think>\n\n{chat[1].content}")) for chat in tiny.chats(4)]
    config = tiny.make_config(folder, LEARNED)
    one = tiny.Project(tmp_path / "p", config, [*rows, *rows], heldout=rows[:1])
    train.run(one.ctx("train"))
    evaluate.run(one.ctx("evaluate"))
    (first,) = one.ctx("evaluate").rows(EvalItem)
    assert str(first.reply).startswith("<think>\nred\n</think>")
    assert first.correct
