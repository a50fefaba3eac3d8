"""Pauses, cancels, deaths and changes of mind while batches are out: nothing is paid twice, nothing done is lost."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.backends.openai_batches import Batches
from engine.errors import BackendError, Cancelled, Paused
from engine.runtime.context import StoreCtx
from engine.store import teacher, write
from engine.store.rows import Rewrite
from engine.teacher import batch as rewrite_batch
from engine.teacher import batch_ledger
from tests.support import rounds, tiny
from tests.support.batch_server import BatchServer
from tests.support.batched_rounds import (
    PROPOSED,
    batches,
    checked,
    ends,
    no_waiting,
    project,
    run,
    server,
    teach,
    teaches,
)
from tests.support.chat_server import MODEL
from tests.support.rewriting import rows

__all__ = ["no_waiting", "server"]  # fixtures


def wish(made: tiny.Project, server: BatchServer, step: str, want: str) -> None:
    """Ask for ``want`` when ``step`` was done for the first time, before its reply is sent."""

    def watch(done: str) -> None:
        if done == step:
            server.watch = lambda step: None
            made.want(want)

    server.watch = watch


def left_out(folder: Path, server: BatchServer) -> tiny.Project:
    """A project that was paused while its first batch was out; when it goes on, the server is done with it."""
    made = project(folder, server)
    server.stands = lambda batch: "in_progress"
    wish(made, server, "look", "pause")
    with pytest.raises(Paused):
        run(made)
    made.want("run")
    server.stands = lambda batch: "completed"
    return made


@pytest.mark.parametrize("step", ["upload", "create", "look", "content"])
def test_a_pause_leaves_the_batch_there_and_the_next_run_takes_it_up(
    tmp_path: Path, server: BatchServer, step: str
) -> None:
    made = project(tmp_path, server)
    server.stands = lambda batch: "in_progress" if step == "look" else "completed"
    wish(made, server, step, "pause")
    with pytest.raises(Paused):
        run(made)
    assert server.took["cancel"] == 0
    if step == "look":
        facts = teacher.batches(made.db, 0)
        assert facts is not None
        assert (facts["calls"], facts["ids"], facts["status"]) == (7, ["batch_0"], "in_progress")
        assert facts["until"] - facts["since"] == 86_400
    made.want("run")
    server.stands = lambda batch: "completed"
    run(made)
    checked(made, server, 14)
    assert ends(made) == PROPOSED
    assert teacher.batches(made.db, 0) is None


def test_a_pause_ends_a_wait_at_once(tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is silent is not waited for, nor is the next look."""
    made = project(tmp_path, server, timeout_s=3600.0)

    def hang(step: str) -> None:
        if step == "look":
            made.want("pause")
            server.closing.wait(60)

    server.watch = hang
    with pytest.raises(Paused):
        run(made)
    server.watch, server.stands = lambda step: None, lambda batch: "in_progress"
    made.want("run")
    monkeypatch.setattr(rewrite_batch, "FIRST_POLL_S", 3600.0)
    monkeypatch.setattr(rewrite_batch, "LONGEST_POLL_S", 3600.0)
    wish(made, server, "look", "pause")
    with pytest.raises(Paused):
        run(made)


def test_looks_come_further_apart(tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite_batch, "FIRST_POLL_S", 5.0)
    waits: list[float] = []
    monkeypatch.setattr(Batches, "rest", lambda self, seconds: waits.append(seconds))
    server.stands = lambda batch: "completed" if len(waits) >= 13 else "in_progress"
    run(project(tmp_path, server))
    assert waits[:3] == [5.0, 7.5, 11.25]
    assert waits[10:13] == pytest.approx([288.3, 300.0, 300.0], abs=0.1)


def test_a_cancel_ends_the_batch_there_and_takes_what_was_done(tmp_path: Path, server: BatchServer) -> None:
    made = project(tmp_path, server)
    server.stands = lambda batch: "completed" if server.took["cancel"] else "in_progress"
    server.share = 0.5
    wish(made, server, "look", "cancel")
    with pytest.raises(Cancelled):
        run(made)
    assert server.took["cancel"] == 1
    assert teacher.asked(made.db, 0)["calls"] == 4
    assert Counter(r.state for r in rows(made)) == {"prompted": 4, "owed": 3}
    made.want("run")
    run(made)
    checked(made, server, 14)
    assert ends(made) == PROPOSED


def test_a_cancel_that_takes_long_is_taken_in_by_the_next_run(tmp_path: Path, server: BatchServer) -> None:
    made = project(tmp_path, server)
    made.config = msgspec.structs.replace(made.config, launch=msgspec.structs.replace(made.config.launch, grace_s=1))
    server.stands = lambda batch: batch["status"] if server.took["cancel"] else "in_progress"
    server.share = 0.5
    wish(made, server, "look", "cancel")
    with pytest.raises(Cancelled):
        run(made)
    assert any("the next run collects the finished calls" in line for line in made.events())
    facts = teacher.batches(made.db, 0)
    assert facts is not None
    assert facts["cancelling"]
    made.want("run")
    server.stands = lambda batch: "completed"
    run(made)
    checked(made, server, 14)
    assert batches(made)[0].calls == 7


def test_without_batch_what_is_out_is_called_off_and_the_rest_asked_one_by_one(
    tmp_path: Path, server: BatchServer
) -> None:
    made = left_out(tmp_path, server)
    server.share = 0.5
    teach(made, server, batch=False, prices={MODEL: {"input": 1e6}})
    run(made)
    checked(made, server, 14)
    assert (server.took["cancel"], server.took["create"]) == (1, 1)
    assert teacher.asked(made.db, 0)["cost"] == 4 * 11 * 0.5 + 10 * 11, "each at the price of its way"


def test_rewrites_that_were_thrown_away_meanwhile_are_paid_all_the_same(tmp_path: Path, server: BatchServer) -> None:
    made = left_out(tmp_path, server)
    write.reset(made.db, 0, ["select", "rewrite"])
    run(made)
    assert rows(made) == []
    asked = teacher.asked(made.db, 0)
    assert (asked["calls"], asked["tokens_in"]) == (7, 77)
    assert not any(batch.pending for batch in batches(made))


def test_batches_at_another_address_are_left_and_found_again(tmp_path: Path, server: BatchServer) -> None:
    made = left_out(tmp_path, server)
    with BatchServer(answer=teaches) as other:
        run(teach(made, other))
        assert other.replied.total() == 14
        assert any(f"batches at {server.url} are not collected" in line for line in made.events())
    run(teach(made, server))
    assert teacher.asked(made.db, 0)["calls"] == 21, "what was paid there is counted"
    assert ends(made) == PROPOSED


def test_a_batch_that_this_key_cannot_see_is_not_paid_twice(tmp_path: Path, server: BatchServer) -> None:
    made = left_out(tmp_path, server)
    hidden = server.batches.pop("batch_0")
    with pytest.raises(BackendError, match=r"no batch batch_0 for this API key, but it has 7 calls.*sent again"):
        run(made)
    server.batches["batch_0"] = hidden
    run(made)
    checked(made, server, 14)


def test_a_death_among_the_results_makes_no_outage_of_the_failures_that_follow(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_ledger, "SAVED", 1)
    made = teach(rounds.project(tmp_path, 12), server, attempts=1)
    made.ctx("select").save([Rewrite(0, s.id, "quality", "owed") for s in rounds.dataset(made)])
    server.fault = lambda text: "own" if re.search(r"(ask|again) [01]\b", text) else "broken"
    ctx = Dies(made.db, made.folder, made.config, 0, "rewrite")
    ctx.left = 7  # the second good result is saved
    with pytest.raises(Died):
        run(made, ctx)
    assert teacher.asked(made.db, 0)["calls"] == 2
    run(made)
    assert Counter(r.state for r in rows(made)) == {"proposed": 2, "failed": 10}


class Dies(StoreCtx):
    """Dies in its n-th save, before or after it wrote."""

    left = 0
    before = False

    def save(self, rows: Any, done: int | None = None) -> None:
        self.left -= 1
        if self.left == 0 and self.before:
            raise Died
        super().save(rows, done)
        if self.left == 0:
            raise Died


class Died(BaseException):
    """Nothing may catch it, as nothing catches a kill."""


def test_a_death_in_any_save_of_a_batch_repeats_no_call(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the projection: planned, uploaded, made, looked at, over, results in parts, done; before and after each."""
    monkeypatch.setattr(batch_ledger, "SAVED", 2)
    looks = Counter[str]()

    def second_look(batch: dict[str, Any]) -> str:
        looks[batch["id"]] += 1
        return "in_progress" if looks[batch["id"]] == 1 else "completed"

    server.stands = second_look
    for point in (3, 4, 5, 6, 7, 8, 9, 11, 15, 21, 22):
        at, before = (point + 1) // 2, point % 2 == 1
        made = project(tmp_path / str(point), server)
        server.replied.clear()
        ctx = Dies(made.db, made.folder, made.config, 0, "rewrite")
        ctx.left, ctx.before = at, before
        with pytest.raises(Died):
            run(made, ctx)
        state = "new" if point < 8 else "open" if point < 22 else "done"
        assert [batch.state for batch in batches(made)] == ([] if point == 3 else [state])
        run(made)
        checked(made, server, 14)
        assert ends(made) == PROPOSED
