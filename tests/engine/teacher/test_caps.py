"""Caps, whichever way the teacher is asked: all is made that fits, a person is asked once, and told what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine.backends import Generation
from engine.config.schema import Teacher
from engine.errors import Waiting
from engine.stages import rewrite
from engine.store import teacher
from engine.store.rows import Rewrite
from engine.teacher.budget import EXHAUSTED
from engine.teacher.job import ANSWER, PROMPT, RewriteJob
from tests.support import rounds, tiny
from tests.support.batch_server import BatchServer
from tests.support.batched_rounds import no_waiting, teach
from tests.support.chat_server import Server
from tests.support.rewriting import SMALL, UNATTENDED, newly, owe, rows, well
from tests.support.rounds import Scripted, said

__all__ = ["no_waiting"]
LIMIT = 100
WAYS = ("local", "calls", "batches")


def replies(text: str) -> str:
    return f"<prompt>{newly(text)}</prompt>" if "<prompt>" in text else "an answer"


class Case:
    """Three pending rewrites of equal length, and a teacher that is asked in one of the three ways."""

    def __init__(self, folder: Path, server: Server, way: str, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
        self.server, self.way = server, way
        self.made = rounds.project(folder, 12, UNATTENDED if policy == "auto" else SMALL)
        owe(self.made, complexity=[1, 3, 5])
        self.local = Scripted(lambda chat, seed: said(replies(chat[-1].content)))
        monkeypatch.setattr(rewrite, "open_teacher", lambda _: self.local)

    def run(self, cap: int) -> None:
        if self.way == "local":
            how = Teacher(budget_tokens=cap, max_new_tokens=LIMIT, batch_size=2)
            self.made.config = msgspec.structs.replace(self.made.config, teacher=how)
        else:
            teach(
                self.made, self.server, batch=self.way == "batches", budget_tokens=cap, max_new_tokens=LIMIT, retries=0
            )
        rewrite.run(self.made.ctx("rewrite"))

    @property
    def calls(self) -> int:
        return int(teacher.asked(self.made.db, 0)["calls"])

    def least(self) -> int:
        """What one rewrite can take at most: a token per byte and 16 around each message, and two whole replies."""
        job = RewriteJob.begin(self.made.ctx("rewrite"))
        row = job.all()[0]
        answer = job.chat(ANSWER, msgspec.structs.replace(row, prompt=job.samples[row.sample_id].prompt))
        chats = (*job.chat(PROMPT, row), *answer)
        return sum(len(m.content.encode()) + 16 for m in chats) + 2 * LIMIT

    def states(self) -> list[str]:
        return sorted(row.state for row in rows(self.made))


@pytest.fixture(params=WAYS)
def case(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Case]]:
    with BatchServer(answer=replies) as server:
        yield lambda policy: Case(tmp_path, server, request.param, monkeypatch, policy)


def test_what_cannot_fit_is_not_begun_and_the_least_cap_is_named(case: Callable[[str], Case]) -> None:
    one = case("manual")
    least = one.least()
    with pytest.raises(Waiting, match=f"0 of {least - 1:,} tokens used.* budget_tokens to {least:,} or more"):
        one.run(least - 1)
    assert one.calls == 0
    assert {row.reason for row in rows(one.made)} == {EXHAUSTED}


def test_at_the_least_cap_one_rewrite_is_made_whole_before_a_person_is_asked(case: Callable[[str], Case]) -> None:
    one = case("manual")
    least = one.least()
    with pytest.raises(Waiting, match=r"1 rewrite is made, 2 are pending.*run again unchanged to continue without"):
        one.run(least)
    assert one.calls == 2, "its prompt and its answer"
    assert one.states() == ["owed", "owed", "proposed"]


def test_who_goes_on_as_it_is_is_asked_nothing_more(case: Callable[[str], Case]) -> None:
    one = case("manual")
    with pytest.raises(Waiting):
        one.run(one.least())
    one.run(one.least())
    assert one.calls == 2, "no call either"
    assert one.states() == ["failed", "failed", "proposed"]


def test_who_raises_the_cap_by_too_little_is_asked_again_and_loses_nothing(case: Callable[[str], Case]) -> None:
    one = case("manual")
    least = one.least()
    with pytest.raises(Waiting):
        one.run(least)
    with pytest.raises(Waiting, match=f"of {least + 1:,} tokens used"):
        one.run(least + 1)
    assert (one.calls, one.states()) == (2, ["owed", "owed", "proposed"])
    one.run(10 * least)
    assert (one.calls, one.states()) == (6, ["proposed"] * 3)
    assert all((row.attempts, row.answer_attempts, row.reason) == (1, 1, None) for row in rows(one.made))


def test_where_nobody_is_asked_the_rest_fails(case: Callable[[str], Case]) -> None:
    one = case("auto")
    one.run(one.least())
    assert (one.calls, one.states()) == (2, ["failed", "failed", "proposed"])


@pytest.mark.parametrize("rewrites", range(1, 7))
def test_no_prompt_is_paid_for_that_cannot_be_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewrites: int
) -> None:
    """Whatever the cap, when answers take what is expected of them."""
    made: tiny.Project = rounds.project(tmp_path, 12, UNATTENDED)
    owe(made, complexity=[1, 2, 3, 4, 5, 6])
    how = Teacher(budget_tokens=800 * rewrites, max_new_tokens=LIMIT, batch_size=2)
    made.config = msgspec.structs.replace(made.config, teacher=how)

    def answer(chat: object, seed: int) -> Generation:
        return well(chat, seed)  # type: ignore[arg-type]

    monkeypatch.setattr(rewrite, "open_teacher", lambda _: Scripted(answer))
    rewrite.run(made.ctx("rewrite"))
    found: list[Rewrite] = rows(made)
    assert {(row.state, row.prompt is None) for row in found} <= {("proposed", False), ("failed", True)}
