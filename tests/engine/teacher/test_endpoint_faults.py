"""Every fault that an endpoint is known for, mixed in one run of the stage: nothing lost, nothing twice, all told."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from engine.config.schema import Teacher
from engine.errors import BackendError, Waiting
from engine.stages import rewrite
from engine.store import teacher
from engine.store.rows import Rewrite
from tests.support import rounds, tiny
from tests.support.chat_server import MODEL, Server

ROWS = 40
PASSING = ("own", "busy", "wait", "shaky", "flaky")  # 429 at once and after a second, one 500, one cut connection
LASTING = {
    "broken": "answered 500",
    "hang": "no reply within",
    "half": "cannot be read",
    "cut": "connection failed",
    "overflow": "maximum context length",
    "empty": "",
}
WORDS = (*PASSING, *LASTING)
Step = tuple[int, str]


def place(text: str) -> Step:
    """Which sample a request is about, and which of its two calls it is."""
    found = re.search(r"ask (\d+)", text)
    assert found is not None
    return int(found[1]), "prompt" if "<prompt>" in text else "answer"


def fault(text: str) -> str:
    """The first half of the samples meets theirs at the prompt, the others at the answer."""
    number, step = place(text)
    return WORDS[number % len(WORDS)] if (step == "prompt") == (number < ROWS // 2) else "own"


def teaches(text: str) -> str:
    number, step = place(text)
    return f"<prompt>ask {number} once more</prompt>" if step == "prompt" else f"a good answer to {number}"


def project(folder: Path, server: Server, **more: object) -> tiny.Project:
    """Forty pending rewrites, for one axis."""
    made = rounds.project(folder, ROWS)
    how = {"backend": "openai", "url": server.url, "model": MODEL, "concurrency": 16, "timeout_s": 2.0, "retries": 1}
    made.config = msgspec.structs.replace(made.config, teacher=msgspec.convert({**how, "attempts": 2, **more}, Teacher))
    made.ctx("select").save([Rewrite(0, sample.id, "quality", "owed") for sample in rounds.dataset(made)])
    return made


def test_all_faults_in_one_run(tmp_path: Path) -> None:
    """At a cap in the middle the stage stops for a person; with the cap raised it goes on to its end."""
    with Server(answer=teaches) as server:
        server.fault = fault
        made = project(tmp_path, server, budget_tokens=9000, max_new_tokens=32)
        with pytest.raises(Waiting, match="of 9,000 tokens used"):
            rewrite.run(made.ctx("rewrite"))
        first = teacher.asked(made.db, 0)
        assert 0 < server.counted <= first["tokens_in"] + first["tokens_out"] <= 9000
        how = msgspec.structs.replace(made.config.teacher, budget_tokens=200_000)
        made.config = msgspec.structs.replace(made.config, teacher=how)
        rewrite.run(made.ctx("rewrite"))

        number = {s.id: s.seq for s in rounds.dataset(made)}
        rows = {number[row.sample_id]: row for row in made.ctx("x").rows(Rewrite)}
        assert sorted(rows) == list(range(ROWS)), "none lost, none twice"
        for at, row in rows.items():
            word = WORDS[at % len(WORDS)]
            assert row.state == ("proposed" if word in PASSING else "failed"), (word, row)
            if word in PASSING:
                assert (row.prompt, row.response) == (f"ask {at} once more", f"a good answer to {at}")
            else:
                assert LASTING[word] in (row.reason or ""), (word, row.reason)

        good = Counter[Step]()
        for text, times in server.replied.items():
            good[place(text)] += times
        stored = made.db.execute("SELECT sample_id, step FROM call WHERE error IS NULL").fetchall()
        assert Counter((number[r["sample_id"]], r["step"]) for r in stored) == good, "what the server answered, once"
        asked = teacher.asked(made.db, 0)
        assert asked["tokens_in"] + asked["tokens_out"] <= 200_000
        assert server.counted <= asked["tokens_in"] + asked["tokens_out"], "what never arrived counts as its most"
        assert asked["lost"] > 0
        assert asked["calls"] == sum(row.attempts + row.answer_attempts for row in rows.values())

        failed = sum(row.state == "failed" for row in rows.values())
        said = f"{ROWS - failed} of {ROWS} rewrites made"
        assert any(said in line and f"{failed} failed and keep the original" in line for line in made.events())


def test_a_wrong_model_name_stops_the_stage_at_once(tmp_path: Path) -> None:
    with Server(answer=teaches) as server:
        made = project(tmp_path, server, model="teacher-80b")
        with pytest.raises(BackendError, match=r"check \[teacher\] model = 'teacher-80b' and url"):
            rewrite.run(made.ctx("rewrite"))
        assert {(row.state, row.attempts) for row in made.ctx("x").rows(Rewrite)} == {("owed", 0)}
        assert teacher.asked(made.db, 0)["calls"] == 0
        assert server.seen.total() < ROWS


def test_rows_that_are_refused_end_no_run_where_others_were_made(tmp_path: Path) -> None:
    """Left alone after a stop, they are all that a new run sees of the endpoint."""
    with Server(answer=teaches) as server:
        made = project(tmp_path, server, budget_tokens=2000, max_new_tokens=32)
        with pytest.raises(Waiting):
            rewrite.run(made.ctx("rewrite"))
        server.fault = lambda text: "overflow"
        made.config = msgspec.structs.replace(
            made.config, teacher=msgspec.structs.replace(made.config.teacher, budget_tokens=0)
        )
        rewrite.run(made.ctx("rewrite"))
        states = Counter(row.state for row in made.ctx("x").rows(Rewrite))
    assert set(states) == {"proposed", "failed"}
    assert states["failed"] > 10
