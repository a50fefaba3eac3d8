"""An endpoint that lies: what is said of each lie, within time and memory, and that no row goes elsewhere."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable, Iterator

import pytest

from engine.backends.offered_models import available
from engine.backends.openai import Endpoint, EndpointLimits
from engine.errors import BackendError, EndpointError
from tests.engine.backends.test_openai import ask, call
from tests.support import lies
from tests.support.chat_server import MODEL, Server


@pytest.fixture
def liar() -> Iterator[Server]:
    with Server() as running:
        running.lies = lies.ALL
        yield running


def test_what_is_no_reply_fails_its_row_alone_and_says_why(liar: Server) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    one = EndpointLimits(concurrency=1, timeout_s=30, retries=0)
    found = ask(liar, ["ok a", *(f"{word} x" for word in lies.UNUSABLE), "ok b"], one)
    assert (found["ok a"].text, found["ok b"].text) == ("A", "B")
    for word, (_, reason) in lies.UNUSABLE.items():
        assert re.search(reason, found[f"{word} x"].error or ""), (word, found[f"{word} x"])
    assert liar.seen.total() == len(lies.UNUSABLE) + 2, "none is asked again and again"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    assert grown < 400, f"{grown} MB"


def test_what_can_be_read_is_read_and_another_model_is_told_once(liar: Server) -> None:
    endpoint = Endpoint(liar.url, MODEL, limits=EndpointLimits(concurrency=1, timeout_s=30))
    try:
        for word in (*lies.USABLE, "other"):
            reply = endpoint.try_out(call(f"{word} x"))
            assert reply.text == lies.USABLE[word][1]
            reply.text.encode()
            assert min(reply.tokens_in, reply.tokens_out) >= 0, "nobody is paid by a reply"
        assert [note for note in endpoint.notes if "says that it answers" in note] == [
            f"{liar.url}: {MODEL} was asked, but a-cheaper-one says that it answers"
        ]
    finally:
        endpoint.close()


@pytest.mark.parametrize("name", [f"org/{MODEL}", f"{MODEL}-2026-01-01", MODEL.upper(), None])
def test_a_name_that_says_more_is_the_same_model(name: str | None, liar: Server) -> None:
    liar.lies = {"named": lies.said(model=name)}
    endpoint = Endpoint(liar.url, MODEL, limits=EndpointLimits(concurrency=1, timeout_s=30))
    try:
        assert endpoint.try_out(call("named x")).text == "GOOD"
        assert endpoint.notes == []
    finally:
        endpoint.close()


@pytest.mark.parametrize("name", [f"{MODEL}-mini", MODEL[: MODEL.index("-")]])
def test_a_name_that_only_begins_alike_is_another_model(name: str, liar: Server) -> None:
    liar.lies = {"named": lies.said(model=name)}
    endpoint = Endpoint(liar.url, MODEL, limits=EndpointLimits(concurrency=1, timeout_s=30))
    try:
        endpoint.try_out(call("named x"))
        assert endpoint.notes == [f"{liar.url}: {MODEL} was asked, but {name} says that it answers"]
    finally:
        endpoint.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_rows_go_nowhere_that_was_not_named(status: int, liar: Server) -> None:
    with Server() as elsewhere:
        place = f"{elsewhere.url}/chat/completions?key=abc"
        liar.lies = {"away": lies.raw(b"", status, Location=place)}
        with pytest.raises(BackendError, match=r"redirects to http.*/chat/completions, .*\[teacher\] url"):
            ask(liar, ["away x"])
        assert elsewhere.seen.total() == 0


def test_nor_is_the_list_of_models_fetched_elsewhere() -> None:
    with Server() as elsewhere, Server() as moved:
        handler = moved.handler()
        handler.do_GET = lies.raw(b"", 307, Location=f"{elsewhere.url}/models")  # type: ignore[attr-defined]
        moved._server.RequestHandlerClass = handler
        with pytest.raises(EndpointError, match="answered 307"):
            available(moved.url, "")


@pytest.mark.parametrize(
    ("answer", "reason"), [(lies.endless, "did not return a list"), (lies.trickle, "did not list its models within")]
)
def test_a_list_of_models_without_end_is_not_waited_for(answer: Callable[[lies.Handler], None], reason: str) -> None:
    with Server() as server:
        handler = server.handler()
        handler.do_GET = answer  # type: ignore[attr-defined]
        server._server.RequestHandlerClass = handler
        with pytest.raises(EndpointError, match=reason):
            available(server.url, "", timeout_s=30.0 if answer is lies.endless else 1.0)


def test_what_nobody_expected_ends_the_stage_instead_of_waiting_for_ever(
    liar: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(liar.url, MODEL, limits=EndpointLimits(concurrency=1, timeout_s=30))
    monkeypatch.setattr(endpoint.chat, "read", lambda *_: {"old": 1}["new"])
    endpoint.submit(call("ok a"))
    with pytest.raises(KeyError):
        endpoint.take()
    endpoint.close()
