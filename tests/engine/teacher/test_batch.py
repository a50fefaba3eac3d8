"""Rewrites through a provider's batches: nothing lost, nothing given away twice, whatever the provider does."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from engine.backends.openai_batches import LONGEST_PAUSE_S, Batches
from engine.errors import BackendError, Waiting
from engine.store import teacher, write
from engine.store.rows import Rewrite, load_messages
from engine.store.teacher import BatchCall
from engine.teacher import batch as rewrite_batch
from engine.teacher.budget import EXHAUSTED
from tests.support import rounds
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


def test_prompts_then_answers_each_as_one_batch(tmp_path: Path, server: BatchServer) -> None:
    made = project(tmp_path, server, prices={MODEL: {"input": 1000.0, "output": 2000.0}})
    run(made)
    checked(made, server, 14)
    assert server.took == {"list": 1, "upload": 2, "create": 2, "look": 2, "content": 2, "delete": 4}
    assert ends(made) == PROPOSED
    for row in rows(made):
        place = next(s.seq for s in rounds.dataset(made) if s.id == row.sample_id)
        assert load_messages(str(row.messages))[1].content == f"an\u2028swer\x85 to {place}", "results came reversed"
        assert row.cost == pytest.approx(0.5 * (22 * 1000 + 14 * 2000) / 1e6), "half the price"
    assert teacher.asked(made.db, 0)["cost"] == pytest.approx(sum(r.cost for r in rows(made)))
    ahead = teacher.projected(made.db, 0)
    assert ahead is not None
    assert ahead["cost"] == pytest.approx(
        0.5 * (ahead["tokens_in"] * 1000 + ahead["tokens_out"] * 2000) / 1e6, rel=1e-3
    )
    names = {json.loads(line)["custom_id"] for file in ("file-0", "file-2") for line in server.files[file].splitlines()}
    assert len(names) == 14
    assert max(map(len, names)) <= 64
    assert sorted(server.deleted) == ["file-0", "file-1", "file-2", "file-3"], "no text stays at the provider"
    assert any(server.url in line and "in batches" in line for line in made.events()), "where the texts go is said"
    run(made)
    assert server.took["create"] == 2, "a stage that is done asks for nothing"


def test_a_bad_reply_is_asked_for_again_in_another_batch(tmp_path: Path, server: BatchServer) -> None:
    first = Counter[str]()

    def stutters(text: str) -> str:
        first[text] += 1
        return "no tags" if "<prompt>" in text and "ask 3" in text and first[text] == 1 else teaches(text)

    server.answer = stutters
    made = project(tmp_path, server)
    run(made)
    again = sum(times > 1 for text, times in first.items() if "<prompt>" in text)
    checked(made, server, 14 + again)
    assert again == 3, "also as a neighbour it spoils a request"
    assert [batch.calls for batch in batches(made)] == [7, 7, 3], "answers and further tries go out together"
    seeds = [body["seed"] for body in server.bodies]
    assert len(set(seeds)) == len(seeds)


WORDS = {"overflow": "maximum context", "broken": "answered 500", "half": "", "alien": "", "twice": "", "lost": ""}


def test_every_fault_of_single_results(tmp_path: Path, server: BatchServer) -> None:
    """Sample i meets fault i at its prompt, once where that can pass."""
    met = Counter[str]()

    def fault(text: str) -> str:
        word = [*WORDS][int(re.search(r"(ask|again) (\d+)", text)[2]) % len(WORDS)]  # type: ignore[index]
        met[text] += 1
        return word if "<prompt>" in text and (met[text] == 1 or word in ("overflow", "broken")) else "own"

    server.fault = fault
    made = project(tmp_path, server, attempts=2)
    made.ctx("select").save([Rewrite(0, s.id, "quality", "owed") for s in rounds.dataset(made)])
    run(made)
    number = {s.id: s.seq for s in rounds.dataset(made)}
    for row in (row for row in rows(made) if row.axis == "quality"):
        word = [*WORDS][number[row.sample_id] % len(WORDS)]
        assert row.state == ("failed" if WORDS[word] else "proposed"), (word, row)
        assert WORDS[word] in (row.reason or "")
        assert row.attempts == (2 if word == "broken" else 1), "a refusal is final, no line takes no try"
    said = next(line for line in made.events() if "are ignored" in line)
    assert re.search(r"batch_0: \d+ result lines are unreadable", said)
    asked = made.db.execute("SELECT count(*) FROM call WHERE error IS NULL").fetchone()[0]
    assert asked == server.replied.total() - sum(text == "x" for text in server.replied), "each good reply once"


STEPS = {
    "upload": ["429", "500", "cut", "lost"],
    "create": ["429", "500", "cut", "lost"],
    "look": ["429", "500", "cut", "lost", "half"],
    "content": ["429", "500", "cut", "half"],
    "list": ["429", "500"],
    "delete": ["500"],
}


@pytest.mark.parametrize("step", STEPS)
def test_every_fault_of_every_step_passes(tmp_path: Path, server: BatchServer, step: str) -> None:
    made = project(tmp_path, server, retries=5)
    server.faults[step] = list(STEPS[step])
    run(made)
    checked(made, server, 14)
    assert ends(made) == PROPOSED
    assert server.faults[step] == []
    assert len(server.batches) == 2, "a batch whose making was not heard of is not made again"
    if step == "look":
        assert [("continues there" in line, "answers again" in line) for line in made.events()].count(
            (True, False)
        ) == 1


@pytest.mark.parametrize("asked", ["1000000000", "inf"])
def test_a_provider_cannot_ask_for_an_endless_pause(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Batches, "rest", lambda _, seconds: pauses.append(seconds))
    made = project(tmp_path, server)
    server.retry_after, server.faults["create"] = asked, ["429"]
    run(made)
    assert max(pauses) == LONGEST_PAUSE_S


def test_what_does_not_pass_stops_the_stage_and_nothing_is_lost(tmp_path: Path, server: BatchServer) -> None:
    made = project(tmp_path, server, retries=1)
    server.faults["create"] = ["lost", "500"]
    server.faults["list"] = ["", "500", "500"]
    with pytest.raises(BackendError, match="answered 500"):
        run(made)
    assert ends(made) == {("owed", 0, 0)}
    run(made)
    checked(made, server, 14)
    assert len(server.batches) == 2, "the one that had been made was found"
    assert any("was already created; resuming it" in line for line in made.events())


# -------------------------------------------------------------------------------------------------- early ends


def test_an_expired_batch_keeps_what_is_done_and_the_rest_is_owed_again(tmp_path: Path, server: BatchServer) -> None:
    made = project(tmp_path, server)
    server.share = 0.5
    server.stands = lambda batch: "expired" if batch["id"] == "batch_0" else "completed"
    run(made)
    checked(made, server, 14)
    assert ends(made) == PROPOSED, "no try is taken for what was never made"
    assert [batch.calls for batch in batches(made)] == [7, 7, 3]


@pytest.mark.parametrize(
    ("status", "share", "why"),
    [
        ("expired", 0.0, "expired without any result"),
        ("cancelled", 0.5, "cancelled at the provider"),
        ("failed", 0.0, r"rejected: Invalid JSON \(request 3\)"),
    ],
)
def test_a_batch_that_ends_otherwise_stops_the_stage_with_the_reason(
    tmp_path: Path, server: BatchServer, status: str, share: float, why: str
) -> None:
    made = project(tmp_path, server)
    server.share, server.stands = share, lambda batch: status
    server.why = {"code": "invalid_json_line", "message": "Invalid JSON", "line": 3}
    with pytest.raises(BackendError, match=why):
        run(made)
    assert teacher.asked(made.db, 0)["calls"] == round(7 * share)
    assert {r.state for r in rows(made)} <= {"owed", "prompted"}
    server.stands = lambda batch: "completed"
    run(made)
    checked(made, server, 14)
    assert ends(made) == PROPOSED


def test_calls_that_all_fail_take_no_tries(tmp_path: Path, server: BatchServer) -> None:
    made = project(tmp_path, server)
    made.ctx("select").save([Rewrite(0, s.id, "quality", "owed") for s in rounds.dataset(made)])
    server.fault = lambda text: "broken"
    with pytest.raises(BackendError, match=r"failed in all its calls \(last: the endpoint answered 500"):
        run(made)
    assert ends(made) == {("owed", 0, 0)}
    server.fault = lambda text: "quota"
    with pytest.raises(BackendError, match="quota with this provider is used up"):
        run(made)
    assert ends(made) == {("owed", 0, 0)}
    server.fault = None
    run(made)
    assert ends(made) == PROPOSED


def test_refusals_of_all_that_is_left_are_final_where_others_have_worked(tmp_path: Path, server: BatchServer) -> None:
    """Else a round whose last rewrites are too long would never end."""
    made = project(tmp_path, server)
    run(made)
    late = [s.id for s in rounds.dataset(made) if s.seq not in (0, 4)]
    made.ctx("select").save([Rewrite(0, id, "quality", "owed") for id in late])
    server.fault = lambda text: "overflow"
    run(made)
    assert {(r.state, r.attempts) for r in rows(made) if r.axis == "quality" and r.sample_id in late} == {("failed", 1)}


def test_options_that_a_model_refuses_are_left_out_of_the_next_batch(tmp_path: Path, server: BatchServer) -> None:
    server.strict = ("max_tokens", "seed")
    made = project(tmp_path, server)
    run(made)
    checked(made, server, 14)
    assert ends(made) == PROPOSED
    assert [batch.calls for batch in batches(made)] == [7, 7, 7, 7], "max_tokens, seed, prompts, answers"
    assert json.loads(batches(made)[-1].options)["max_tokens"] == "max_completion_tokens"
    assert sum("its default is used" in line for line in made.events()) == 1


def test_too_many_tokens_waiting_makes_smaller_batches(tmp_path: Path, server: BatchServer) -> None:
    server.most = 3
    made = project(tmp_path, server)
    run(made)
    checked(made, server, 14)
    sizes = [batch.calls for batch in batches(made)]
    assert sizes[:2] == [7, 3], "half of what was too much"
    assert all(size <= 3 for size in sizes[1:])
    assert any("at most 3 at a time" in line for line in made.events())
    assert set(server.deleted) == server.files.keys(), "also those of which no batch was made"
    write.reset(made.db, 0, ["rewrite"])
    run(made)
    assert all(batch.calls <= 3 for batch in batches(made)[len(sizes) :]), "it is remembered"
    server.most = 0
    write.reset(made.db, 0, ["rewrite"])
    with pytest.raises(BackendError, match="accepts no more batched calls now"):
        run(made)


def test_a_file_is_no_larger_than_providers_take(
    tmp_path: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrite_batch, "MOST_BYTES", 4000)
    made = project(tmp_path, server)
    run(made)
    checked(made, server, 14)
    assert len(batches(made)) > 2
    assert max(len(data) for id, data in server.files.items() if b"custom_id" in data and b"POST" in data) <= 4000


def test_a_server_without_batches_is_told_before_any_text_is_sent(tmp_path: Path, server: BatchServer) -> None:
    server.without = True
    made = project(tmp_path, server)
    with pytest.raises(BackendError, match=r"has no batch API .*\[teacher\] batch = false"):
        run(made)
    assert server.took == {"list": 1}


# ------------------------------------------------------------------------------------------------- the caps


def test_a_cap_makes_batches_smaller(tmp_path: Path, server: BatchServer) -> None:
    made = project(tmp_path, server, budget_tokens=2000, max_new_tokens=32)
    run(made)
    checked(made, server, 14)
    assert len(batches(made)) > 2, "a call that is out counts as the most that it can take"
    most = Counter[str]()
    for call in made.ctx("x").rows(BatchCall):
        most[call.token] += call.tokens_in + call.tokens_out
    assert max(most.values()) <= 2000


def test_at_the_cap_a_person_is_asked(tmp_path: Path, server: BatchServer) -> None:
    made = project(tmp_path, server, budget_tokens=1100, max_new_tokens=32)
    with pytest.raises(Waiting, match="of 1,100 tokens used"):
        run(made)
    used = sum(r.tokens_in + r.tokens_out for r in rows(made))
    assert 0 < used == 18 * server.replied.total() <= 700
    assert {r.reason for r in rows(made) if r.state in ("owed", "prompted")} == {EXHAUSTED}
    teach(made, server, budget_tokens=100_000, max_new_tokens=32)
    run(made)
    checked(made, server, 14)
    assert ends(made) == PROPOSED
