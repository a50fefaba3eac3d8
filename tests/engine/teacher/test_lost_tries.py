"""A try without a reply may have been counted by the provider: caps hold by its count, whatever became of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.backends import rate_limits
from engine.errors import Cancelled, Waiting
from engine.runtime.context import StoreCtx
from engine.stages import rewrite
from engine.store import teacher
from engine.store.rows import Row
from engine.store.teacher import SentCall
from tests.support import tiny
from tests.support.chat_server import MODEL, Server
from tests.support.rewriting import UNATTENDED, newly, rows, seven

CAP = 6000


def teaches(text: str) -> str:
    return f"<prompt>{newly(text)}</prompt>" if "<prompt>" in text else "a good answer"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "BACKOFF_S", 0.0)


def project(folder: Path, server: Server, policy: str = UNATTENDED, cap: int = CAP, **more: object) -> tiny.Project:
    """Seven pending rewrites; tries of a second, three of them."""
    how = {"concurrency": 4, "retries": 2, "timeout_s": 1.0, "budget_tokens": cap, "max_new_tokens": 64} | more
    lines = "".join(f"teacher.{key} = {value}\n" for key, value in how.items())
    made = f'{policy}teacher.backend = "openai"\nteacher.url = "{server.url}"\nteacher.model = "{MODEL}"\n{lines}'
    return seven(folder, made)


def booked(made: tiny.Project) -> int:
    asked = teacher.asked(made.db, 0)
    return int(asked["tokens_in"] + asked["tokens_out"])


@pytest.mark.parametrize("word", ["hang", "cut", "late", "half", "nothing"])
def test_caps_hold_by_the_servers_own_count(tmp_path: Path, word: str) -> None:
    """Every second prompt never gets a reply that can be read, though the model has written one."""
    met = Counter[str]()

    def fault(text: str) -> str:
        met[text] += 1
        return word if "<prompt>" in text and met[text] <= 2 else "own"

    with Server(answer=teaches) as server:
        server.fault = fault
        made = project(tmp_path, server)
        rewrite.run(made.ctx("rewrite"))
        assert 0 < server.counted <= booked(made) <= CAP
        assert {row.state for row in rows(made)} <= {"proposed", "failed"}


def test_the_purse_is_asked_before_every_further_try(tmp_path: Path) -> None:
    """One try is affordable, and its loss leaves too little for another."""
    with Server(answer=teaches) as server:
        server.fault = lambda text: "cut"
        made = project(tmp_path, server, "teacher.batch_size = 2\n", cap=1300, concurrency=1)
        with pytest.raises(Waiting, match=r"[1-9][\d,]* of 1,300 tokens used"):
            rewrite.run(made.ctx("rewrite"))
        assert server.seen.total() == 1
        assert server.counted <= booked(made) <= 1300
        assert {(row.state, row.attempts) for row in rows(made)} == {("owed", 0)}, "no try is taken from the rewrite"
        rewrite.run(made.ctx("rewrite"))
        assert server.seen.total() == 1, "who goes on as it is pays for nothing more"


def test_without_a_cap_lost_tries_are_told_apart_from_calls(tmp_path: Path) -> None:
    met = Counter[str]()

    def fault(text: str) -> str:
        met[text] += 1
        return "cut" if met[text] == 1 else "own"

    with Server(answer=teaches) as server:
        server.fault = fault
        made = project(tmp_path, server, cap=0)
        rewrite.run(made.ctx("rewrite"))
        asked = teacher.asked(made.db, 0)
        assert (asked["calls"], asked["failed"], asked["lost"]) == (14, 0, len(met))
        assert asked["tokens_in"] + asked["tokens_out"] - asked["lost_tokens"] == 14 * 18
        assert all((r.tokens_in, r.tokens_out) == (22, 14) for r in rows(made)), "forecasts learn from what came"
        assert not [call for call in made.ctx("x").rows(SentCall) if call.open]


class Dies(StoreCtx):
    """Ends at its n-th save, before it writes, as a killed process does."""

    left = 0

    def save(self, rows: Sequence[Row], done: int | None = None) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled
        super().save(rows, done)


@pytest.mark.parametrize("after", range(1, 7))
def test_a_resumed_run_knows_what_was_under_way(tmp_path: Path, after: int) -> None:
    with Server(answer=teaches) as server:
        made = project(tmp_path, server)
        ctx = Dies(made.db, made.folder, made.config, 0, "rewrite")
        ctx.left = after
        with pytest.raises(Cancelled):
            rewrite.run(ctx)
        under_way = [call for call in made.ctx("x").rows(SentCall) if call.open]
        rewrite.run(made.ctx("rewrite"))
        assert server.counted <= booked(made) <= CAP
        asked = teacher.asked(made.db, 0)
        assert asked["lost"] == len(under_way)
        assert any("were under way when the last run ended" in line for line in made.events()) == bool(under_way)
