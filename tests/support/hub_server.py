"""A local server that speaks the part of a hub's API that is used here: to read repositories, and to upload one.

A repository has revisions, each a dict of files, and may have faults.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """``fault``: "gated" (401) or "forbidden" (403) for its files, "denied" (403) or "broken" (500) for everything.

    ``cut``: a connection ends after so many bytes of a body, ``cuts`` times; ``reset``: that file's does not end well.
    ``wait``: bodies of data stop in their middle until it is set. ``sizes``: what is said of files that are not so
    large.
    """

    revisions: dict[str, dict[str, bytes]]
    fault: str = ""
    cut: int = 0
    cuts: int = 0
    reset: str = ""
    wait: threading.Event | None = None
    sizes: dict[str, int] = field(default_factory=dict)

    def commit(self, revision: str) -> str | None:
        """The hash of a branch, or of itself."""
        for name, files in self.revisions.items():
            sha = hashlib.sha1(f"{name}{sorted(files.items())}".encode(), usedforsecurity=False).hexdigest()
            if revision in (name, sha):
                return sha
        return None

    def files(self, commit: str) -> dict[str, bytes]:
        """The files of a commit."""
        return next(files for name, files in self.revisions.items() if self.commit(name) == commit)


@dataclass
class Hub:
    """``datasets``, ``models``, ``spaces`` by owner/name. ``seen``: every request (method, path, headers, body)."""

    address: str = ""
    datasets: dict[str, Repository] = field(default_factory=dict)
    models: dict[str, Repository] = field(default_factory=dict)
    spaces: dict[str, Repository] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    upload_status: int = 200

    def asked(self, part: str = "", method: str = "GET") -> list[str]:
        """The paths of requests so far."""
        return [path for verb, path, _, _ in self.seen if verb == method and part in path]

    def ranges(self) -> list[str]:
        """Where requests for a part of a file began."""
        return [headers["range"] for verb, _, headers, _ in self.seen if verb == "GET" and "range" in headers]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._look()

    def do_GET(self) -> None:
        self._look()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._see(body)
        here = f"{self.hub.address}/datasets/o/n"
        answer: dict[str, Any] = {"url": here, "name": "o/n", "id": "o/n"}
        if "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular"} for f in json.loads(body)["files"]]
            answer = {"files": [f | {"shouldIgnore": False} for f in files]}
        elif "/commit/" in self.path:
            answer = {"commitUrl": f"{here}/commit/{'1' * 40}", "commitOid": "1" * 40, "pullRequestUrl": None}
        elif "validate-yaml" in self.path:
            answer = {"errors": [], "warnings": []}
        self._json(answer, self.hub.upload_status)

    # -------------------------------------------------------------------------------------- reading

    def _look(self) -> None:
        self._see(b"")
        path = unquote(urlsplit(self.path).path).lstrip("/")
        kind, found, rest = self._repository(path)
        if found is None:
            self._refuse(404, "RepoNotFound")
        elif found.fault in ("broken", "denied"):
            self._refuse(500 if found.fault == "broken" else 403, "")
        elif path.startswith("api/"):
            self._api(kind, found, rest)
        elif rest.startswith("resolve/"):
            self._file(found, rest.removeprefix("resolve/"))
        else:
            self._refuse(404, "EntryNotFound")

    def _repository(self, path: str) -> tuple[str, Repository | None, str]:
        bare = path.removeprefix("api/")
        kind = next((kind for kind in ("datasets", "spaces") if bare.startswith(f"{kind}/")), "models")
        among: dict[str, Repository] = getattr(self.hub, kind)
        owner, name, *rest = [*bare.removeprefix(f"{kind}/").split("/"), "", ""]
        return f"{owner}/{name}", among.get(f"{owner}/{name}"), "/".join(rest).rstrip("/")

    def _api(self, name: str, found: Repository, rest: str) -> None:
        verb, _, after = rest.partition("/")
        revision, _, folder = after.partition("/") if verb in ("revision", "tree") else ("main", "", "")
        commit = found.commit(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound")
            return
        if verb == "tree":
            self._tree(found, commit, folder)
        else:
            self._json({"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in found.files(commit)]})

    def _tree(self, found: Repository, commit: str, folder: str) -> None:
        start = f"{folder}/" if folder else ""
        files = found.files(commit)
        below = [path for path in files if path.startswith(start)]
        sizes = {path: len(body) for path, body in files.items()} | found.sizes
        if folder and not below:
            self._refuse(404, "EntryNotFound", commit)
            return
        folders: list[str] = []
        if "recursive=false" in self.path:
            folders = sorted({start + path[len(start) :].split("/")[0] for path in below if "/" in path[len(start) :]})
            below = [path for path in below if "/" not in path[len(start) :]]
        entries = [{"type": "file", "path": path, "size": sizes[path], "oid": _oid(files[path])} for path in below]
        self._json([*entries, *({"type": "directory", "path": path, "oid": _oid(path.encode())} for path in folders)])

    def _file(self, found: Repository, rest: str) -> None:
        for at in (i for i, letter in enumerate(rest) if letter == "/"):
            revision, path = rest[:at], rest[at + 1 :]
            if (commit := found.commit(revision)) is not None:
                break
        else:
            self._refuse(404, "RevisionNotFound")
            return
        if found.fault in ("gated", "forbidden"):
            self._refuse(401 if found.fault == "gated" else 403, "GatedRepo")
        elif (body := found.files(commit).get(path)) is None:
            self._refuse(404, "EntryNotFound", commit)
        else:
            self._body(found, path, body, commit)

    def _body(self, found: Repository, path: str, body: bytes, commit: str) -> None:
        start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0]) if "Range" in self.headers else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{_oid(body)}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command == "HEAD":
            return
        rest = body[start:]
        if found.cuts and len(rest) > found.cut:
            found.cuts -= 1
            self.wfile.write(rest[: found.cut])
            self.close_connection = True
            return
        if found.reset == path:
            self.wfile.write(rest[:1])
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        if found.wait is not None and path not in ("README.md", "config.json"):
            half = len(rest) // 2
            self.wfile.write(rest[:half])
            self.wfile.flush()
            found.wait.wait(60)
            rest = rest[half:]
        with suppress(ConnectionError):  # who asked may have given up
            self.wfile.write(rest)

    # ------------------------------------------------------------------------------------- answering

    def _see(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.seen.append((self.command, self.path, headers, body))

    def _json(self, answer: Any, status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, commit: str = "") -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", f"This says {code}")
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def _oid(body: bytes) -> str:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_OneHub", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
