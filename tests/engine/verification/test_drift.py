"""A rewrite that answers something else than its original asked: told by the base model, with a real tiny one."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from engine.config import schema
from engine.signals import losses
from engine.signals.round_models import base_model
from engine.store.rows import Lenses, Rewrite, Sample
from engine.verification import drift
from engine.verification.candidates import Candidate
from engine.verification.drift import Drift, bound_of, crossed
from tests.support import rounds, tiny

CHATS = [tiny.chat(f"sort the list number{i}", f"{tiny.WORDS[i % 8]} {i}") for i in range(48)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tiny.Project:
    """A project whose samples' prompts explain their answers, but for the last one's."""
    made = tiny.Project(tmp_path_factory.mktemp("drift") / "p", tiny.make_config(tiny_model), CHATS)
    rounds.open_round(made, 0)
    for sample in rounds.dataset(made):
        ifd = 2.0 if sample.seq == 47 else 0.1
        made.ctx("score").save([Lenses(0, sample.id, 1.0, 1.0, ifd, 1.0, None, None)])
    return made


def rewritten(made: tiny.Project, place: int, axis: str, answer: str) -> Candidate:
    sample = rounds.dataset(made)[place]
    return Candidate(
        Rewrite(0, sample.id, axis, "proposed"), sample, replace(sample, messages=tiny.chat("new", answer))
    )


def test_an_answer_is_held_against_what_its_originals_prompt_explains(made: tiny.Project) -> None:
    ctx = made.ctx("verify")
    found = Drift(ctx, ctx.dataset())
    chunk = [rewritten(made, 3, "quality", "red apple"), rewritten(made, 4, "diversity", "red apple")]
    chunk += [rewritten(made, 47, "quality", "red apple"), rewritten(made, 5, "quality", "red apple")]
    same = chunk[3].sample.messages[0].content
    chunk[3] = Candidate(chunk[3].row, chunk[3].sample, replace(chunk[3].new, messages=tiny.chat(same, "red apple")))
    first, added, vague, answered = found.explained(chunk)
    expected = losses.ifds(ctx.config, base_model(ctx), [tiny.chat(chunk[0].sample.prompt, "red apple")])
    assert first is not None
    assert first.ifd == pytest.approx(expected[0], abs=1e-6)
    assert first.bound == found.bound
    assert added is None, "a new sample asks for something else on purpose"
    assert vague is None, "its prompt explains nothing"
    assert answered is None, "it asks for the same, word by word"


def test_the_bound_is_what_random_prompts_reach(made: tiny.Project) -> None:
    ctx = made.ctx("verify")
    data = ctx.dataset()
    pairs = drift.drawn_pairs(data)
    assert len(pairs) == 24
    assert all(pair[:-1] not in [s.messages[:-1] for s in data if s.messages == pair] for pair in pairs)
    found = losses.ifds(ctx.config, base_model(ctx), pairs)
    assert Drift(ctx, data).bound == bound_of(found, 0.9)
    assert sum(value is not None and value < bound_of(found, 0.9) for value in found) == 3, "one in ten"


def test_too_few_samples_tell_nothing(made: tiny.Project) -> None:
    off = msgspec.structs.replace(made.config, verify=schema.Verify(on_topic=0.0))
    assert math.isnan(Drift(made.ctx("verify", config=off), made.ctx("x").dataset()).bound)
    some = made.ctx("x").dataset()
    some.ids = some.ids[:30]
    few = Drift(made.ctx("verify"), some)
    assert math.isnan(few.bound)
    assert few.explained([rewritten(made, 3, "quality", "red")]) == [None]
    assert math.isnan(bound_of([None] * 30, 0.9))


def test_only_the_last_answer_is_crossed() -> None:
    talk = Sample(id=1, messages=tiny.chat("one", "1", "two", "2"), seq=0)
    assert crossed(talk, "other") == tiny.chat("one", "1", "two", "other")
