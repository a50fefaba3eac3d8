"""What an endpoint that lies, or is broken, says instead of a reply. By the word for ``chat_server.Server.lies``."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.chat_server import completion

Handler = BaseHTTPRequestHandler
BOMB = gzip.compress(b" " * (100 << 20), 9)
"""100 MB of white space in 100 kB."""


def raw(data: bytes, status: int = 200, **headers: str) -> Callable[[Handler], None]:
    """Answers with these bytes."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def said(**changes: Any) -> Callable[[Handler], None]:
    """Answers with a good reply in which this is different."""
    return raw(json.dumps({**completion("GOOD", "stop"), **changes}).encode())


def message(content: object, **more: object) -> list[dict[str, Any]]:
    """The one choice of a reply."""
    return [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, **more}}]


def trickle(handler: Handler) -> None:
    """A piece of white space now and then, for ever: never silent for long."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    pause = threading.Event()
    try:
        while not pause.wait(0.05):
            handler.wfile.write(b" ")
    except OSError:
        return


def endless(handler: Handler) -> None:
    """White space for ever, as fast as it is read."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    try:
        while True:
            handler.wfile.write(b" " * (1 << 20))
    except OSError:
        return


UNUSABLE: dict[str, tuple[Callable[[Handler], None], str]] = {
    "error200": (
        raw(b'{"error": {"message": "The model is overloaded", "code": 502}}'),
        "is an error: The model is ov",
    ),
    "page": (raw(b"<html><body>Log in to the network</body></html>", Content_Type="text/html"), "is no JSON: <html>"),
    "null": (raw(b"null"), "no choices"),
    "list": (raw(b"[1, 2]"), "no choices|cannot be read"),
    "deep": (raw(b"[" * 100_000), "cannot be read"),
    "none": (said(choices=[]), "no choices"),
    "number": (said(choices=7), "cannot be read"),
    "parts": (said(choices=message([{"type": "text", "text": "a"}])), "cannot be read"),
    "nousage": (said(usage={"prompt_tokens": "many"}), "cannot be read"),
    "notutf8": (raw(b'{"choices": "\xff\xfe"}'), "cannot be read|no choices"),
    "bomb": (raw(BOMB, Content_Encoding="gzip"), "longer than 64 MB"),
    "endless": (endless, "longer than 64 MB"),
}
"""No reply can be made of these; with what is said of them."""
USABLE: dict[str, tuple[Callable[[Handler], None], str]] = {
    "two": (said(choices=message("FIRST") + message("SECOND")), "FIRST"),
    "other": (said(model="a-cheaper-one"), "GOOD"),
    "surrogate": (raw(json.dumps(completion("\ud800 A", "stop")).encode()), "? A"),
    "owes": (said(usage={"prompt_tokens": -(10**9), "completion_tokens": -(10**9), "total_tokens": 0}), "GOOD"),
    "more": (said(extra={"a": [1]}, system_fingerprint=7), "GOOD"),
}
"""A reply can be made of these; with its text."""
ALL = {word: answer for word, (answer, _) in {**UNUSABLE, **USABLE}.items()}
