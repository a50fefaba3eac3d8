"""SIGKILL in the middle of 200 calls: by the server's own count no finished call is made again."""

from __future__ import annotations

from pathlib import Path

from engine.store import read, teacher
from engine.store.connect import reader
from engine.store.rows import Rewrite
from tests.support.chat_server import Server
from tests.support.pending_project import teaches, with_pending_rewrites
from tests.support.processes import run_child

REWRITES, IN_FLIGHT = 100, 8
KILL_AT = 20
"""The save that it dies in. One holds at most what was in flight, so there are 25 or more."""


def test_no_finished_call_is_made_again(tmp_path: Path) -> None:
    with Server(pause_s=0.01, answer=teaches) as server:
        home = with_pending_rewrites(tmp_path / "P", server.url, REWRITES, concurrency=IN_FLIGHT)
        assert run_child(home, 0, "rewrite", die_at=KILL_AT) == -9
        db = reader(home)
        saved = teacher.asked(db, 0)["calls"]
        assert 0 < saved < 2 * REWRITES
        first = sum(server.seen.values())
        assert run_child(home, 0, "rewrite") == 0
        again = [text for text, times in server.seen.items() if times > 1]
        assert {row.state for row in read.rows(db, Rewrite, 0)} == {"proposed"}, "none is lost"
        assert teacher.asked(db, 0)["calls"] == 2 * REWRITES, "none is counted twice"
        assert sum(server.seen.values()) - first == 2 * REWRITES - saved, "what was saved is not asked for again"
        assert len(again) == first - saved <= 2 * IN_FLIGHT, "only what was in flight"
        db.close()
