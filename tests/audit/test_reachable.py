"""Only a service that knows well-known vulnerabilities counts as reachable."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from audit.reachable import why_not

ANSWERS = {
    "/knows": (200, b'{"vulnerabilities": [{"id": "PYSEC-2021-142"}]}'),
    "/mirror": (200, b'{"vulnerabilities": []}'),
    "/page": (200, b"<html>Please log in</html>"),
    "/list": (200, b"[]"),
}


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        code, body = ANSWERS.get(self.path, (404, b""))
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def advisory_service() -> Iterator[str]:
    """The address of a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/knows", None),
        ("/mirror", "mirror without advisories"),
        ("/list", "mirror without advisories"),
        ("/page", "cannot be asked"),
        ("/missing", "404"),
    ],
)
def test_a_service_without_advisories_is_not_reachable(advisory_service: str, path: str, reason: str | None) -> None:
    told = why_not(advisory_service + path)
    assert (told is None) if reason is None else (told is not None and reason in told)


def test_nobody_there_is_not_reachable() -> None:
    assert "cannot be asked" in (why_not("http://127.0.0.1:9/") or "")
