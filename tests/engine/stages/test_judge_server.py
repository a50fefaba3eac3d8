"""The tuned model rates on servers that load its adapter: the same ratings, nothing left behind, and clear refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.backends import roles
from engine.backends.served_adapter import owner_of, seen_path, served
from engine.backends.server_judge import ServerJudge
from engine.config import schema as configs
from engine.doctor import judge_servers, privacy
from engine.errors import BackendError, ConfigError, ModelError
from engine.loop import spec
from engine.models.locate import ModelRef
from engine.runtime.child import child_environment
from engine.signals import rating_stream, round_models, served_model
from engine.stages import judge, score, train
from engine.store.judging import JudgeCheck
from engine.store.rows import RATING_COLUMNS, Losses, Ratings
from tests.support import tiny
from tests.support.adapter_server import AdapterServer

CHATS = tiny.chats(20)
LORA = '[train]\nmethod = "lora"\nlora_r = 4\nlora_dropout = 0.0\n'


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tiny.Project:
    """A project whose round is trained and scored."""
    made = tiny.Project(tmp_path_factory.mktemp("scored") / "p", tiny.make_config(tiny_model, LORA), CHATS)
    train.run(made.ctx("train"))
    score.run(made.ctx("score"))
    return made


@pytest.fixture
def server(tiny_model: Path) -> Iterator[AdapterServer]:
    with AdapterServer(tiny_model) as running:
        yield running


def by(server: AdapterServer, more: str = "", train: str = LORA) -> configs.Config:
    asked = f'[judge]\nbackend = "server"\nurl = "{server.url}"\n{more}'
    return tiny.make_config(server.base, train + asked)


def opened(project: tiny.Project, config: configs.Config) -> ServerJudge:
    return served_model.open_judge(project.ctx("judge", config=config))


def name(project: tiny.Project) -> str:
    return served(project.folder, 0, round_models.after_model(project.ctx("judge")), "").name


def test_the_stage_rates_as_transformers_does_and_leaves_nothing_behind(
    scored: tiny.Project, server: AdapterServer
) -> None:
    old = f"{owner_of(scored.folder)}r7-0123456789abcdef"
    server.adapters = {old: "/srv/old", "middo-of-somebody-else": "/srv/theirs"}
    ctx = scored.ctx("judge", config=by(server))
    judge.run(ctx)
    assert server.log == [f"-{old}", f"+{name(scored)}", f"-{name(scored)}"]
    assert set(server.adapters) == {"middo-of-somebody-else"}
    rows = {row.sample_id: row for row in ctx.rows(Ratings)}
    by_hf = scored.ctx("judge")
    asked = [((sample.id,), sample.messages) for sample in by_hf.dataset()]
    for ((id,), _), theirs in zip(asked, judge.rate(by_hf, by_hf.config.judge, asked), strict=True):
        assert [getattr(rows[id], c) for c in RATING_COLUMNS] == pytest.approx(theirs.ratings, abs=1e-3)
        assert rows[id].digit_mass == pytest.approx(theirs.digit_mass, abs=1e-4)
    (check,) = ctx.rows(JudgeCheck)
    assert (check.done, check.rated, check.pairs >= 16) == (True, len(CHATS), True)
    assert any("losses of 4 samples by the judging servers differ from ours by 0.0000" in t for t in scored.events())


def test_what_a_killed_stage_left_is_used_again(scored: tiny.Project, server: AdapterServer) -> None:
    left = name(scored), seen_path(scored.folder / "artifacts" / "round-0" / "checkpoint" / "final", scored.folder, "")
    server.adapters = dict([left])
    opened(scored, by(server)).close()
    assert server.log == [f"-{name(scored)}"], "it was not loaded again"


def test_a_path_that_the_project_has_had_is_no_longer_meant(scored: tiny.Project, server: AdapterServer) -> None:
    server.adapters = {name(scored): "/srv/before"}
    opened(scored, by(server)).close()
    assert server.log == [f"-{name(scored)}", f"+{name(scored)}", f"-{name(scored)}"]


@pytest.mark.parametrize(
    ("lacks", "more", "reason"),
    [
        ({"dynamic": False}, "", r"loads no adapters .* --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"),
        ({"enabled": False}, "", "takes no adapters. Start vLLM with --enable-lora"),
        ({"rank": 1}, "", r"has rank 4, .* Start vLLM with --max-lora-rank 8, or lower \[train\] lora_r"),
        ({}, 'adapter_root = "/srv/p"\n', r"cannot read /srv/p/artifacts/.*\[judge\] adapter_root"),
        ({"garbled": True}, "", "did not return a list of models"),
        ({"key": "sk-another"}, "", r"\[judge\] key_env"),
    ],
)
def test_what_a_server_cannot_do_is_said_with_the_way_out(
    scored: tiny.Project, server: AdapterServer, lacks: dict[str, object], more: str, reason: str
) -> None:
    for what, value in lacks.items():
        setattr(server, what, value)
    with pytest.raises(BackendError, match=reason) as caught:
        opened(scored, by(server, more))
    assert server.url in str(caught.value)
    assert str(caught.value).count(". ") <= 2
    assert server.adapters == {}


def test_a_server_that_cannot_load_it_is_left_out(scored: tiny.Project, server: AdapterServer) -> None:
    with AdapterServer(server.base) as other:
        other.rank = 1
        ctx = scored.ctx("judge", config=by(server, f'more_urls = ["{other.url}"]\n'))
        engine = served_model.open_judge(ctx)
        try:
            asker = rating_stream.Asker.of(ctx, engine, ctx.config.judge)
            found = asker.rate_all([(i, chat) for i, chat in enumerate(CHATS[:4])])
            assert [one.error for one in found] == [None] * 4
            (note,) = engine.notes
        finally:
            engine.close()
        assert note.startswith(f"{other.url}: the adapter has rank 4")
        assert note.endswith("It is left out; the other servers go on")
        assert other.adapters == server.adapters == {}


def test_both_servers_load_it_and_share_the_work(scored: tiny.Project, server: AdapterServer) -> None:
    with AdapterServer(server.base) as other:
        ctx = scored.ctx("judge", config=by(server, f'more_urls = ["{other.url}"]\n'))
        engine = served_model.open_judge(ctx)
        try:
            rating_stream.Asker.of(ctx, engine, ctx.config.judge).rate_all(list(enumerate(CHATS)))
        finally:
            engine.close()
        assert server.log == other.log == [f"+{name(scored)}", f"-{name(scored)}"]
        assert min(len(one.bodies) for one in (server, other)) > 4 + 5, "besides the losses, one call for a sample"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (lambda _: float("nan"), "the reply cannot be read"),
        (lambda _: None, "the reply cannot be read"),
        (lambda logprob: logprob - 1.0, "its model is not this round's"),
    ],
)
def test_a_server_that_lies_is_refused_and_unloads(
    scored: tiny.Project, server: AdapterServer, told: object, reason: str
) -> None:
    server.told = told  # type: ignore[assignment]
    with pytest.raises(BackendError, match=reason):
        opened(scored, by(server))
    assert server.log == [f"+{name(scored)}", f"-{name(scored)}"]


def test_a_server_that_was_started_anew_is_compared_again(scored: tiny.Project, server: AdapterServer) -> None:
    made = opened(scored, by(server))
    prompts = [made.tokenizer("How good is this?")["input_ids"]] * 3
    first = made.rate(prompts)
    server.adapters.clear()
    assert made.rate(prompts) == first
    server.adapters.clear()
    server.told = lambda logprob: logprob - 1  # as another model has it
    with pytest.raises(BackendError, match="no longer has this round's adapter: run again"):
        made.rate(prompts)
    assert any("its model is not this round's" in note for note in made.notes)
    made.close()


def test_losses_are_compared_where_training_has_changed_them_most() -> None:
    rows = [Losses(0, i, 1.0, 1.0 - i / 10, 10, 20) for i in range(8)]
    brief = Losses(0, 8, 9.0, 1.0, 10, 5)
    long = [Losses(0, 9, 9.0, 1.0, 400, 5), Losses(0, 10, 9.0, 1.0, 600, 5)]
    assert [row.sample_id for row in served_model.drawn([*rows, brief, *long], 500)] == [7, 6, 5, 4]
    assert served_model.drawn([rows[0], brief, *long], 500) == [rows[0], brief], "a longer answer goes before"
    assert [row.sample_id for row in served_model.drawn(long, 500)] == [9], "none is short, and one does not fit"


def test_what_can_never_work_is_refused_before_a_run(tmp_path: Path) -> None:
    asked = '[judge]\nbackend = "server"\n'
    with pytest.raises(ConfigError, match='needs model = "tuned" and url'):
        configs.parse(asked, "config.toml")
    with pytest.raises(ConfigError, match='needs model = "tuned" and url'):
        configs.parse(asked + 'url = "http://a/v1"\nmodel = "base"\n', "config.toml")
    with pytest.raises(ConfigError, match="an absolute path"):
        configs.parse('[judge]\nadapter_root = "there"\n', "config.toml")
    full = configs.parse(asked + 'url = "http://a/v1"\n[train]\nmethod = "full"\n', "config.toml")
    with pytest.raises(ConfigError, match=r'Set method = "lora", or \[judge\] backend = "hf" or "vllm"'):
        roles.check(full)
    with pytest.raises(ModelError, match="is no LoRA adapter"):
        served(tmp_path, 0, ModelRef(tmp_path), "")


def test_where_a_project_lies_makes_names_and_paths(tmp_path: Path) -> None:
    folder = tmp_path / "p" / "artifacts" / "round-1"
    assert seen_path(folder, tmp_path / "p", "") == str(folder)
    assert seen_path(folder, tmp_path / "p", "/srv/p/") == "/srv/p/artifacts/round-1"
    assert owner_of(tmp_path / "p") != owner_of(tmp_path / "q")
    assert owner_of(tmp_path / "p") == owner_of(tmp_path / "q" / ".." / "p")


def test_which_server_computes_changes_no_result_but_who_sees_the_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = '[judge]\nbackend = "server"\nkey_env = "SERVER_KEY"\nurl = "http://{}.example/v1"\n{}'
    one, other = (
        configs.parse(asked.format(host, more), "config.toml")
        for host, more in (("a", ""), ("b", 'adapter_root = "/srv/p"\nmore_urls = ["http://c.example/v1"]\n'))
    )
    for stage in ("judge", "verify"):
        assert configs.slice_hash(one, spec(stage).config) == configs.slice_hash(other, spec(stage).config)
    elsewhere = configs.parse('[judge]\nmodel = "endpoint"\nendpoint_model = "m"\nurl = "http://a/v1"\n', "x")
    moved = msgspec.structs.replace(elsewhere, judge=msgspec.structs.replace(elsewhere.judge, url="http://b/v1"))
    assert configs.slice_hash(elsewhere, ("judge",)) != configs.slice_hash(moved, ("judge",)), "that may be another"
    said = privacy.leaves(other)
    assert "all samples and rewrites are sent to b.example, c.example ([judge] url)" in said.text
    assert 'set [judge] backend = "hf"' in said.fix
    monkeypatch.setenv("SERVER_KEY", "sk-1")
    assert "SERVER_KEY" in child_environment(one, ["judge"])
    assert "SERVER_KEY" not in child_environment(one, ["train"])


def test_the_doctor_has_each_server_load_a_made_up_adapter(scored: tiny.Project, server: AdapterServer) -> None:
    with AdapterServer(server.base) as other:
        other.rank = 2
        config = by(server, f'more_urls = ["{other.url}"]\n')
        server.adapters = other.adapters = {name(scored): "/srv/at-work"}
        good, bad = judge_servers.findings(config, scored.folder)
        assert (good.bad, good.text) == (False, f"base at {server.url} · loads adapters of rank 4")
        assert good.fix == ""
        assert (bad.bad, bad.fix) == (True, "Start vLLM with --max-lora-rank 8, or lower [train] lora_r")
        assert set(server.adapters) == {name(scored)}, "what a stage uses is left alone"
        assert not list(scored.folder.glob("artifacts/probe*"))
    full = by(server, train='[train]\nmethod = "full"\n')
    (found,) = judge_servers.findings(full, scored.folder)
    assert found.bad
    assert list(judge_servers.findings(scored.config, scored.folder)) == []
