"""The teacher's key is in no file, log, command line or export, also when the server says it in an error."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil
import pytest

from engine.runtime import launch
from engine.store import read
from engine.store.connect import reader
from engine.store.rows import Rewrite
from tests.support.chat_server import MODEL, Server
from tests.support.pending_project import with_pending_rewrites
from tests.support.processes import cli
from tests.support.rewriting import newly

VARIABLE, KEY = "MIDDO_TEST_TEACHER_KEY", "sk-recognisable-0123456789abcdef"
PART = KEY[:12].encode()  # a key that was cut off is looked for too
ROWS = 12


def made(folder: Path, url: str) -> Path:
    """A project whose teacher wants a key, and whose worker has rewriting left to do."""
    return with_pending_rewrites(folder / "P", url, ROWS, until=(0, "rewrite"), key_env=VARIABLE, retries=0)


def work(home: Path) -> psutil.Process:
    """Start the worker as the app does."""
    return psutil.Process(launch.start(home))


def leaks(home: Path) -> list[str]:
    """Files of the project that hold the key or its beginning."""
    return [str(f) for f in home.rglob("*") if f.is_file() and PART in f.read_bytes()]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def test_the_key_is_nowhere(tmp_path: Path) -> None:
    """While calls are in flight, and after replies and errors that hold it."""
    held, go = threading.Event(), threading.Event()

    def says_the_key(text: str) -> str:
        held.set()
        go.wait(60)
        return f"<prompt>What is {KEY}, {newly(text)}?</prompt>" if "<prompt>" in text else f"It is {KEY}."

    with Server(key=KEY, answer=says_the_key) as server:
        server.fault = lambda text: "echo" if "Name 3 things" in text else "own"
        home = made(tmp_path, server.url)
        worker = work(home)
        assert held.wait(60), "the child asks the server"
        family = [worker, *worker.children(recursive=True)]
        assert len(family) >= 2
        assert all(KEY in process.environ().values() for process in family), "it is there where it should be"
        lines = [Path(f"/proc/{process.pid}/cmdline").read_bytes() for process in family]
        assert all(lines)
        assert not any(PART in line for line in lines)
        assert leaks(home) == []
        go.set()
        psutil.wait_procs([worker], timeout=60)

        assert {body["model"] for body in server.bodies} == {MODEL}
        db = reader(home)
        rows = read.rows(db, Rewrite, 0)
        db.close()
        assert [row.state for row in rows].count("proposed") == ROWS - 1
        refused = next(row for row in rows if row.state == "failed")
        assert "Headers: Bearer <key>" in str(refused.reason), "taken out before the message is cut off"
        assert all(str(row.prompt).startswith("What is <key>, new ") for row in rows if row is not refused)
        assert any((home / "logs").iterdir())
        assert leaks(home) == []
        out = tmp_path / "out"
        out.mkdir()
        for name in ("alpaca", "messages"):
            assert cli("export", home, out / f"{name}.json", "--format", name).returncode == 0
        for words in (["status"], ["status", "--json"], ["doctor"]):
            said = cli(*words, home)
            assert KEY[:12] not in said.stdout + said.stderr
        assert leaks(out) == [] == leaks(home)


def test_a_wrong_key_is_not_told_either(tmp_path: Path) -> None:
    """The server says the key it was given in its 401, as some do."""
    with Server(key="another") as server:
        home = made(tmp_path, server.url)
        psutil.wait_procs([work(home)], timeout=60)
        db = reader(home)
        job = next(job for job in read.jobs(db) if job.stage == "rewrite")
        db.close()
        assert job.state == "failed"
        assert "Bearer <key>" in str(job.error)
        assert "All calls would fail: check the API key" in str(job.error)
        assert leaks(home) == []
        assert os.environ[VARIABLE] == KEY
