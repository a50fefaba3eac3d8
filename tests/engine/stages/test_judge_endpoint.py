"""An endpoint that rates: the digits among its likeliest tokens, calls in the books, and errors as rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.backends.endpoint_judge import EndpointJudge
from engine.config import schema as configs
from engine.errors import BackendError, ConfigError, Waiting
from engine.signals import rating_stream, ratings
from engine.signals.rating_budget import AROUND, SPENT
from engine.stages import judge
from engine.store.rows import RATING_COLUMNS, Ratings
from engine.store.teacher import TeacherCall
from tests.support import tiny
from tests.support.chat_server import MODEL, Server

CHATS = tiny.chats(4)


def token(chosen: str, chances: dict[str, float] | None = None) -> dict[str, Any]:
    """A token with the likeliest ones in its place, as the API tells them."""
    top = [{"token": name, "logprob": math.log(p), "bytes": None} for name, p in (chances or {}).items()]
    own = math.log((chances or {}).get(chosen, 0.9))
    return {"token": chosen, "logprob": own, "bytes": None, "top_logprobs": top}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(answer=lambda _: "7") as running:
        running.places = lambda _: [token("7", {"7": 0.6, "9": 0.2, "Well": 0.1})]
        yield running


def project(folder: Path, model: Path, server: Server, extra: str = "", teacher: str = "") -> tiny.Project:
    asked = f'[judge]\nmodel = "endpoint"\nurl = "{server.url}"\nendpoint_model = "{MODEL}"\n{extra}'
    prices = f'[teacher]\nprices = {{"{MODEL}" = {{input = 2.0, output = 10.0}}}}\n'
    return tiny.Project(folder, tiny.make_config(model, asked + prices + teacher), CHATS)


def test_the_digits_among_the_likeliest_tokens_are_the_rating(tmp_path: Path, tiny_model: Path, server: Server) -> None:
    made = project(tmp_path / "p", tiny_model, server)
    judge.run(made.ctx("judge"))
    rows = made.ctx("judge").rows(Ratings)
    assert len(rows) == len(CHATS)
    for row in rows:
        assert [getattr(row, name) for name in RATING_COLUMNS] == pytest.approx([7.5] * 6)
        assert (row.quality, row.digit_mass) == pytest.approx((7.5, 0.8))
    (first, *_) = server.bodies
    assert (first["logprobs"], first["top_logprobs"], first["temperature"]) == (True, 20, 0.0)
    assert any("the texts of 4 samples are sent to" in text for text in made.events())


def test_calls_are_in_the_books_and_nothing_is_asked_twice(tmp_path: Path, tiny_model: Path, server: Server) -> None:
    made = project(tmp_path / "p", tiny_model, server)
    judge.run(made.ctx("judge"))
    calls = made.ctx("judge").rows(TeacherCall)
    assert len(calls) == 6 * len(CHATS) == sum(server.replied.values())
    assert {(call.step, call.model, call.tokens_in, call.tokens_out) for call in calls} == {("judge", MODEL, 11, 7)}
    assert calls[0].cost == pytest.approx((11 * 2 + 7 * 10) / 1e6)
    assert {call.sample_id for call in calls} == set(made.ctx("judge").dataset().ids)
    judge.run(made.ctx("judge"))
    assert len(server.bodies) == len(calls)


def test_the_caps_stop_the_judge(tmp_path: Path, tiny_model: Path, server: Server) -> None:
    free = project(tmp_path / "free", tiny_model, server)
    templates = ratings.judge_templates(free.folder)
    chats = [ratings.judge_chats(templates, s.messages) for s in free.ctx("judge").dataset()]
    most = max(sum(len(m.content.encode()) + AROUND for chat in six for m in chat) + 6 * 8 for six in chats)
    made = project(tmp_path / "p", tiny_model, server, teacher=f"budget_tokens = {most}\nconcurrency = 1\n")
    judge.run(made.ctx("judge"))
    rows = made.ctx("judge").rows(Ratings)
    assert len(rows) == len(CHATS)
    left = [row for row in rows if row.quality is None]
    assert {row.judge_error for row in left} == {SPENT}
    assert 1 <= len(left) < len(CHATS)
    spent = sum(call.tokens_in + call.tokens_out for call in made.ctx("judge").rows(TeacherCall))
    assert 0 < spent <= most
    assert any(f"{len(left)} of 4 samples were not rated: the teacher's budget is spent" in t for t in made.events())


def test_a_digit_behind_a_few_words_is_found(tmp_path: Path, tiny_model: Path, server: Server) -> None:
    server.places = lambda _: [token("Rating"), token(":"), token(" 4", {" 4": 0.5, " 2": 0.5})]
    made = project(tmp_path / "p", tiny_model, server)
    judge.run(made.ctx("judge"))
    assert [row.quality for row in made.ctx("judge").rows(Ratings)] == pytest.approx([3.0] * 4)


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        (None, "the endpoint tells no log-probabilities"),
        (lambda _: [token("Sure", {"Sure": 0.9, "7": 0.01})], "only 1.0% of the probability lies on digits"),
    ],
)
def test_a_reply_without_a_rating_is_an_error(
    tmp_path: Path, tiny_model: Path, server: Server, places: Any, reason: str
) -> None:
    server.places = places
    made = project(tmp_path / "p", tiny_model, server, "min_digit_mass = 0.05\n")
    judge.run(made.ctx("judge"))
    errors = [row.judge_error or "" for row in made.ctx("judge").rows(Ratings)]
    assert [reason in error for error in errors] == [True] * len(CHATS)
    assert any("the judge could not rate 4 of 4 samples" in text for text in made.events())


def test_candidates_are_rated_and_counted_too(tmp_path: Path, tiny_model: Path, server: Server) -> None:
    made = project(tmp_path / "p", tiny_model, server)
    ctx = made.ctx("verify")
    id = ctx.dataset().ids[0]
    found = rating_stream.ahead(ctx, ctx.config.judge, ctx.workdir("r"), [((id, "quality"), CHATS[1])], 0)
    assert found[id, "quality"].quality == pytest.approx(7.5)
    assert {call.sample_id for call in ctx.rows(TeacherCall)} == {id}


def test_the_caps_stop_the_ratings_of_candidates_and_a_person_is_asked(
    tmp_path: Path, tiny_model: Path, server: Server
) -> None:
    caps = "budget_tokens = 20\nconcurrency = 1\n"
    made = project(tmp_path / "p", tiny_model, server, teacher=caps)
    ctx = made.ctx("verify")
    asked = [((id, "quality"), chat) for id, chat in zip(ctx.dataset().ids, CHATS, strict=True)]
    with pytest.raises(Waiting, match="4 of 4 rewrites were not rated: the teacher's budget is spent"):
        rating_stream.ahead(ctx, ctx.config.judge, ctx.workdir("r"), asked, 0)
    again = rating_stream.ahead(ctx, ctx.config.judge, ctx.workdir("r"), asked, 0)
    assert {one.error for one in again.values()} == {SPENT}, "who goes on unchanged is not asked again"
    assert any("4 of 4 rewrites were not rated" in text for text in made.events())
    assert not server.bodies
    raised = made.ctx(
        "verify",
        config=configs.restore(configs.snapshot(made.config).replace('"budget_tokens":20,', '"budget_tokens":0,')),
    )
    found = rating_stream.ahead(raised, raised.config.judge, raised.workdir("r"), asked, 0)
    assert [one.quality for one in found.values()] == pytest.approx([7.5] * 4)


def test_every_server_gets_as_many_requests_ahead_as_one(tmp_path: Path, tiny_model: Path, server: Server) -> None:
    more = 'more_urls = ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]\n'
    made = project(tmp_path / "p", tiny_model, server, more, "[vllm]\nin_flight = 10\n")
    ctx = made.ctx("judge")
    engine = EndpointJudge(ctx.config.judge, ctx.config.teacher)
    try:
        assert rating_stream.Asker.of(ctx, engine, ctx.config.judge).room == 30
    finally:
        engine.close()


def test_a_server_that_is_left_out_is_told(tmp_path: Path, tiny_model: Path, server: Server) -> None:
    with Server(answer=lambda _: "7", key="sk-another") as other:
        made = project(tmp_path / "p", tiny_model, server, f'more_urls = ["{other.url}"]\n')
        judge.run(made.ctx("judge"))
    assert [row.quality for row in made.ctx("judge").rows(Ratings)] == pytest.approx([7.5] * len(CHATS))
    assert [text for text in made.events() if f"{other.url}: " in text and "left out" in text]


def test_a_wrong_model_names_the_section(tmp_path: Path, tiny_model: Path, server: Server) -> None:
    made = project(tmp_path / "p", tiny_model, server)
    other = configs.restore(configs.snapshot(made.config).replace(MODEL, "unknown"))
    with pytest.raises(BackendError, match=r"\[judge\] endpoint_model = 'unknown'"):
        judge.run(made.ctx("judge", config=other))


def test_an_endpoint_needs_an_address_and_a_model() -> None:
    with pytest.raises(ConfigError, match="needs url and endpoint_model"):
        configs.parse('[judge]\nmodel = "endpoint"\n', "config.toml")
