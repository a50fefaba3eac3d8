"""The OpenAI-compatible backend against a real server that misbehaves in every way that providers do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from engine.backends import Call, Generation, Lost
from engine.backends.offered_models import available
from engine.backends.openai import Endpoint, EndpointLimits
from engine.backends.rate_limits import Bucket, Gate, told_s
from engine.errors import BackendError
from engine.store.rows import Message
from tests.support.chat_server import MODEL, Server

PATIENT = EndpointLimits(concurrency=8, timeout_s=20, retries=2)
HASTY = EndpointLimits(concurrency=8, timeout_s=0.3, retries=0)


def call(text: str, tag: object = None) -> Call:
    return Call(tag if tag is not None else text, (Message("user", text),), 32, 0.5, 0.9, 7)


def answered(endpoint: Endpoint, texts: list[str]) -> dict[str, Generation]:
    """Everything at once, and again whatever asks for it; results by text."""
    for text in texts:
        endpoint.submit(call(text))
    out: dict[str, Generation] = {}
    while endpoint.in_flight:
        for done, generation in endpoint.take():
            if isinstance(generation, Lost):
                if generation.asks:
                    endpoint.again(done)
                continue
            assert done.tag not in out, "one result for each call"
            out[str(done.tag)] = generation
    return out


def ask(
    server: Server, texts: list[str], limits: EndpointLimits = PATIENT, model: str = MODEL
) -> dict[str, Generation]:
    """Everything at once; results by text."""
    endpoint = Endpoint(server.url, model, limits=limits)
    try:
        return answered(endpoint, texts)
    finally:
        endpoint.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def test_a_good_reply_comes_with_its_tokens_and_what_was_asked_is_sent(server: Server) -> None:
    found = ask(server, ["ok hello there"])["ok hello there"]
    assert found == Generation("HELLO THERE", "stop", 11, 7)
    sent = server.bodies[0]
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["top_p"], sent["seed"]) == (
        MODEL,
        32,
        0.5,
        0.9,
        7,
    )
    assert sent["messages"] == [{"role": "user", "content": "ok hello there"}]


@pytest.mark.parametrize("text", ["busy once", "flaky once"])
def test_what_passes_is_tried_again_by_the_client(server: Server, text: str) -> None:
    assert ask(server, [text])[text].text == "ONCE"
    assert server.seen[text] == 2


@pytest.mark.parametrize(
    ("text", "reason", "calls"),
    [
        ("broken x", "answered 500", 3),
        ("overflow x", "maximum context length", 1),
        ("half x", "cannot be read", 1),
        ("nothing x", "no choice", 1),
        ("cut x", "connection failed", 3),
    ],
)
def test_a_call_that_fails_for_good_is_a_result_with_its_reason(
    server: Server, text: str, reason: str, calls: int
) -> None:
    found = ask(server, ["ok a", text, "ok b"])
    assert reason in (found[text].error or "")
    assert found["ok a"].text == "A"
    assert found["ok b"].text == "B"
    assert server.seen[text] == calls


@pytest.mark.parametrize(
    ("text", "counts"),
    [("hang x", True), ("drip x", True), ("cut x", True), ("late x", True), ("broken x", False), ("busy x", False)],
)
def test_a_try_that_may_have_been_counted_is_told_and_another_one_is_asked_for(
    server: Server, text: str, counts: bool
) -> None:
    timeout_s = 3.0 if text in ("hang x", "drip x") else 20  # others end by themselves, on a machine under load later
    endpoint = Endpoint(server.url, MODEL, limits=EndpointLimits(concurrency=1, timeout_s=timeout_s, retries=2))
    endpoint.submit(call(text))
    endpoint.submit(call("ok a"))
    told: list[Lost] = []
    while endpoint.in_flight:
        for done, found in endpoint.take():
            if isinstance(found, Lost):
                assert done.tag == text
                told.append(found)
                (endpoint.again if len(told) == 1 else endpoint.leave)(done)
    endpoint.close()
    assert [(one.counts, one.asks, one.tries) for one in told] == [(True, True, 1), (True, True, 2)] * counts
    assert server.seen[text] == (2 if counts else 3 if text == "broken x" else 2), "none that was not asked for"


def test_who_leaves_a_call_gets_what_was_held_back(server: Server) -> None:
    """A failure waits for a sign of life; when the last call that could give one is left, it is told."""
    endpoint = Endpoint(server.url, MODEL, limits=EndpointLimits(concurrency=2, timeout_s=20, retries=1))
    endpoint.submit(call("ok a"))
    assert [done.tag for done, _ in endpoint.take()] == ["ok a"]
    endpoint.submit(call("cut x"))
    endpoint.submit(call("broken y"))
    told: list[str] = []
    while endpoint.in_flight or not told:
        for done, found in endpoint.take():
            if isinstance(found, Lost):
                endpoint.leave(done)
            else:
                told.append(str(done.tag))
    endpoint.close()
    assert told == ["broken y"]


def test_who_cannot_be_connected_to_has_counted_nothing() -> None:
    with Server() as gone:
        pass
    endpoint = Endpoint(gone.url, MODEL, limits=EndpointLimits(concurrency=1, retries=0))
    for number in range(10):
        endpoint.submit(call("ok x", number))
    with pytest.raises(BackendError, match="no reply to 10 calls in a row"):
        endpoint.take()  # no lost try is told before it
    endpoint.close()


@pytest.mark.parametrize("text", ["hang x", "drip x"])
def test_a_hang_ends_with_the_timeout(server: Server, text: str) -> None:
    """Others are answered. On a machine under load one may take as long, and is asked again."""
    endpoint = Endpoint(server.url, MODEL, limits=HASTY)
    found = answered(endpoint, [text, "ok a"])
    assert found[text].error == "no reply within 0.3 s"
    for _ in range(100):
        if not found["ok a"].error:
            break
        assert found["ok a"].error == "no reply within 0.3 s"
        found |= answered(endpoint, ["ok a"])
    endpoint.close()
    assert found["ok a"].text == "A"


def test_who_is_told_to_wait_waits(server: Server) -> None:
    """A wait that was asked for is no try."""
    limits = EndpointLimits(concurrency=1, timeout_s=20, retries=0)
    found = ask(server, ["wait a", "ok b", "ok c"], limits)
    assert [found[text].text for text in ("wait a", "ok b", "ok c")] == ["A", "B", "C"]
    assert server.seen["wait a"] == 2
    assert server.times[1] - server.times[0] >= 1.0


async def test_a_gate_holds_everybody() -> None:
    gate = Gate()
    await gate.passed()
    start = time.monotonic()
    gate.shut(0.1)
    gate.shut(0.01)  # a shorter wait does not open it earlier
    await asyncio.gather(gate.passed(), gate.passed())
    assert time.monotonic() - start >= 0.1


def test_a_wait_is_told_in_three_ways() -> None:
    assert told_s({"retry-after": "2", "retry-after-ms": "1500"}) == 1.5
    assert told_s({"retry-after": "2"}) == 2.0
    assert told_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    until = {"retry-after": "Wed, 21 Oct 2055 07:28:30 GMT", "date": "Wed, 21 Oct 2055 07:28:00 GMT"}
    assert told_s(until) == 30.0, "by the clock of who says it, not by ours"
    assert told_s({"retry-after": "soon"}) is None
    nonsense = "Mon, 01 Jan 99999 00:00:00 GMT"
    assert told_s({"retry-after": nonsense}) is None
    assert told_s({**until, "date": nonsense}) is None
    assert told_s({}) is None


def test_a_used_up_quota_is_not_waited_for(server: Server) -> None:
    with pytest.raises(BackendError, match="quota with this provider is used up"):
        ask(server, ["ok a", "quota x"])
    assert server.seen["quota x"] == 1


def test_options_that_a_model_refuses_are_left_out(server: Server) -> None:
    server.strict = ("max_tokens", "temperature", "seed")
    endpoint = Endpoint(server.url, MODEL, limits=PATIENT)
    for i in range(4):
        endpoint.submit(call(f"ok {i}"))
    done = []
    while endpoint.in_flight:
        done += endpoint.take()
    endpoint.close()
    assert {generation.text for _, generation in done if isinstance(generation, Generation)} == {"0", "1", "2", "3"}
    assert {*server.bodies[-1]} == {"model", "messages", "max_completion_tokens", "top_p"}
    assert len(endpoint.notes) == 3


def test_an_endpoint_that_refuses_everything_takes_no_tries(server: Server) -> None:
    with pytest.raises(BackendError, match=r"first 10 calls all failed.*context length"):
        ask(server, [f"overflow {i}" for i in range(30)])
    assert sum(server.seen.values()) <= 30
    found = ask(server, ["overflow a", "overflow b"])
    assert all(one.final for one in found.values()), "of a few it is the rows that are too long"


def test_an_empty_and_a_cut_off_reply_are_told_apart(server: Server) -> None:
    found = ask(server, ["empty x", "long story"])
    assert found["empty x"] == Generation("", "stop", 11, 7)
    assert found["long story"].finish_reason == "length"


def test_a_wrong_model_stops_everything_and_says_what_there_is_to_do(server: Server) -> None:
    with pytest.raises(BackendError, match=r"does not exist.*model = 'gpt-99'.*/models"):
        ask(server, ["ok a"], model="gpt-99")


def test_a_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(key="sk-right-0123456789") as server:
        monkeypatch.setenv("SOME_KEY", "sk-right-0123456789")
        endpoint = Endpoint(server.url, MODEL, "SOME_KEY")
        endpoint.submit(call("ok a"))
        assert endpoint.take()[0][1] == Generation("A", "stop", 11, 7)
        endpoint.close()
        monkeypatch.setenv("SOME_KEY", "sk-wrong-9876543210")
        endpoint = Endpoint(server.url, MODEL, "SOME_KEY")
        endpoint.submit(call("ok a"))
        with pytest.raises(BackendError, match="key_env") as told:
            endpoint.take()
        endpoint.close()
        assert "9876543210" not in str(told.value)


def test_a_missing_key_and_a_wrong_address_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(BackendError, match="NO_SUCH_KEY"):
        Endpoint("http://127.0.0.1:1/v1", MODEL, "NO_SUCH_KEY")
    with pytest.raises(BackendError, match="is not a URL"):
        Endpoint("localhost:8000", MODEL)


def test_an_outage_is_told_from_rows_that_fail(server: Server) -> None:
    server.down = True
    with pytest.raises(BackendError, match="no reply to 20 calls in a row"):
        ask(server, [f"ok {i}" for i in range(40)], EndpointLimits(concurrency=10, retries=0))


def test_failures_wait_for_a_sign_of_life_before_they_count(server: Server) -> None:
    limits = EndpointLimits(concurrency=1, retries=0)
    endpoint = Endpoint(server.url, MODEL, limits=limits)
    for text in ("broken a", "broken b", "ok c", "ok d"):
        endpoint.submit(call(text))
    first = endpoint.take()
    while not any(done.tag == "ok c" for done, _ in first):
        first += endpoint.take()
    assert [done.tag for done, _ in first][:3] == ["broken a", "broken b", "ok c"]
    while endpoint.in_flight:
        endpoint.take()
    endpoint.close()


def test_no_more_calls_at_once_than_allowed() -> None:
    with Server(pause_s=0.02) as server:
        found = ask(server, [f"ok {i}" for i in range(30)], EndpointLimits(concurrency=5))
        assert len(found) == 30
        assert 1 < server.most_at_once <= 5


def test_closing_gives_up_what_is_in_flight() -> None:
    with Server() as server:
        endpoint = Endpoint(server.url, MODEL)
        endpoint.submit(call("hang x"))
        endpoint.close()


def test_a_bucket_lets_out_what_flows_in() -> None:
    now = [0.0]
    bucket = Bucket(60, burst_s=2, clock=lambda: now[0])
    assert [bucket.wait_s(1) for _ in range(4)] == [0.0, 0.0, 1.0, 2.0]
    now[0] = 3.0
    assert bucket.wait_s(1) == 0.0
    bucket.give_back(1)
    assert bucket.wait_s(1) == 0.0
    assert Bucket(0).wait_s(1e9) == 0.0


def test_what_an_endpoint_offers_can_be_asked(server: Server) -> None:
    assert available(server.url, "") == {MODEL: None}
    server.context = 8192
    assert available(server.url, "") == {MODEL: 8192}
    with pytest.raises(BackendError, match="cannot reach it"):
        available("http://127.0.0.1:9/v1", "", timeout_s=1)


def test_an_endpoint_that_dies_near_the_end_is_told_from_rows_that_fail(server: Server) -> None:
    """Fewer calls are left than tell an outage by their number: nobody pays for it with a try."""
    endpoint = Endpoint(server.url, MODEL, limits=EndpointLimits(concurrency=1, timeout_s=20, retries=0))
    endpoint.submit(call("ok a"))
    assert [done.tag for done, _ in endpoint.take()] == ["ok a"]
    endpoint.submit(call("cut x"))
    found = [one for _, one in endpoint.take() if isinstance(one, Generation)]
    assert "connection failed" in (found[0].error or ""), "the server is there: it is the row"
    server.down = True
    endpoint.submit(call("ok b"))
    with pytest.raises(BackendError, match=r"no reply to \d+ calls? in a row .* then resume"):
        endpoint.take()
    endpoint.close()
