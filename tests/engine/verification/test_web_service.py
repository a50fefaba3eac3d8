"""The user's web service: a real server, by its answers, faults and what it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config import schema
from engine.doctor import privacy
from engine.errors import ConfigError, StageError
from engine.stages import verify
from engine.store.rows import Rewrite, Sample, dump_messages
from engine.verification.candidates import Candidate
from engine.verification.text_checks import Rejection
from engine.verification.web_service import WebService
from tests.support import rounds, tiny

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]


class Check:
    """A server that answers by a function of what it was sent; ``asked``: all that it was sent."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: (200, b'{"ok": true}')
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        check = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                check.asked.append(given)
                check.headers.append(dict(self.headers))
                status, body = check.answer(given)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/check"


@pytest.fixture
def server() -> Iterator[Check]:
    one = Check()
    thread = threading.Thread(target=one.server.serve_forever)
    thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()
    thread.join()


def candidate(place: int, response: str = "red") -> Candidate:
    old = Sample(id=place, messages=tiny.chat("old prompt", "old response"), seq=place)
    new = Sample(id=place, messages=tiny.chat("name a colour", response), seq=place)
    return Candidate(Rewrite(0, place, "quality", "proposed"), old, new)


def service(folder: Path, url: str, timeout_s: float = 30.0) -> WebService:
    how = schema.Verify(url=url, url_timeout_s=timeout_s, url_jobs=2)
    return WebService(msgspec.structs.replace(schema.Config(), verify=how), folder / "passed")


def test_it_sees_both_texts_and_says_why(tmp_path: Path, server: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # for other machines: a shell's proxy does not know this one
    server.answer = lambda given: (
        200,
        json.dumps(
            {"ok": given["rewrite"]["response"] == "red", "reason": f"\n{given['sample']} is nöt it\nmore"}
        ).encode(),
    )
    asked = [candidate(3), candidate(4, "\ud83d{}")]
    one = service(tmp_path, server.url)
    assert [found for _, found in one.results(asked)] == [None, Rejection("validator", "4 is nöt it")]
    first = next(given for given in server.asked if given["sample"] == 3)
    assert first["original"]["messages"] == [
        {"role": "user", "content": "old prompt"},
        {"role": "assistant", "content": "old response"},
    ]
    assert not {"authorization", "cookie"} & {name.lower() for name in server.headers[0]}


def test_half_a_character_in_its_reason_can_be_saved(tmp_path: Path, server: Check) -> None:
    server.answer = lambda _: (200, b'{"ok": false, "reason": "no \\ud83d"}')
    ((_, found),) = service(tmp_path, server.url).results([candidate(3)])
    assert found == Rejection("validator", "no ?")


def test_what_it_let_through_is_not_asked_again(tmp_path: Path, server: Check) -> None:
    one = service(tmp_path, server.url)
    one.remember(candidate(3))
    again = service(tmp_path, server.url)
    assert [found for _, found in again.results([candidate(3), candidate(4)])] == [None, None]
    assert [given["sample"] for given in server.asked] == [4]


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (500, b"", "answered with status 500"),
        (302, b"", "answered with status 302"),
        (204, b"", "answered with status 204"),
        (200, b"<html>", "gave an answer that is not JSON"),
        (200, b"\xff\xfe", "gave an answer that is not JSON"),
        pytest.param(200, b"[" * (60 << 10), "gave an answer that is not JSON", id="deep"),
        (200, b"[]", "without ok = true or false"),
        (200, b'{"ok": "no"}', "without ok = true or false"),
        (200, b'{"ok": true, "reason": "' + b"x" * (65 << 10) + b'"}', "more than 64 KiB"),
    ],
)
def test_a_fault_is_no_verdict(tmp_path: Path, server: Check, status: int, body: bytes, why: str) -> None:
    server.answer = lambda _: (status, body)
    with pytest.raises(StageError, match=why) as told:
        list(service(tmp_path, server.url).results([candidate(7)]))
    assert "rewrite of #7, quality" in str(told.value)
    assert len(server.asked) == 1, "a redirect is not followed"


def test_a_service_that_is_not_there_or_too_slow_is_named(tmp_path: Path, server: Check) -> None:
    with pytest.raises(StageError, match=r"127\.0\.0\.1:9 was not reached"):
        list(service(tmp_path, "http://127.0.0.1:9/check").results([candidate(7)]))
    waits = threading.Event()

    def late(_: dict[str, Any]) -> tuple[int, bytes]:
        waits.wait()
        return 200, b"{}"

    server.answer = late
    try:
        with pytest.raises(StageError, match=r"took longer than url_timeout_s = 0\.05"):
            list(service(tmp_path, server.url, timeout_s=0.05).results([candidate(7)]))
    finally:
        waits.set()


def test_the_stage_rejects_what_the_service_does(tmp_path: Path, server: Check) -> None:
    server.answer = lambda _: (200, b'{"ok": false, "reason": "the sum is wrong"}')
    made = rounds.project(tmp_path, 6, f'[verify]\nurl = "{server.url}"\n')
    sample = rounds.dataset(made)[2]
    text = dump_messages(tiny.chat("name a word", "a new answer to it"))
    made.ctx("rewrite").save([Rewrite(0, sample.id, "quality", "proposed", 1, "name a word", messages=text)])
    verify.run(made.ctx("verify"))
    (row,) = made.ctx("x").rows(Rewrite)
    assert (row.state, row.reason) == ("rejected", "validator: the sum is wrong")
    verify.run(made.ctx("verify"))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:8080", "url is not a URL"),
        ("ftp://a/b", "url is not a URL"),
        ("https://me:word@a/b", "no place for secrets"),
    ],
)
def test_an_address_that_cannot_be_is_refused(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        schema.parse(f'[verify]\nurl = "{url}"\n', "config.toml")


def test_the_doctor_says_where_rewrites_go() -> None:
    def said(url: str) -> str:
        return privacy.leaves(schema.parse(f'[verify]\nurl = "{url}"\n', "config.toml")).text

    assert "sent to check.example.org ([verify] url)" in said("https://check.example.org/v1")
    assert said("http://localhost:8080") == said("")
