"""A real batch API on this machine: files, batches and their results, with every fault that a provider may show.

A batch is worked on when somebody asks how it stands: ``stands`` says what it then is, ``share`` how many of its
requests an early end leaves done. What happens to a single request is chosen as in ``chat_server``, by a word:
``overflow`` and ``broken`` are refusals in the error file, ``lost`` has no line at all, ``twice`` has two, ``half`` one
that cannot be read, ``alien`` one more under a name that nobody has asked for; all others are answered.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.chat_server import Server, completion, handler, says

DAY = 86_400
OVER = ("completed", "failed", "expired", "cancelled")
STEPS = {
    ("POST", "files"): "upload",
    ("POST", "batches"): "create",
    ("GET", "batches"): "list",
    ("GET", "batch"): "look",
    ("POST", "cancel"): "cancel",
    ("GET", "content"): "content",
    ("DELETE", "file"): "delete",
}


class BatchServer(Server):
    """A chat server that also takes batches.

    ``faults``: by step (``upload``, ``create``, ``list``, ``look``, ``cancel``, ``content``, ``delete``), what happens
    to its next requests: ``429``, ``500``, ``cut`` (before anything is done), ``lost`` (it is done, but the reply is
    cut), ``half`` (the reply is cut in its middle), any other number (that status), ``""`` (nothing). ``watch`` is told
    each step when it is done and before the reply. ``took`` counts the steps that came.
    """

    def __init__(self, key: str = "", answer: Callable[[str], str] | None = None) -> None:
        super().__init__(key=key, answer=answer)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.stands: Callable[[dict[str, Any]], str] = lambda batch: "completed"
        self.share = 1.0
        self.why: dict[str, Any] | None = None
        self.without = False
        self.faults: dict[str, list[str]] = {}
        self.took: Counter[str] = Counter()
        self.retry_after = "0"  # what a 429 asks for
        self.watch: Callable[[str], None] = lambda step: None
        self.deleted: list[str] = []
        self.most = 10**9
        self.desk = threading.RLock()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return batch_handler(self)

    def keep(self, data: bytes) -> str:
        """Store a file; its id."""
        id = f"file-{len(self.files)}"
        self.files[id] = data
        return id

    def make(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A new batch of an uploaded file."""
        lines = self.files[asked["input_file_id"]].splitlines()
        now = int(time.time())
        id = f"batch_{len(self.batches)}"
        self.batches[id] = {
            "id": id,
            "object": "batch",
            "status": "validating",
            "created_at": now,
            "expires_at": now + DAY,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            **asked,
        }
        if len(lines) > self.most:
            error = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached for this model"}
            self.batches[id] |= {"status": "failed", "errors": {"object": "list", "data": [error]}}
        return self.batches[id]

    def look(self, id: str) -> dict[str, Any]:
        """How a batch stands; work on it as ``stands`` says."""
        batch = self.batches[id]
        if batch["status"] not in OVER:
            word = self.stands(batch)
            batch["status"] = "cancelled" if batch["status"] == "cancelling" and word in OVER else word
            if word == "failed":
                batch["errors"] = {"object": "list", "data": [self.why]}
            elif word in OVER:
                self._work(batch)
        return batch

    def _work(self, batch: dict[str, Any]) -> None:
        """Answer the requests of a batch, the last one first, into its two files."""
        asked = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        enough = round(len(asked) * (self.share if batch["status"] != "completed" else 1.0))
        good: list[bytes] = []
        bad: list[bytes] = []
        for at, one in reversed(list(enumerate(asked))):
            if at >= enough:
                word = batch["status"]
                bad.append(_line(one, None, {"code": f"batch_{word}", "message": f"This request was {word}."}))
                continue
            text = one["body"]["messages"][-1]["content"]
            self.came(text, one["body"])
            self.went()
            self._answer(one, text, good, bad)
        batch["ended_at"] = batch[f"{batch['status']}_at"] = int(time.time())
        batch["request_counts"] = {"total": len(asked), "completed": len(good), "failed": len(bad)}
        batch["output_file_id"] = self.keep(b"".join(good)) if good else None
        batch["error_file_id"] = self.keep(b"".join(bad)) if bad else None

    def _answer(self, one: dict[str, Any], text: str, good: list[bytes], bad: list[bytes]) -> None:
        what = self.word(text)
        if refused := next((name for name in self.strict if name in one["body"]), None):
            bad.append(_line(one, 400, {"message": f"Unsupported parameter: {refused}", "param": refused}))
        elif what in ("overflow", "broken"):
            status, said = (400, "maximum context length is 64") if what == "overflow" else (500, "internal error")
            bad.append(_line(one, status, {"message": said, "type": "error"}))
        elif what == "echo":
            bad.append(_line(one, 400, {"message": f"{'Nobody wants this. ' * 13}Headers: Bearer {self.key}"}))
        elif what == "quota":
            bad.append(_line(one, 429, {"message": "You exceeded your quota", "code": "insufficient_quota"}))
        elif what != "lost":
            self.replied[text] += 1
            line = _line(one, 200, completion(*says(self, what, text)))
            good += [line] * (2 if what == "twice" else 1)
        if what == "half":
            good.append(good[-1][:40] + b"\n")
        elif what == "alien":
            good.append(_line({**one, "custom_id": "nobody-knows-me"}, 200, completion("x", "stop")))


def _line(one: dict[str, Any], status: int | None, said: dict[str, Any]) -> bytes:
    """One line of a result file; without ``status`` the request was never made."""
    body = said if status == 200 else {"error": said}
    response = None if status is None else {"status_code": status, "request_id": "r", "body": body}
    error = said if status is None else None
    line = {"id": "batch_req", "custom_id": one["custom_id"], "response": response, "error": error}
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def batch_handler(server: BatchServer) -> type[BaseHTTPRequestHandler]:
    base: Any = handler(server)

    class Handler(base):  # type: ignore[misc]
        def do_GET(self) -> None:
            self._route("GET", super().do_GET)

        def do_POST(self) -> None:
            self._route("POST", super().do_POST)

        def do_DELETE(self) -> None:
            self._route("DELETE", lambda: self._error(404, "no such thing"))

        def _route(self, verb: str, otherwise: Callable[[], None]) -> None:
            parts = self.path.partition("?")[0].removeprefix("/v1/").split("/")
            if parts[0] not in ("files", "batches"):
                otherwise()
                return
            sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
            kind = parts[0] if len(parts) == 1 else parts[-1] if len(parts) == 3 else parts[0].removesuffix("s")
            kind = "batch" if parts[0] == "batches" and len(parts) == 2 else kind
            step = STEPS[verb, kind]
            with server.desk:
                server.took[step] += 1
                queue = server.faults.get(step, [])
                fault = queue.pop(0) if queue else ""
            if server.key and self.headers["Authorization"] != f"Bearer {server.key}":
                self._error(401, f"Incorrect API key provided: {self.headers['Authorization']}")
            elif server.without:
                self._error(404, "Not Found")
            elif fault == "cut":
                self._cut()
            elif fault.isdigit():
                headers = {"Retry-After": server.retry_after} if fault == "429" else {}
                self._error(int(fault), f"fault {fault}", headers)
            else:
                self._desk(step, parts, sent, fault)

        def _desk(self, step: str, parts: list[str], sent: bytes, fault: str) -> None:
            """Do it, and tell of it as ``fault`` says."""
            with server.desk:
                status, reply = self._done(step, parts, sent)
            server.watch(step)
            if fault == "lost":
                self._cut()
            elif fault == "half":
                self._broken(reply)
            else:
                self._raw(status, reply)

        def _done(self, step: str, parts: list[str], sent: bytes) -> tuple[int, bytes]:
            """Do a step; its status and reply."""
            if step == "content":
                return 200, server.files[parts[1]]
            if step == "upload":
                reply: dict[str, Any] = {"id": server.keep(self._file(sent)), "object": "file", "purpose": "batch"}
            elif step == "create":
                reply = server.make(json.loads(sent))
            elif step == "list":
                newest = sorted(server.batches.values(), key=lambda batch: -int(batch["id"][6:]))
                reply = {"object": "list", "data": newest, "has_more": False}
            elif step == "delete":
                server.deleted.append(parts[1])
                reply = {"id": parts[1], "object": "file", "deleted": True}
            elif parts[1] not in server.batches:
                return 404, json.dumps({"error": {"message": f"No batch {parts[1]}"}}).encode()
            elif step == "cancel":
                reply = server.batches[parts[1]]
                if reply["status"] in OVER:
                    return 400, json.dumps({"error": {"message": "Cannot cancel a batch that is over"}}).encode()
                reply["status"] = "cancelling"
            else:
                reply = server.look(parts[1])
            return 200, json.dumps(reply).encode()

        def _file(self, sent: bytes) -> bytes:
            """The file in a multipart form."""
            form = message_from_bytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + sent)
            fields = {part.get_param("name", header="content-disposition"): part for part in form.walk()}
            assert fields["purpose"].get_payload() == "batch"
            file = fields["file"].get_payload(decode=True)
            assert isinstance(file, bytes)
            return file

        def _broken(self, reply: bytes) -> None:
            """Promise all, send half, hang up."""
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply[: len(reply) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    return Handler
