"""Rewrites through a real endpoint: nothing lost, nothing asked for twice, caps kept, whatever the server does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine.config.schema import Review
from engine.errors import BackendError, Cancelled, ConfigError, Paused
from engine.stages import rewrite
from engine.store import commands
from engine.teacher.budget import EXHAUSTED
from engine.teacher.job import RETRY_TEMPERATURE
from tests.support import rounds, tiny
from tests.support.chat_server import MODEL, Server
from tests.support.rewriting import newly, rows, seven


def teaches(text: str) -> str:
    """A teacher that always does what it is asked."""
    return f"<prompt>{newly(text)}</prompt>" if "<prompt>" in text else "a good answer"


def project(folder: Path, server: Server, **more: object) -> tiny.Project:
    """Twelve samples, seven pending rewrites, ``server`` as the teacher."""
    settings = {"backend": "openai", "url": server.url, "model": MODEL, "concurrency": 4, "retries": 0} | more
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
    return seven(folder, f"[teacher]\n{lines}\n")


def test_every_owed_rewrite_is_proposed_and_counted(tmp_path: Path) -> None:
    with Server(answer=teaches) as server:
        made = project(tmp_path, server)
        rewrite.run(made.ctx("rewrite"))
        assert [(r.state, r.response) for r in rows(made)] == [("proposed", "a good answer")] * 7
        assert all(str(r.prompt).startswith("new ") for r in rows(made))
        assert all((r.attempts, r.answer_attempts, r.tokens_in, r.tokens_out) == (1, 1, 22, 14) for r in rows(made))
        assert sum(server.seen.values()) == 14
        assert any(server.url in line for line in made.events()), "where the texts are sent is said"
        rewrite.run(made.ctx("rewrite"))
        assert sum(server.seen.values()) == 14, "a stage that is done asks for nothing"


def test_a_malformed_reply_is_asked_for_again_with_another_seed(tmp_path: Path) -> None:
    first: Counter[str] = Counter()

    def stutters(text: str) -> str:
        first[text] += 1
        return "no tags" if "<prompt>" in text and first[text] == 1 else teaches(text)

    with Server(answer=stutters) as server:
        made = project(tmp_path, server)
        rewrite.run(made.ctx("rewrite"))
        assert [(r.state, r.attempts, r.answer_attempts) for r in rows(made)] == [("proposed", 2, 1)] * 7
        seeds = [body["seed"] for body in server.bodies]
        assert len(set(seeds)) == len(seeds) == 21


def test_a_greedy_teacher_is_made_to_say_something_else(tmp_path: Path) -> None:
    """What a person sends back would be answered as before; so would a malformed reply."""
    with Server(answer=teaches) as server:
        made = project(tmp_path, server, temperature=0.0)
        rewrite.run(made.ctx("rewrite"))
        assert {body["temperature"] for body in server.bodies} == {0.0}
        server.bodies.clear()
        first = rows(made)[0]
        assert commands.send_back(made.folder, 0, [first.key]) == 1
        rewrite.run(made.ctx("rewrite"))
        assert [body["temperature"] for body in server.bodies] == [RETRY_TEMPERATURE] * 2


def test_what_never_works_fails_with_its_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    with Server(answer=lambda text: "" if "ask 3" in text else teaches(text)) as server:
        made = project(tmp_path, server, attempts=2)
        rewrite.run(made.ctx("rewrite"))
        data = rounds.dataset(made)
        states = {(r.sample_id, r.axis): (r.state, r.attempts) for r in rows(made)}
        assert states[data[3].id, "complexity"] == ("failed", 2)
        assert Counter(states.values()) == {("failed", 2): 3, ("proposed", 1): 4}, (
            "also as a neighbour it spoils a request"
        )


def test_an_outage_stops_the_stage_and_takes_no_tries(tmp_path: Path) -> None:
    with Server(answer=teaches) as server:
        made = project(tmp_path, server, concurrency=1, attempts=9)
        server.down = True
        with pytest.raises(BackendError, match="calls in a row"):
            rewrite.run(made.ctx("rewrite"))
        assert [(r.state, r.attempts) for r in rows(made)] == [("owed", 0)] * 7
        server.down = False
        rewrite.run(made.ctx("rewrite"))
        assert {r.state for r in rows(made)} == {"proposed"}


@pytest.mark.parametrize(("want", "error"), [("pause", Paused), ("cancel", Cancelled)])
def test_a_wish_ends_it_and_what_was_saved_is_not_asked_for_again(
    tmp_path: Path, want: str, error: type[Exception]
) -> None:
    with Server() as server:
        made = project(tmp_path, server, concurrency=2)
        server.answer = _wishes(made, server, want)
        with pytest.raises(error):
            rewrite.run(made.ctx("rewrite"))
        saved = sum(r.attempts + r.answer_attempts for r in rows(made))
        assert 0 < saved < 14
        told = [line for line in made.events() if line.startswith("pausing: ")]
        assert len(told) == (want == "pause"), "what is waited for is said once"
        made.want("run")
        server.answer = teaches
        rewrite.run(made.ctx("rewrite"))
        assert {r.state for r in rows(made)} == {"proposed"}
        assert all((r.attempts, r.answer_attempts) == (1, 1) for r in rows(made))
        again = sum(server.seen.values()) - 14
        assert again in (range(1) if want == "pause" else range(5)), (
            "of what was handed over, a pause lets all come home"
        )


def _wishes(made: tiny.Project, server: Server, want: str) -> Callable[[str], str]:
    def answer(text: str) -> str:
        if sum(server.seen.values()) == 5:
            made.want(want)
        return teaches(text)

    return answer


@pytest.mark.parametrize("budget", [0, 500, 1200, 2500])
def test_the_token_cap_is_never_exceeded(tmp_path: Path, budget: int) -> None:
    with Server(answer=teaches) as server:
        made = project(tmp_path, server, budget_tokens=budget, max_new_tokens=32)
        made.config = msgspec.structs.replace(made.config, review=Review(policy="auto"))
        rewrite.run(made.ctx("rewrite"))
        used = sum(r.tokens_in + r.tokens_out for r in rows(made))
        assert used == 18 * sum(server.seen.values())
        states = Counter(r.state for r in rows(made))
        assert set(states) <= {"proposed", "failed"}
        if budget:
            assert used <= budget
            assert all(r.reason == EXHAUSTED for r in rows(made) if r.state == "failed")
        else:
            assert states == {"proposed": 7}


@pytest.mark.parametrize("lacking", ["url", "model"])
def test_an_endpoint_without_address_or_model_is_refused(tmp_path: Path, lacking: str) -> None:
    with Server() as server:
        made = project(tmp_path, server, **{lacking: ""})
        with pytest.raises(ConfigError, match=lacking):
            rewrite.run(made.ctx("rewrite"))
