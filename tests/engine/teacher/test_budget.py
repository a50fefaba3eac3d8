"""Caps on the teacher's tokens and money: never exceeded, a person is asked, and what was spent stays spent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.backends import Generation
from engine.errors import Waiting
from engine.store import teacher as teacher_store
from engine.store import write
from engine.teacher.budget import EXHAUSTED
from tests.support import rounds, tiny
from tests.support.rewriting import SMALL, UNATTENDED, Chat, owe, rows, run, seven, well
from tests.support.rounds import Scripted


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """Twelve samples, seven pending rewrites."""
    return seven(tmp_path)


def spent(made: tiny.Project) -> int:
    return sum(r.tokens_in + r.tokens_out for r in rows(made))


def costly(chat: Chat, seed: int) -> Generation:
    """Uses as much as it may: a token for every byte in, all of max_new_tokens out."""
    size = sum(len(m.content.encode()) for m in chat)
    return replace(well(chat, seed), tokens_in=size, tokens_out=100)


@pytest.mark.parametrize("cap", [1, 500, 4000, 8000, 12_000, 100_000])
def test_no_cap_is_ever_exceeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap: int) -> None:
    made = rounds.project(tmp_path, 12, f"{UNATTENDED}teacher.budget_tokens = {cap}\nteacher.max_new_tokens = 100")
    owe(made, complexity=[1, 3, 5], quality=[0, 4])
    run(made, monkeypatch, Scripted(costly))
    assert spent(made) <= cap
    states = [r.state for r in rows(made)]
    assert set(states) <= {"proposed", "failed"}
    assert all(r.reason == EXHAUSTED for r in rows(made) if r.state == "failed")
    assert ("failed" in states) == any(EXHAUSTED in line for line in made.events())
    assert ("proposed" in states) == (cap >= 4000), "what is paid for is answered"


def test_money_is_capped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = f"{UNATTENDED}teacher.budget_cost = 0.008\nteacher.max_new_tokens = 100\n"
    extra += 'teacher.model = "t"\nteacher.prices.t = {input = 1.0, output = 4.0}'
    made = rounds.project(tmp_path, 12, extra)
    owe(made, complexity=[1, 3, 5], quality=[0, 4])
    run(made, monkeypatch, Scripted(costly))
    total = sum(r.cost for r in rows(made))
    assert 0 < total <= 0.008
    assert total == pytest.approx(sum(r.tokens_in + 4 * r.tokens_out for r in rows(made)) / 1e6)
    assert "in cost" in made.events()[0]
    assert teacher_store.asked(made.db, 0)["cost"] == pytest.approx(total)


def capped(tmp_path: Path, cap: int) -> tiny.Project:
    """Five pending rewrites, somebody who reviews, and a cap on the tokens."""
    made = rounds.project(tmp_path, 12, f"{SMALL}teacher.budget_tokens = {cap}\nteacher.max_new_tokens = 100")
    owe(made, complexity=[1, 3, 5], quality=[0, 4])
    return made


@pytest.mark.parametrize("cap", [1, 4000, 4500])
def test_at_the_cap_a_person_is_asked_and_may_raise_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap: int
) -> None:
    made = capped(tmp_path, cap)
    with pytest.raises(Waiting, match=r"budget_tokens.*run again unchanged to continue without"):
        run(made, monkeypatch, Scripted(costly))
    assert spent(made) <= cap
    assert {r.state for r in rows(made)} <= {"owed", "prompted", "proposed"}, "nothing has failed yet"
    before = teacher_store.asked(made.db, 0)["calls"]
    assert (before > 0) == (cap > 1)
    made.config = rounds.settings(made, f"{SMALL}teacher.budget_tokens = 100000\nteacher.max_new_tokens = 100")
    teacher = run(made, monkeypatch, Scripted(costly))
    assert [r.state for r in rows(made)] == ["proposed"] * 5
    assert all((r.attempts, r.answer_attempts, r.reason) == (1, 1, None) for r in rows(made)), "none was asked twice"
    assert sum(len(texts) for texts, _, _ in teacher.calls) == 10 - before


def test_who_goes_on_with_the_same_cap_goes_on_without_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = capped(tmp_path, 4000)
    with pytest.raises(Waiting):
        run(made, monkeypatch, Scripted(costly))
    run(made, monkeypatch, Scripted(costly))
    states = [r.state for r in rows(made)]
    assert set(states) == {"proposed", "failed"}
    assert all(r.reason == EXHAUSTED for r in rows(made) if r.state == "failed")


def test_what_is_thrown_away_was_still_spent(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run(made, monkeypatch, Scripted(well))
    assert teacher_store.asked(made.db, 0)["calls"] == 14
    write.reset(made.db, 0, ["rewrite"])
    rounds.settings(made, f"{UNATTENDED}teacher.budget_tokens = 300\nteacher.max_new_tokens = 30")
    again = run(made, monkeypatch, Scripted(well))
    assert again.calls == [], "the cap is the round's, not the run's"
    asked = teacher_store.asked(made.db, 0)
    assert (asked["calls"], asked["tokens_in"], asked["tokens_out"]) == (14, 140, 70)
