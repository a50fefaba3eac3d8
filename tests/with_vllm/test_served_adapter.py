"""The round's adapter on a vLLM server that loads it while it runs: ratings as by transformers, and nothing left there.

One server for all tests: a start takes longer than everything that is asked of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.backends import Call
from engine.backends.completions import Completions
from engine.backends.served_adapter import ServedAdapter, listed, load, served
from engine.config import schema as configs
from engine.demo import seed
from engine.doctor import judge_servers
from engine.errors import BackendError, EndpointError
from engine.models.locate import ModelRef
from engine.signals import ratings, round_models, served_model, spoilt_copies
from engine.signals.rating_stream import Asker
from engine.stages import judge, score, train
from engine.store.judging import JudgeCheck
from engine.store.rows import RATING_COLUMNS, Message, Ratings
from tests.support import tiny
from tests.with_vllm.conftest import DEMO, Server, serving

BASE = DEMO / "base"
CHATS = [(Message("user", row.prompt), Message("assistant", row.output)) for row in seed.seed_rows(40, 5)]
SETTINGS = """
[model]
max_length = 512
[train]
method = "lora"
lora_r = 4
lora_dropout = 0.0
learning_rate = 0.01
epochs = 2.0
[score]
token_budget = 4096
"""


@pytest.fixture(scope="module")
def lora_server(tmp_path_factory: pytest.TempPathFactory, _environment: None) -> Iterator[Server]:
    flags = ("--enable-lora", "--max-lora-rank", "8")
    log = tmp_path_factory.mktemp("lora") / "log"
    with serving(log, BASE, "base", *flags, VLLM_ALLOW_RUNTIME_LORA_UPDATING="True") as running:
        yield running


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, lora_server: Server) -> tiny.Project:
    """A project whose round is trained and scored; the server starts meanwhile."""
    made = tiny.Project(tmp_path_factory.mktemp("trained") / "p", tiny.make_config(BASE, SETTINGS), CHATS)
    train.run(made.ctx("train"))
    score.run(made.ctx("score"))
    return made


def by_server(project: tiny.Project, server: Server, more: str = "") -> configs.Config:
    asked = f'[judge]\nbackend = "server"\nurl = "{server.url}"\n{more}'
    return tiny.make_config(BASE, SETTINGS + asked)


def adapters(server: Server) -> set[str]:
    chat = Completions(server.url, "", "", 30.0, "judge")
    try:
        return {one.name for one in chat.start(listed(chat)).result() if one.parent is not None}
    finally:
        chat.close()


def own(project: tiny.Project) -> ServedAdapter:
    return served(project.folder, 0, round_models.after_model(project.ctx("judge")), "")


@pytest.fixture
def chat(lora_server: Server) -> Iterator[Completions]:
    opened = Completions(lora_server.url, "", "", 60.0, "judge")
    yield opened
    opened.close()


def test_the_stage_rates_as_transformers_does_and_leaves_nothing_behind(
    trained: tiny.Project, lora_server: Server, chat: Completions
) -> None:
    left = dataclasses.replace(own(trained), name=own(trained).owner + "r7-0123456789abcdef")
    chat.start(load(chat, left)).result()
    ctx = trained.ctx("judge", config=by_server(trained, lora_server))
    judge.run(ctx)
    rows = {row.sample_id: row for row in ctx.rows(Ratings)}
    (check,) = ctx.rows(JudgeCheck)
    by_hf = trained.ctx("judge")
    asked = [((sample.id,), sample.messages) for sample in by_hf.dataset()]
    for ((id,), _), theirs in zip(asked, judge.rate(by_hf, by_hf.config.judge, asked), strict=True):
        ours = rows[id]
        assert ours.judge_error is None
        assert [getattr(ours, c) for c in RATING_COLUMNS] == pytest.approx(theirs.ratings, abs=0.05)
        assert ours.digit_mass == pytest.approx(theirs.digit_mass, abs=0.01)
    assert len({round(row.quality or 0, 2) for row in rows.values()}) > 10, "samples must get different ratings"
    assert check.done
    assert check.pairs >= 16
    quality = {id: row.quality for id, row in rows.items() if row.quality is not None}
    pairs = spoilt_copies.spoilt(list(by_hf.dataset())[:8])
    engine = served_model.open_judge(ctx)
    try:
        assert adapters(lora_server) == {own(trained).name}, "the old round's is gone"
        found = Asker.of(ctx, engine, ctx.config.judge).rate_all([(("spoilt", id), c) for id, c in pairs])
    finally:
        engine.close()
    by_transformers = judge.rate(by_hf, by_hf.config.judge, [(("spoilt", id), c) for id, c in pairs])
    assert [one.quality for one in found] == pytest.approx([one.quality for one in by_transformers], abs=0.05)
    assert len(quality) == len(CHATS)
    assert adapters(lora_server) == set()
    assert any("losses of 4 samples by the judging servers differ from ours by 0.00" in t for t in trained.events())


def test_greedy_replies_are_those_of_transformers(trained: tiny.Project, lora_server: Server) -> None:
    ctx = trained.ctx("judge", config=by_server(trained, lora_server))
    engine = served_model.open_judge(ctx)
    try:
        for i, one in enumerate(CHATS[:12]):
            engine.submit(Call(i, one[:1], 24, 0.0, 1.0, 0))
        engine.submit(Call(12, CHATS[0][:1], 5000, 0.0, 1.0, 0))
        ours = {}
        while engine.in_flight:
            ours.update({call.tag: reply for call, reply in engine.take()})
    finally:
        engine.close()
    assert ours[12].error is None, "as many tokens as the model sees are asked for, not more"
    model = round_models.open_model(ctx.config.model, round_models.after_model(ctx))
    theirs = model.generate([one[:1] for one in CHATS[:12]], max_new_tokens=24, temperature=0.0, top_p=1.0, seed=0)
    assert [(ours[i].text, ours[i].finish_reason) for i in range(12)] == [(r.text, r.finish_reason) for r in theirs]


def test_a_server_that_has_lost_the_adapter_is_given_it_again(
    trained: tiny.Project, lora_server: Server, chat: Completions
) -> None:
    ctx = trained.ctx("judge", config=by_server(trained, lora_server))
    engine = served_model.open_judge(ctx)
    try:
        other = dataclasses.replace(own(trained), name=own(trained).owner + "x")
        chat.start(load(chat, other)).result()
        assert adapters(lora_server) == {other.name}
        templates = ratings.judge_templates(trained.folder)
        six = engine.rate(ratings.judge_prompts(templates, engine, CHATS[0]))
        assert [one.error for one in six] == [None] * 6
        assert adapters(lora_server) == {own(trained).name}
    finally:
        engine.close()
    assert adapters(lora_server) == set()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of rank 12, which nobody has trained."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter") / "final"
    torch.manual_seed(3)
    how = LoraConfig(r=12, lora_alpha=24, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(BASE), how).save_pretrained(folder)
    return folder


def test_what_a_server_cannot_load_is_refused_with_the_way_out(
    trained: tiny.Project, lora_server: Server, chat: Completions, large: Path
) -> None:
    other = served(large.parent, 0, ModelRef(BASE, large), "")
    with pytest.raises(EndpointError, match=r"has rank 12, which .* Start vLLM with --max-lora-rank 16"):
        chat.start(load(chat, other)).result()
    config = by_server(trained, lora_server, 'adapter_root = "/srv/elsewhere"\n')
    with pytest.raises(BackendError, match=r"cannot read /srv/elsewhere/artifacts/.* \[judge\] adapter_root"):
        served_model.open_judge(trained.ctx("judge", config=config))
    assert adapters(lora_server) == set()


def test_another_model_is_told_by_its_losses(trained: tiny.Project, lora_server: Server) -> None:
    ctx = trained.ctx("judge", config=by_server(trained, lora_server))
    ctx._db.execute("UPDATE signal SET loss_after = loss_after + 0.5")
    try:
        with pytest.raises(BackendError, match="its model is not this round's"):
            served_model.open_judge(ctx)
    finally:
        ctx._db.execute("UPDATE signal SET loss_after = loss_after - 0.5")
    assert adapters(lora_server) == set()


def test_the_doctor_tries_it(trained: tiny.Project, lora_server: Server) -> None:
    (found,) = judge_servers.findings(by_server(trained, lora_server), trained.folder)
    assert not found.bad
    assert "loads adapters of rank 4" in found.text
    config = configs.restore(configs.snapshot(by_server(trained, lora_server)).replace('"lora_r":4', '"lora_r":64'))
    (found,) = judge_servers.findings(config, trained.folder)
    assert found.bad
    assert "--max-lora-rank 64" in found.fix
    assert not list(trained.folder.glob("artifacts/probe*"))
    assert adapters(lora_server) == set()
