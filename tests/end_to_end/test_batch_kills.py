"""Batches of a provider in real processes: SIGKILL at every turn, and a cancel that the worker passes on."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.runtime import launch
from engine.store import commands, read, teacher
from engine.store.connect import reader
from engine.store.rows import Rewrite
from tests.end_to_end.test_secrets import KEY, VARIABLE, leaks
from tests.support.batch_server import BatchServer
from tests.support.pending_project import teaches, with_pending_rewrites
from tests.support.processes import cli, run_child, status
from tests.support.rewriting import newly

REWRITES = 150
TURNS = (
    (3, True),  # projected, planned, and dead before it has kept that the file is there
    (5, True),  # projected, that one dropped, planned, file kept, and dead before it has kept the id
    (3, False),  # projected, found there, looked at: in progress
    (3, False),  # projected, looked at: completed, the first hundred results saved
)
"""In which save a run dies, and whether before it wrote."""


def test_no_call_is_given_away_twice(tmp_path: Path) -> None:
    looks: Counter[str] = Counter()

    def second_look(batch: dict[str, Any]) -> str:
        looks[batch["id"]] += 1
        return "in_progress" if looks[batch["id"]] == 1 and batch["id"] == "batch_0" else "completed"

    with BatchServer(answer=teaches) as server:
        server.stands = second_look
        home = with_pending_rewrites(tmp_path / "P", server.url, REWRITES, batch=True)
        came: list[tuple[int, int, int]] = []
        for at, before in TURNS:
            assert run_child(home, 0, "rewrite", die_at=at, before=before) == -9
            db = reader(home)
            came.append((server.took["upload"], len(server.batches), teacher.asked(db, 0)["calls"]))
            db.close()
        assert came == [(1, 0, 0), (2, 1, 0), (2, 1, 0), (2, 1, 100)]
        assert run_child(home, 0, "rewrite") == 0
        db = reader(home)
        assert {row.state for row in read.rows(db, Rewrite, 0)} == {"proposed"}, "none is lost"
        assert teacher.asked(db, 0)["calls"] == 2 * REWRITES, "none is counted twice"
        db.close()
        sizes = [batch["request_counts"]["total"] for batch in server.batches.values()]
        assert sizes == [REWRITES, 100, REWRITES - 100], "answers to what was saved before the last death went first"
        prompts = [times for text, times in server.seen.items() if "<prompt>" in text]
        assert prompts == [1] * REWRITES, "none was asked for twice"
        assert server.files.keys() - set(server.deleted) == {"file-0"}, "the one whose id was never heard of"


def test_a_cancel_is_passed_on_and_the_key_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker ends the child with SIGTERM; the provider still gets its word, and we what is done."""
    monkeypatch.setenv(VARIABLE, KEY)
    looked = threading.Event()
    with BatchServer(key=KEY, answer=lambda text: f"<prompt>What is {KEY}, {newly(text)}?</prompt>") as server:
        server.fault = lambda text: "echo" if "Name 3 things" in text else "own"
        server.stands = lambda batch: "completed" if server.took["cancel"] else "in_progress"
        server.share = 0.5
        server.watch = lambda step: looked.set() if step == "look" else None
        home = with_pending_rewrites(
            tmp_path / "P", server.url, 12, until=(0, "rewrite"), key_env=VARIABLE, batch=True, attempts=1
        )
        worker = psutil.Process(launch.start(home))
        assert looked.wait(60)
        facts = status(home)["rounds"][0]["teacher"]["batch"]
        assert (facts["calls"], facts["ids"], facts["cancelling"]) == (12, ["batch_0"], False)
        assert "batch of 12 calls: 0 done" in cli("status", home).stdout
        commands.set_want(home, "cancel")
        psutil.wait_procs([worker], timeout=60)
        assert server.took["cancel"] == 1
        db = reader(home)
        assert next(job.state for job in read.jobs(db) if job.stage == "rewrite") == "cancelled"
        rows = read.rows(db, Rewrite, 0)
        db.close()
        assert Counter(row.state for row in rows) == {"owed": 6, "prompted": 5, "failed": 1}
        assert "Bearer <key>" in str(next(row.reason for row in rows if row.state == "failed"))
        assert all(row.prompt.startswith("What is <key>, new ") for row in rows if row.prompt)
        assert leaks(home) == []
