"""A real chat endpoint on this machine that can be told to misbehave: every fault that a provider has been seen with.

What happens is chosen by the first word of the last message: ``ok`` answers with the rest in capitals; the others are
named after what they do. A server with an ``answer`` of its own replies by it instead, and one with ``fault`` asks it
for the word. ``Server.seen`` counts the requests per message, ``Server.replied`` the good replies. ``Server.counted``:
tokens by its own count, the most that they can be for replies that never arrived.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

MODEL = "teacher-8b"
UNHEARD = ("hang", "drip", "cut", "half", "nothing", "late")
"""What a client sees no count of, though the model may have written a whole reply."""


class Server:
    """Serves until the ``with`` block ends. ``pause_s`` is how long each good reply takes."""

    def __init__(self, pause_s: float = 0.0, key: str = "", answer: Callable[[str], str] | None = None) -> None:
        self.seen: Counter[str] = Counter()
        self.replied: Counter[str] = Counter()
        self.fault: Callable[[str], str] | None = None
        self.bodies: list[dict[str, Any]] = []
        self.counted = 0
        self.most_at_once = 0
        self.pause_s, self.key, self.answer = pause_s, key, answer
        self.places: Callable[[str], list[dict[str, Any]]] | None = None  # what is told of a reply's tokens
        self.lies: Mapping[str, Callable[[BaseHTTPRequestHandler], None]] = {}  # what else happens, by its word
        self.down = False
        self.strict: tuple[str, ...] = ()  # options that the model refuses to have set
        self.counts = True  # whether replies report their tokens
        self.context: int | None = None  # tokens that the model sees, as vLLM's server says them
        self.listed: tuple[str, ...] | None = (MODEL,)  # None: there is no list of models
        self.times: list[float] = []
        self.closing = threading.Event()
        self._now = 0
        self._lock = threading.Lock()
        self._server = _Quiet(("127.0.0.1", 0), self.handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """What answers the requests."""
        return handler(self)

    @property
    def url(self) -> str:
        """The base address of the API."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def came(self, text: str, body: dict[str, Any]) -> int:
        """Count a request; how often this text was sent so far."""
        with self._lock:
            self.seen[text] += 1
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            return self.seen[text]

    def count(self, tokens: int) -> None:
        """So many tokens are billed."""
        with self._lock:
            self.counted += tokens

    def word(self, text: str) -> str:
        """What is to happen to a request."""
        if self.fault is not None:
            return self.fault(text)
        return text.partition(" ")[0] if self.answer is None else "own"

    def went(self) -> None:
        """A request has ended."""
        with self._lock:
            self._now -= 1


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the tests."""


def says(server: Server, what: str, text: str) -> tuple[str, str]:
    """A good reply's text and how it ends."""
    if what == "thinks":
        return "", "length"
    if server.answer is not None and what != "empty":
        return server.answer(text), "stop"
    return "" if what == "empty" else text.partition(" ")[2].upper(), "length" if what == "long" else "stop"


def completion(text: str, ends: str) -> dict[str, Any]:
    """A good reply as the API gives it: 11 tokens in, 7 out."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    choices = [{"index": 0, "message": message, "finish_reason": ends}]
    facts = {"id": "x", "object": "chat.completion", "created": 0, "model": MODEL}
    return {**facts, "choices": choices, "usage": usage}


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else a reply's body waits 40 ms for its headers to be acknowledged

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

        def do_GET(self) -> None:
            if server.down:
                self._cut()
                return
            if server.listed is None:
                self._error(404, "Not found")
                return
            more = {"max_model_len": server.context} if server.context else {}
            data = [{"id": name, "object": "model", "created": 0, "owned_by": "", **more} for name in server.listed]
            self._send(200, {"object": "list", "data": data})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["messages"][-1]["content"]
            times = server.came(text, body)
            try:
                self._answer(body, text, times)
            finally:
                server.went()

        def _answer(self, body: dict[str, Any], text: str, times: int) -> None:
            what = server.word(text)
            if what in UNHEARD or server.down or (what == "flaky" and times == 1):
                size = sum(len(message["content"].encode()) for message in body["messages"])
                server.count(size + body.get("max_tokens", 0))
            if server.key and self.headers["Authorization"] != f"Bearer {server.key}":
                self._error(401, f"Incorrect API key provided: {self.headers['Authorization']}")
            elif body["model"] != MODEL:
                self._error(404, f"The model {body['model']} does not exist")
            elif server.down or what == "cut" or (what == "flaky" and times == 1):
                self._cut()
            elif what == "busy" and times == 1:
                self._error(429, "Rate limit reached", {"Retry-After": "0.05"})
            elif what == "wait" and times == 1:
                self._error(429, "Slow down", {"Retry-After": "1"})
            elif what == "quota":
                self._error(429, "You exceeded your current quota", code="insufficient_quota")
            elif refused := next((name for name in server.strict if name in body), None):
                self._error(400, f"Unsupported parameter: {refused}", code="unsupported_parameter", param=refused)
            elif what in server.lies:
                server.lies[what](self)
            elif what == "drip":
                self._drip()
            elif what == "echo":
                self._error(400, f"{'Nobody wants this. ' * 13}Headers: {self.headers['Authorization']}")
            elif what == "broken" or (what == "shaky" and times == 1):
                self._error(500, "internal error")
            elif what == "late":
                self._error(504, "upstream request timeout")
            elif what == "hang":
                server.closing.wait(30)
            elif what == "overflow":
                self._error(400, "This model's maximum context length is 64 tokens")
            elif what == "half":
                self._raw(200, b'{"id": "x", "choices": [{"index": 0, "mess')
            elif what == "nothing":
                self._send(200, {"id": "x", "object": "chat.completion", "choices": []})
            else:
                server.closing.wait(server.pause_s)
                self._reply(*says(server, what, text))
                with server._lock:
                    server.replied[text] += 1

        def _reply(self, text: str, ends: str) -> None:
            said = completion(text, ends)
            if server.places is not None:
                said["choices"][0]["logprobs"] = {"content": server.places(text)}
            server.count(said["usage"]["total_tokens"])
            self._send(200, said if server.counts else {name: said[name] for name in said if name != "usage"})

        def _error(self, status: int, text: str, headers: dict[str, str] | None = None, **more: str) -> None:
            self._send(status, {"error": {"message": text, "type": "error", **more}}, headers)

        def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            self._raw(status, json.dumps(body).encode(), headers)

        def _raw(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _drip(self) -> None:
            """Never silent and never done: a byte at a time, until the client or the server has enough."""
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            while not server.closing.wait(0.05):
                self.wfile.write(b" ")
                self.wfile.flush()

        def _cut(self) -> None:
            """Promise more than is sent, and hang up."""
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"id":')
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    return Handler
