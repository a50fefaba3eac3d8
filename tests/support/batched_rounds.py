"""Rounds whose pending rewrites go to a real batch server, and what must hold of them whatever happens on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.backends import rate_limits
from engine.config.schema import Teacher
from engine.runtime.context import StoreCtx
from engine.stages import rewrite
from engine.store import teacher
from engine.store.teacher import TeacherBatch
from engine.teacher import batch as rewrite_batch
from tests.support import tiny
from tests.support.batch_server import BatchServer
from tests.support.chat_server import MODEL, Server
from tests.support.rewriting import newly, rows, seven

PROPOSED = {("proposed", 1, 1)}


def teaches(text: str) -> str:
    """What it is asked, with the separators that some readers of lines take for ends."""
    place = re.search(r"(ask|again) (\d+)", text)
    assert place is not None
    if "<prompt>" in text:
        return f"<prompt>again {place[2]} {newly(text)}</prompt>"
    return f"an\u2028swer\x85 to {place[2]}"


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with BatchServer(answer=teaches) as running:
        yield running


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite_batch, "FIRST_POLL_S", 0.0)
    monkeypatch.setattr(rate_limits, "BACKOFF_S", 0.0)


def teach(made: tiny.Project, server: Server, **more: object) -> tiny.Project:
    """``server`` as the project's teacher, by batches."""
    how = {"backend": "openai", "url": server.url, "model": MODEL, "batch": True, "retries": 2} | more
    made.config = msgspec.structs.replace(made.config, teacher=msgspec.convert(how, Teacher))
    return made


def project(folder: Path, server: Server, **more: object) -> tiny.Project:
    """Twelve samples, seven pending rewrites."""
    return teach(seven(folder, ""), server, **more)


def run(made: tiny.Project, ctx: StoreCtx | None = None) -> None:
    rewrite.run(ctx or made.ctx("rewrite"))


def ends(made: tiny.Project) -> set[tuple[str, int, int]]:
    """How the rewrites ended, with their tries."""
    return {(r.state, r.attempts, r.answer_attempts) for r in rows(made)}


def batches(made: tiny.Project) -> list[TeacherBatch]:
    return sorted(made.ctx("x").rows(TeacherBatch), key=lambda batch: batch.planned_at)


def checked(made: tiny.Project, server: BatchServer, calls: int) -> None:
    """Every rewrite is made; each of ``calls`` calls was answered once and is in the books once."""
    assert {r.state for r in rows(made)} == {"proposed"}
    assert server.replied.total() == calls
    asked = teacher.asked(made.db, 0)
    assert (asked["calls"], asked["tokens_in"], asked["tokens_out"]) == (calls, 11 * calls, 7 * calls)
    assert not [batch for batch in batches(made) if batch.pending]
