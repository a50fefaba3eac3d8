"""The doctor asks a real server for one reply, as rewriting will, and says what to do about each way to fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.config import addresses
from engine.config import schema as configs
from engine.doctor import endpoint, memory
from engine.doctor.endpoint import SENTENCE, SYSTEM, ExpectedRequests
from engine.doctor.finding import Finding
from tests.support.chat_server import MODEL, Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def found(
    server: Server, more: str = "", asked: ExpectedRequests | None = None, model: str = MODEL
) -> dict[str, Finding]:
    text = f'[teacher]\nbackend = "openai"\nurl = "{server.url}"\nmodel = "{model}"\n{more}'
    return {one.name: one for one in endpoint.findings(configs.parse(text, "config.toml"), asked or ExpectedRequests())}


def test_one_fixed_sentence_is_sent_as_rewriting_will_send_and_its_cost_is_said(server: Server) -> None:
    more = f'temperature = 0.3\ntop_p = 0.9\nprices = {{"{MODEL}" = {{input = 2, output = 10}}}}\n'
    said = found(server, more, ExpectedRequests(system=True))
    (body,) = server.bodies
    assert [turn["content"] for turn in body["messages"]] == [SYSTEM, SENTENCE]
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.3, 0.9, endpoint.REPLY)
    assert said["reply"].mark == "✔"
    assert "11 tokens in, 7 out, $0.000092" in said["reply"].text
    assert [turn["role"] for turn in body["messages"]] == ["system", "user"]


def test_options_that_the_model_refuses_are_named(server: Server) -> None:
    server.strict = ("max_tokens", "temperature")
    said = found(server)["reply"]
    assert said.mark == "✔", "rewriting goes on without them too"
    assert "max_completion_tokens instead of max_tokens" in said.text
    assert "does not accept temperature" in said.text


@pytest.mark.parametrize(
    ("fault", "mark", "says", "fix"),
    [
        (
            "overflow",
            "✘",
            "answered 400: This model's maximum context length is 64 tokens",
            "change the named setting in [teacher]",
        ),
        ("broken", "!", "answered 500", "server's log"),
        ("quota", "✘", "exceeded your current quota", "your account with the provider"),
        ("cut", "✘", "connection failed", "usually ends in /v1"),
        ("half", "✘", "the reply cannot be read", "OpenAI-compatible"),
        ("nothing", "✘", "has no choices", "OpenAI-compatible"),
        ("empty", "✘", "but no text", "chat template"),
    ],
)
def test_each_fault_has_its_fix(server: Server, fault: str, mark: str, says: str, fix: str) -> None:
    server.fault = lambda text: fault
    said = found(server)["reply"]
    assert said.mark == mark
    assert says in said.text
    assert fix in said.fix
    assert sum(server.seen.values()) == 1, "asked once and no more"


def test_a_server_that_hangs_is_not_waited_for_longer_than_a_call_may_take(server: Server) -> None:
    server.fault = lambda text: "hang"
    said = found(server, "timeout_s = 0.2\n")["reply"]
    assert "no reply within 0.2 s" in said.text
    assert "timeout_s" in said.fix


def test_a_model_that_only_thinks_is_told_from_an_empty_reply(server: Server) -> None:
    server.answer = lambda text: ""
    server.fault = lambda text: "own"
    assert found(server)["reply"].bad
    server.answer, server.fault = None, lambda text: "thinks"
    said = found(server)["reply"]
    assert said.mark == "!"
    assert "the model reasons before it answers" in said.fix


def test_a_server_that_counts_nothing_is_told_with_what_that_means_for_caps(server: Server) -> None:
    server.counts = False
    said = found(server)["reply"]
    assert said.mark == "!"
    assert "does not report token usage" in said.text
    assert "report usage" in said.fix


def test_a_wrong_key_is_named_by_its_variable_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(key="sk-right-0123456789") as server:
        assert "[teacher] key_env" in found(server)["reply"].fix, "none is named"
        monkeypatch.setenv("MY_KEY", "sk-wrong-0123456789")
        said = found(server, 'key_env = "MY_KEY"\n')["reply"]
        assert said.bad
        assert "answered 401" in said.text
        assert "MY_KEY" in said.fix
        assert "sk-wrong" not in said.text + said.fix
        monkeypatch.delenv("MY_KEY")
        assert "MY_KEY" in found(server, 'key_env = "MY_KEY"\n')["teacher"].fix


def test_a_model_that_is_not_listed_may_be_there_all_the_same(server: Server) -> None:
    said = found(server, model="other")
    assert list(said) == ["teacher"]
    assert said["teacher"].bad
    assert said["teacher"].fix == f"set [teacher] model to one of: {MODEL}"
    with Server(key="sk-right-0123456789") as locked:
        assert "key_env" in found(locked, model="other")["reply"].fix, "what else is wrong is not kept back"
    server.listed = (f"{MODEL}:latest",)
    assert found(server)["reply"].mark == "✔", "as with Ollama, which knows a name without its tag"
    server.listed = None
    assert found(server)["reply"].mark == "✔", "a server need not list anything"


def test_a_context_that_is_too_small_is_known_before_anything_is_refused(server: Server) -> None:
    server.context = 4096
    assert "context" not in found(server, asked=ExpectedRequests(longest=1000))
    said = found(server, asked=ExpectedRequests(longest=3000))["context"]
    assert said.mark == "!"
    assert f"max_new_tokens = {4096 - 3000 - memory.REQUEST}" in said.fix
    said = found(server, "max_new_tokens = 4096\n", ExpectedRequests(longest=1000))["context"]
    assert said.bad, "no request at all would be taken"
    assert "--max-model-len" in said.fix


def test_nothing_is_sent_to_another_machine_unless_a_person_says_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "HERE", ())  # as if it were one
    price = f'prices = {{"{MODEL}" = {{input = 2, output = 10}}}}\n'
    said = found(server, price)["reply"]
    assert not server.bodies
    assert said.mark == "!"
    assert "not tested: 127.0.0.1" in said.text
    assert "--ask" in said.fix
    assert "($" in said.fix
    assert "--ask" in found(server, model="other")["teacher"].fix
    server.listed = None
    assert "--ask" in found(server, price)["teacher"].fix, "without a list only a request can tell"
    server.listed = (MODEL,)
    assert found(server, price, ExpectedRequests(anyway=True))["reply"].mark == "✔"
    assert len(server.bodies) == 1


def test_a_server_that_is_not_there_is_told_with_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "HERE", ())
    text = '[teacher]\nbackend = "openai"\nurl = "http://127.0.0.1:9/v1"\nmodel = "x"\n'
    (said,) = endpoint.findings(configs.parse(text, "config.toml"), ExpectedRequests())
    assert said.bad
    assert said.fix == "check that the server is running, and [teacher] url, which usually ends in /v1"
