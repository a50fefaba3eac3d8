"""Several servers with one model: who gets a call, and what happens when one of them fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import openai
import pytest

from engine.backends import Generation, Lost
from engine.backends.chat import Chat
from engine.backends.openai import PATIENCE_S, Endpoint, EndpointLimits
from engine.backends.rate_limits import Gate
from engine.backends.servers import LONGEST_REST_S, Server, Servers
from engine.config import schema as configs
from engine.doctor import endpoint as endpoint_check
from engine.doctor import privacy
from engine.errors import BackendError
from engine.loop import spec
from tests.engine.backends.test_openai import answered, call
from tests.support import tiny
from tests.support.chat_server import MODEL
from tests.support.chat_server import Server as ChatServer


@pytest.fixture
def pair() -> Iterator[tuple[ChatServer, ChatServer]]:
    with ChatServer(pause_s=0.01) as one, ChatServer(pause_s=0.01) as other:
        yield one, other


def ask(
    servers: tuple[ChatServer, ...], texts: list[str], limits: EndpointLimits, key_env: str = ""
) -> tuple[dict[str, Generation], list[str], str]:
    """The results by text, what was noted, and who replied."""
    first, *more = (server.url for server in servers)
    endpoint = Endpoint(first, MODEL, key_env, limits, more_urls=more)
    try:
        return answered(endpoint, texts), endpoint.notes, endpoint.servers.shares()
    finally:
        endpoint.close()


TEXTS = [f"ok {number}" for number in range(40)]
FEW = EndpointLimits(concurrency=4, timeout_s=20, retries=3)


def test_calls_are_shared_and_each_server_keeps_its_own_limit(pair: tuple[ChatServer, ChatServer]) -> None:
    found, notes, shares = ask(pair, TEXTS, FEW)
    assert {text: reply.text for text, reply in found.items()} == {text: text.split()[1] for text in TEXTS}
    counts = [sum(server.replied.values()) for server in pair]
    assert sum(counts) == 40
    assert min(counts) >= 10, "the second server has hardly helped"
    assert max(server.most_at_once for server in pair) <= FEW.concurrency
    assert notes == []
    assert shares == f"{pair[0].url} ({counts[0]}), {pair[1].url} ({counts[1]})"


@pytest.mark.parametrize("dead", [0, 1])
def test_a_server_that_fails_costs_no_call(pair: tuple[ChatServer, ChatServer], dead: int) -> None:
    pair[dead].down = True
    found, _, _ = ask(pair, TEXTS, FEW)
    assert [text for text, reply in found.items() if reply.error] == []
    assert sum(pair[1 - dead].replied.values()) == 40


def test_a_server_that_is_not_there_costs_no_call(pair: tuple[ChatServer, ChatServer]) -> None:
    with ChatServer() as gone:
        url = gone.url
    endpoint = Endpoint(url, MODEL, limits=FEW, more_urls=[pair[0].url])
    try:
        assert [reply.error for reply in answered(endpoint, TEXTS).values()] == [None] * 40
    finally:
        endpoint.close()


def test_a_server_that_refuses_the_key_is_left_out_with_a_word(
    pair: tuple[ChatServer, ChatServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-one")
    pair[0].key, pair[1].key = "sk-another", "sk-one"
    found, notes, _ = ask(pair, TEXTS, FEW, "SOME_KEY")
    assert [text for text, reply in found.items() if reply.error] == []
    assert len(notes) == 1, "it is said once, not for every call"
    assert notes[0].startswith(f"{pair[0].url}: ")
    assert notes[0].endswith("It is left out; the other servers go on")
    assert "sk-" not in notes[0]
    pair[1].key = "sk-third"
    with pytest.raises(BackendError, match="key_env"):
        ask(pair, TEXTS, FEW, "SOME_KEY")


def test_the_least_busy_server_that_does_not_rest_is_next() -> None:
    now = [0.0]
    chats = [Chat(f"http://127.0.0.1:{port}/v1", MODEL, "", 1.0) for port in (1, 2, 3)]
    try:
        one, two, three = (Server(chat, 4, 0, 0) for chat in chats)
        servers = Servers([one, two, three], lambda: now[0])
        one.busy, two.busy, three.busy = 2, 1, 3
        assert servers.next() is two
        assert servers.rest(two)
        assert servers.next() is one
        assert servers.leave_out(one)
        assert servers.next() is three
        assert not servers.rest(three, 0.5), "nobody is awake"
        assert servers.next() is three, "who wakes first"
        now[0] = 1.0
        assert servers.next() is two
        for _ in range(10):
            servers.rest(two)
        assert two.rests(now[0]) == LONGEST_REST_S, "the rest grows, but not for ever"
        two.replied()
        assert two.rests(now[0]) == 0.0
        assert servers.leave_out(two)
        assert not servers.leave_out(three), "the last one is never left out"
    finally:
        for chat in chats:
            chat.close()


def test_a_server_whose_rest_has_ended_gets_one_call_until_it_replies() -> None:
    now = [0.0]
    chats = [Chat(f"http://127.0.0.1:{port}/v1", MODEL, "", 1.0) for port in (1, 2)]
    try:
        well, ill = (Server(chat, 4, 0, 0) for chat in chats)
        servers = Servers([well, ill], lambda: now[0])
        well.busy = 3
        servers.rest(ill)
        now[0] = 1.0
        assert servers.next() is ill, "its rest is over: it is tried"
        ill.busy = 1
        assert servers.next() is well, "one call is enough to see whether it works"
        assert servers.rest(well) is False, "who is on trial takes over nothing"
        well.replied()
        ill.busy = 0
        servers.rest(ill)
        assert ill.rests(now[0]) == 2.0, "it still hangs"
        now[0], ill.busy = 3.0, 1
        ill.replied()
        assert servers.next() is ill, "it works again, and has fewer calls"
    finally:
        for chat in chats:
            chat.close()


def test_a_call_that_every_server_puts_off_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has slept enough when the others refuse: somebody is always awake."""
    now, asked = [0.0], [0]
    endpoint = Endpoint(
        "http://127.0.0.1:1/v1", MODEL, limits=FEW, more_urls=[f"http://127.0.0.1:{port}/v1" for port in (2, 3)]
    )
    endpoint.servers._clock = lambda: now[0]
    for server in endpoint.all:
        server.gate = Gate(lambda: now[0])

    async def put_off(*_: object) -> None:
        now[0], asked[0] = now[0] + 1.2, asked[0] + 1
        assert asked[0] < 3 * PATIENCE_S, "it is asked for ever"
        said: Any = SimpleNamespace(status_code=429, headers={"retry-after": "1"}, request=None)
        raise openai.RateLimitError("slow down", response=said, body=None)

    monkeypatch.setattr("engine.backends.openai._ask", put_off)
    try:
        endpoint.submit(call("ok"))
        (_, found), *_ = endpoint.take()
        assert isinstance(found, Lost)
        assert "slow down" in found.error
    finally:
        endpoint.close()


TEACHER = '[teacher]\nbackend = "openai"\nmodel = "teacher-8b"\nurl = "http://a.example/v1"\n'
JUDGE = '[judge]\nmodel = "endpoint"\nendpoint_model = "teacher-8b"\nurl = "http://c.example/v1"\n'


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('more_urls = ["http://a.example/v1"]\n', "names a server twice"),
        ('more_urls = ["b.example"]\n', "https"),
        ('more_urls = ["http://user:password@b.example/v1"]\n', "https"),
        ('more_urls = ["http://b.example/v1"]\nbatch = true\n', "works with one url"),
    ],
)
def test_servers_that_cannot_be_used_are_refused(tmp_path: Path, lines: str, reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        tiny.make_config(tmp_path, TEACHER + lines)


def test_more_servers_change_no_result_and_are_told_as_places_that_text_goes_to(tmp_path: Path) -> None:
    before = tiny.make_config(tmp_path, TEACHER + JUDGE)
    more = 'more_urls = ["http://b.example/v1", "http://127.0.0.1:8000/v1"]\n'
    after = tiny.make_config(tmp_path, TEACHER + more + JUDGE + more.replace("b.example", "d.example"))
    for stage in ("rewrite", "judge", "verify"):
        assert configs.slice_hash(before, spec(stage).config) == configs.slice_hash(after, spec(stage).config)
    said = privacy.leaves(after).text
    assert "selected samples are sent to a.example, b.example" in said
    assert "all samples and rewrites are sent to c.example, d.example ([judge] url)" in said


def test_the_doctor_looks_at_every_server(tmp_path: Path, pair: tuple[ChatServer, ChatServer]) -> None:
    with ChatServer() as gone:
        url = gone.url
    pair[1].listed = ("another",)
    config = tiny.make_config(
        tmp_path,
        f'[teacher]\nbackend = "openai"\nmodel = "{MODEL}"\nurl = "{pair[0].url}"\nmore_urls = ["{url}"]\n'
        f'[judge]\nmodel = "endpoint"\nendpoint_model = "{MODEL}"\nurl = "{pair[0].url}"\n'
        f'more_urls = ["{pair[1].url}"]\n',
    )
    teacher, judge, other = endpoint_check.others(config)
    assert (teacher.bad, teacher.fix) == (True, "check that the server is running, and [teacher] more_urls")
    assert (judge.bad, judge.text) == (False, f"{MODEL} at {pair[0].url}")
    assert (other.bad, other.fix) == (True, "set [judge] endpoint_model to one of: another")
