"""Judging: expected ratings equal a naive softmax, and what cannot be read is a row with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from transformers import AutoModelForCausalLM

from engine.backends import Generation, hf
from engine.backends.rating import digit_tokens
from engine.chat.render import render_prompt
from engine.errors import ModelError
from engine.signals import ratings
from engine.signals.rating_rows import first_rating
from engine.stages import judge, train
from engine.store.rows import RATING_COLUMNS, Message, Ratings
from tests.support import tiny

pytestmark = pytest.mark.usefixtures("own_models")

CHATS = [*tiny.chats(7), (Message("system", "be brief"), *tiny.chat("say a", "a", "and b", "b"))]
PROMPTS = {
    "judge_prompt": "text: {prompt} rate {dimension}",
    "judge_response": "text: {prompt} reply: {response} rate {dimension}",
}
BUDGET = '[judge]\ntoken_budget = 800\nprime = "off"\n'


def project(folder: Path, model: Path, extra: str = BUDGET, chats: Any = CHATS) -> tiny.Project:
    out = tiny.Project(folder, tiny.make_config(model, extra), chats)
    (folder / "prompts").mkdir()
    for name, text in PROMPTS.items():
        (folder / "prompts" / f"{name}.txt").write_text(text)
    return out


def values(row: Ratings) -> list[float | None]:
    return [getattr(row, name) for name in RATING_COLUMNS]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tiny.Project:
    done = project(tmp_path_factory.mktemp("judge") / "p", tiny_model, BUDGET + 'model = "base"\n')
    judge.run(done.ctx("judge"))
    return done


def test_ratings_equal_a_naive_softmax(judged: tiny.Project, tiny_model: Path) -> None:
    tokenizer = tiny.make_tokenizer()
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    digits = [[tokenizer.convert_tokens_to_ids(d)] for d in "0123456789"]
    rows = {row.sample_id: row for row in judged.ctx("judge").rows(Ratings)}
    for sample in judged.ctx("judge").dataset():
        expected, masses = [], []
        before = "".join(m.content for m in sample.messages[:-1]) if len(sample.messages) == 2 else None
        if before is None:
            before = "System: be brief\n\nUser: say a\n\nAssistant: a\n\nUser: and b"
        for text in ("text: {} rate {}", "text: {} reply: " + sample.response + " rate {}"):
            for dimension in ("clarity", "completeness", "factuality"):
                chat = [Message("user", text.format(before, dimension))]
                with torch.no_grad():
                    logits = model(torch.tensor([render_prompt(tokenizer, chat, 500)])).logits[0, -1]
                chances = logits.softmax(-1)[[d[0] for d in digits]].double()
                masses.append(float(chances.sum()))
                expected.append(float((chances * torch.arange(10)).sum() / chances.sum()))
        row = rows[sample.id]
        assert values(row) == pytest.approx(expected, abs=1e-3)
        assert row.quality == pytest.approx(sum(expected) / 6, abs=1e-3)
        assert row.digit_mass == pytest.approx(min(masses), abs=1e-4)


def test_the_tuned_model_rates_by_default(tmp_path: Path, tiny_model: Path, judged: tiny.Project) -> None:
    own = project(tmp_path / "p", tiny_model, BUDGET + "[train]\ngradient_accumulation = 1\n")
    train.run(own.ctx("train"))
    judge.run(own.ctx("judge"))
    assert [values(row) for row in own.ctx("x").rows(Ratings)] != [values(row) for row in judged.ctx("x").rows(Ratings)]


def test_killed_and_resumed_equals_undisturbed(tmp_path: Path, tiny_model: Path, judged: tiny.Project) -> None:
    killed = project(tmp_path / "p", tiny_model, BUDGET + 'model = "base"\n')
    ctx = killed.ctx("judge")
    ctx.save(judged.ctx("judge").rows(Ratings)[3:5])  # half-done batches
    judge.run(ctx)
    assert ctx.rows(Ratings) == judged.ctx("judge").rows(Ratings)
    (job,) = killed.db.execute("SELECT done FROM job WHERE stage='judge'").fetchall()
    assert job[0] == len(CHATS)


def test_running_it_again_asks_nothing(judged: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf.HF, "rate", None)
    judge.run(judged.ctx("judge"))


def test_little_digit_mass_is_an_error_not_a_score(tmp_path: Path, tiny_model: Path) -> None:
    strict = project(tmp_path / "p", tiny_model, BUDGET + 'model = "base"\nmin_digit_mass = 0.9\n')
    judge.run(strict.ctx("judge"))
    for row in strict.ctx("judge").rows(Ratings):
        assert values(row) == [None] * 6
        assert row.quality is None
        assert row.digit_mass is not None
        assert "of the probability lies on digits (judge.min_digit_mass = 0.9)" in str(row.judge_error)


def test_a_request_that_does_not_fit_is_an_error(tmp_path: Path, tiny_model: Path) -> None:
    chats = [*tiny.chats(2), tiny.chat("short", "red " * 600)]
    long = project(tmp_path / "p", tiny_model, BUDGET + 'model = "base"\n', chats)
    judge.run(long.ctx("judge"))
    errors = [row.judge_error for row in long.ctx("judge").rows(Ratings) if row.judge_error]
    assert errors == ["its rating request exceeds the model's context of 512 tokens"]


def test_candidates_are_rated_as_samples_are(judged: tiny.Project) -> None:
    rows = {row.sample_id: row for row in judged.ctx("x").rows(Ratings)}
    ctx = judged.ctx("verify")
    ratings = judge.rate(ctx, ctx.config.judge, [((i,), chat) for i, chat in enumerate(CHATS)])
    for sample, found in zip(ctx.dataset(), ratings, strict=True):
        assert found.ratings == pytest.approx(values(rows[sample.id]), abs=1e-4)
        assert found.quality == pytest.approx(rows[sample.id].quality, abs=1e-4)


@pytest.mark.parametrize(
    ("reply", "value"),
    [("7", 7), ("I say 8.5 of 9", 8.5), ("Rating: 3/9", 3), ("none", None), ("42", None), ("", None), ("-1", 1)],
)
def test_the_first_number_is_the_rating(reply: str, value: float | None) -> None:
    assert first_rating(reply) == value


def test_sampled_ratings_are_drawn_anew_until_they_can_be_read(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = BUDGET + 'model = "base"\nmode = "sampled"\nattempts = 2\nmax_new_tokens = 4\n'
    asked: list[tuple[int, int]] = []

    def replies(self: hf.HF, chats: Sequence[Sequence[Message]], *, seed: int, **how: Any) -> list[Generation]:
        assert how == {"max_new_tokens": 4, "temperature": 0.1, "top_p": 0.7, "top_k": 50, "begun": ""}
        asked.append((len(chats), seed))
        texts = ["4" if i else "hm" for i in range(len(chats))] if len(chats) > 1 else ["still nothing"]
        return [Generation(text, "stop", 1, 1) for text in texts]

    monkeypatch.setattr(hf.HF, "generate", replies)
    one = project(tmp_path / "p", tiny_model, extra.replace("800", "100000"), CHATS[:2])
    judge.run(one.ctx("judge"))
    good, bad = sorted(one.ctx("judge").rows(Ratings), key=lambda row: row.judge_error is not None)
    assert (values(good), good.quality, good.digit_mass) == ([4.0] * 6, 4.0, None)
    assert bad.judge_error == "no rating from 0 to 9 in the reply: 'still nothing'"
    assert [count for count, _ in asked] == [12, 1]
    assert asked[0][1] != asked[1][1]


def test_sampling_is_the_same_after_a_resume(tmp_path: Path, tiny_model: Path) -> None:
    extra = BUDGET + 'model = "base"\nmode = "sampled"\nmax_new_tokens = 4\ntemperature = 5.0\ntop_p = 1.0\ntop_k = 0\n'
    first = project(tmp_path / "p", tiny_model, extra)
    judge.run(first.ctx("judge"))
    rows = first.ctx("judge").rows(Ratings)
    second = project(tmp_path / "q", tiny_model, extra)
    second.ctx("judge").save(rows[:3])
    judge.run(second.ctx("judge"))
    assert second.ctx("judge").rows(Ratings) == rows


def test_a_tokenizer_without_single_digits_is_refused(tiny_model: Path) -> None:
    class Syllables:
        """A tokenizer to which every character is two tokens."""

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            return [1, 2] * len(text)

        def decode(self, ids: list[int]) -> str:
            return "x"

    with pytest.raises(ModelError, match="no single token for the digit 0"):
        digit_tokens(Syllables(), [1, 2], tiny_model)


def test_the_six_requests_of_a_sample_are_computed_as_one(tmp_path: Path, tiny_model: Path) -> None:
    """A forward holds no more tokens than a batch may, and the whole stage far fewer than six requests a sample."""
    one = project(tmp_path / "p", tiny_model, '[judge]\ntoken_budget = 150\nmodel = "base"\nprime = "off"\n')
    ctx = one.ctx("judge")
    model = hf.load(tiny_model, device="cpu", threads=1)
    assert model.shares
    shapes: list[torch.Size] = []
    model.loaded.model.get_input_embeddings().register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape))
    judge.run(ctx)
    templates = ratings.judge_templates(ctx.project)
    six = [ids for sample in ctx.dataset() for ids in ratings.judge_prompts(templates, model, sample.messages)]
    assert all(rows * width <= 150 for rows, width in shapes)
    assert sum(rows * width for rows, width in shapes) < 0.6 * sum(map(len, six))
    assert not any("cannot share" in text for text in one.events())


def test_drawn_replies_are_planned_as_six_requests_a_sample(judged: tiny.Project) -> None:
    how = judged.config.judge
    assert [len(batch) for batch in ratings.plan_ratings(how, [200] * 8)] == [4] * 2
    sampled = replace(how, mode="sampled")
    assert [len(batch) for batch in ratings.plan_ratings(sampled, [60] * 6)] == [2] * 3


def test_a_family_that_cannot_share_gets_the_same_ratings_and_says_so(
    tmp_path: Path, tiny_model: Path, judged: tiny.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.backends.hf.can_share", lambda model, device: False)
    other = project(tmp_path / "p", tiny_model, BUDGET + 'model = "base"\n')
    judge.run(other.ctx("judge"))
    theirs = {row.sample_id: values(row) for row in judged.ctx("judge").rows(Ratings)}
    for row in other.ctx("judge").rows(Ratings):
        assert values(row) == pytest.approx(theirs[row.sample_id], abs=1e-4)
    assert any("cannot share" in text for text in other.events())
