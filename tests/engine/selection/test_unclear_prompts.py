"""A prompt that names no task: how it shows in the teacher's answer, and what is asked for instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends import Generation
from engine.selection.unclear_prompts import asks_back
from engine.stages import merge, rewrite, select, verify
from engine.store.rows import Decision, Flaw, Retirement, Rewrite, Selection
from engine.verification.candidates import candidates
from tests.support import rounds, tiny
from tests.support.rewriting import Chat, asks_for_prompt, run
from tests.support.rounds import Scripted, said

COUNT = 60
EVIDENCE = 'select.threshold = "evidence"\nteacher.batch_size = 8\nselect.new_samples = 0.0\nteacher.attempts = 1\n'
ASKS = "Could you please provide the text that you want me to work on?"


@pytest.mark.parametrize(
    ("answer", "asks"),
    [
        (ASKS, True),
        ("It seems your message is incomplete. Please clarify.", True),
        ("You haven’t specified a topic.", True),
        ("I need more information to answer.", True),
        ("No text was provided.", True),
        ("What would you like me to do with it?", True),
        ("It is not clear what the task is.", True),
        ("The capital of France is Paris.", False),
        ("", False),
        (f"{'a long answer ' * 40}{ASKS}", False),
        (f"Here it is. {'word ' * 90}", False),
        (f"Dear Sir, {'we thank you for your letter of last week ' * 4}. {ASKS}", False),
    ],
)
def test_who_asks_what_is_wanted(answer: str, asks: bool) -> None:
    assert asks_back(answer) is asks


class Teacher:
    """It disagrees with the first 20 samples, and asks back at the first three; of them it repairs ``repairs``."""

    def __init__(self, repairs: int) -> None:
        self.repairs = repairs
        self.asked: list[str] = []

    def __call__(self, chat: Chat, seed: int) -> Generation:
        text = chat[-1].content
        if asks_for_prompt(chat):
            self.asked.append(text)
            place = next(i for i in range(3) if f"ask {i} please" in text)
            return said(f"<prompt>Name {place + 2} red fruits</prompt>" if place < self.repairs else "no tags")
        if not text.startswith("ask"):
            return said("Cherry and apple")
        place = int(text.split()[1])
        return said(ASKS if place < 3 else "Something else" if place < 20 else f"reply {place} here")


def project(folder: Path, monkeypatch: pytest.MonkeyPatch, teacher: Teacher, extra: str = "") -> tiny.Project:
    made = rounds.project(folder, COUNT, EVIDENCE + extra)
    rounds.signal(made, rounds.usual(COUNT))
    data = rounds.dataset(made)
    made.ctx("score").save([Flaw(0, s.id, 1 - (i + 0.5) / COUNT, "ifd") for i, s in enumerate(data)])
    select.run(made.ctx("select"))
    run(made, monkeypatch, Scripted(teacher))
    return made


def test_a_new_prompt_is_asked_for_where_the_prompt_is_the_flaw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = Teacher(repairs=2)
    made = project(tmp_path, monkeypatch, teacher)
    data = rounds.dataset(made)
    rows = {r.sample_id: r for r in made.ctx("x").rows(Rewrite)}
    first, second, third = (rows[s.id] for s in data[:3])
    assert [(r.state, r.prompt, r.response) for r in (first, second)] == [
        ("proposed", "Name 2 red fruits", "Cherry and apple"),
        ("proposed", "Name 3 red fruits", "Cherry and apple"),
    ]
    assert (third.state, third.messages) == ("failed", None)
    assert {s.sample_id for s in made.ctx("x").rows(Selection)} == {s.id for s in data[:20]}
    assert any("3 prompts name no task, by the teacher's answers" in text for text in made.events())
    assert all("it was rated low together with its response" in t or "its response" in t.lower() for t in teacher.asked)
    rewrite.run(made.ctx("rewrite"))
    assert {r.sample_id: r for r in made.ctx("x").rows(Rewrite)} == rows, "nothing is asked twice"
    found = verify.inspect(
        made.ctx("verify"), made.ctx("x").dataset(), candidates(list(rows.values()), made.ctx("x").dataset())
    )
    assert first.key not in found


def test_a_prompt_that_cannot_be_repaired_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = project(tmp_path, monkeypatch, Teacher(repairs=0))
    open_ = [r for r in made.ctx("x").rows(Rewrite) if r.state == "proposed"]
    made.ctx("review").save([Decision(0, *row.key, "accepted") for row in open_])
    merge.run(made.ctx("merge"))
    gone = {row.sample_id for row in made.ctx("x", 1).rows(Retirement) if row.reason == "flawed"}
    assert gone == {s.id for s in rounds.dataset(made)[:3]}
