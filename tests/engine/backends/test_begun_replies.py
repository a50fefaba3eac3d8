"""Replies that are begun for the model and end at a closing text: here and at endpoints that can go on with a turn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.backends import Call, Generation, hf
from engine.backends.openai import Endpoint
from tests.support import tiny
from tests.support.chat_server import MODEL, Server

ASKED = [chat[:1] for chat in tiny.chats(5)]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[hf.HF]:
    yield hf.load(tiny_model, device="cpu", threads=1)
    hf.release()


def written(model: hf.HF, keep: Path, begun: str = "", ends: tuple[str, ...] = (), limit: int = 24) -> list[Generation]:
    calls = [Call(i, chat, limit, 0.0, 1.0, i, begun=begun, ends=ends) for i, chat in enumerate(ASKED)]
    return model.write(calls, rows=3, watch=lambda _: None, keep=keep)


@pytest.mark.parametrize("refills", [True, False])
def test_a_reply_ends_at_its_closing_text_and_others_go_on(model: hf.HF, tmp_path: Path, refills: bool) -> None:
    model.loaded.refills = refills
    whole = written(model, tmp_path / "k", begun="<p>")
    three = re.search(r"[a-z ]{3}", whole[0].text[6:])
    assert three is not None
    end = three[0]
    found = written(model, tmp_path / "k", begun="<p>", ends=(end,))
    for before, now in zip(whole, found, strict=True):
        said = before.text.removeprefix("<p>")
        if end not in said and before.finish_reason == "stop":
            said += end
        cut = said[: said.find(end) + len(end)] if end in said else said
        assert now == replace(now, text="<p>" + cut, finish_reason="stop" if end in said else "length")
        assert now.tokens_in == before.tokens_in
        assert now.tokens_out <= before.tokens_out
    assert found[0].tokens_out < whole[0].tokens_out


def test_a_begun_reply_goes_on_from_its_beginning(model: hf.HF, tmp_path: Path) -> None:
    plain = written(model, tmp_path / "k", limit=8)
    first = plain[0].text[:1]
    begun = written(model, tmp_path / "k", begun=first, limit=8)
    assert begun[0].text[: len(plain[0].text)] == plain[0].text, "as if it had written the first token itself"
    assert begun[0].tokens_in == plain[0].tokens_in + 1


def reply(server: Server, text: str, begun: str = "<prompt>", ends: tuple[str, ...] = ("</prompt>",)) -> Generation:
    endpoint = Endpoint(server.url, MODEL)
    try:
        endpoint.submit(Call(0, tiny.chat(text), 32, 0.5, 0.9, 7, begun=begun, ends=ends))
        ((_, found),) = endpoint.take()
        assert isinstance(found, Generation)
        return found
    finally:
        endpoint.close()


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (" new one", "<prompt> new one</prompt>"),
        ("<prompt>new one", "<prompt>new one</prompt>"),
        ("new one</prompt> and more", "<prompt>new one</prompt>"),
    ],
    ids=["without tags", "the opening again", "the closing too"],
)
def test_an_endpoint_is_asked_to_go_on_with_a_turn(said: str, text: str) -> None:
    with Server(answer=lambda _: said) as server:
        assert reply(server, "write") == Generation(text, "stop", 11, 7)
        (sent,) = server.bodies
    assert sent["messages"][-1] == {"role": "assistant", "content": "<prompt>"}
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
    assert sent["stop"] == ["</prompt>"]


def test_an_ordinary_request_says_nothing_of_it() -> None:
    with Server(answer=lambda _: "fine") as server:
        assert reply(server, "write", begun="", ends=()).text == "fine"
        (sent,) = server.bodies
    assert not {"continue_final_message", "add_generation_prompt", "stop"} & sent.keys()
