"""Several answers for a rewrite: how many are drawn, and which one is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.backends import Generation
from engine.errors import Paused
from engine.runtime.context import StoreCtx
from engine.signals import losses
from engine.stages import select, verify
from engine.stages.rewrite import tries
from engine.store.rows import AGAIN, Flaw, Rewrite, Sample, dump_messages
from engine.store.teacher import Projected
from engine.teacher import budget
from engine.teacher.job import ANSWER, PROMPT, RewriteJob
from engine.verification import best_draw
from tests.support import rounds, tiny
from tests.support.rewriting import Chat, asks_for_prompt, newly, owe, run
from tests.support.rounds import Scripted, said

THREE = "teacher.batch_size = 2\nteacher.best_of = 3\nteacher.attempts = 2\n"


class Teacher:
    """Every answer differs; the ``bad``th call for an answer of each prompt gives an empty one."""

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.bad = bad
        self.tries: dict[str, int] = {}

    def __call__(self, chat: Chat, seed: int) -> Generation:
        text = chat[-1].content
        if asks_for_prompt(chat):
            return said(f"<prompt>{newly(text)}</prompt>")
        self.tries[text] = self.tries.get(text, 0) + 1
        return said("" if self.tries[text] in self.bad else f"answer {self.tries[text]}")


def project(folder: Path, extra: str = THREE) -> tiny.Project:
    made = rounds.project(folder, 12, extra)
    rounds.signal(made, rounds.usual(12))
    owe(made, complexity=[1, 3], diversity=[2])
    return made


@pytest.mark.parametrize(
    ("bad", "states", "kept", "calls"),
    [
        ((), "proposed", ["answer 1", "answer 2", "answer 3"], 3),
        ((2,), "proposed", ["answer 1", "answer 3", "answer 4"], 4),
        ((2, 3, 4), "proposed", None, 4),
        ((1, 2, 3, 4), "failed", None, 4),
    ],
)
def test_answers_are_drawn_until_there_are_enough(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bad: tuple[int, ...],
    states: str,
    kept: list[str] | None,
    calls: int,
) -> None:
    made = project(tmp_path)
    run(made, monkeypatch, Scripted(Teacher(bad)))
    rows = made.ctx("x").rows(Rewrite)
    assert {r.state for r in rows} == {states}
    assert {r.answer_attempts for r in rows} == {calls}
    assert [r.draws and json.loads(r.draws) for r in rows] == [kept] * 3
    if states == "proposed":
        assert {r.response for r in rows} == {"answer 1"}
    ahead = made.ctx("x").rows(Projected)[0]
    assert ahead.calls == 3 * (1 + 3)


def test_what_is_paid_for_when_the_budget_ends_is_kept(tmp_path: Path) -> None:
    made = project(tmp_path, THREE + "review.policy = 'auto'\n")
    ctx = made.ctx("rewrite")
    job = RewriteJob.begin(ctx)
    one, two, *rest = [replace(row, state="prompted", prompt="new", attempts=1) for row in job.all()]
    left = [replace(one, draws='["a"]'), replace(two, draws='["a", "b"]'), *rest]
    job.update(left)
    budget.give_up(ctx, job, left, made.config.teacher)
    kept = ctx.rows(Rewrite)
    assert [(r.state, r.reason, r.response, r.draws) for r in sorted(kept, key=lambda r: left_key(left, r))] == [
        ("proposed", budget.FEWER, "a", None),
        ("proposed", budget.FEWER, "a", '["a", "b"]'),
        ("failed", budget.EXHAUSTED, None, None),
    ]
    assert json.loads(str(next(r for r in kept if r.key == two.key).messages))[-1] == ["assistant", "a"]
    assert made.events()[-2:] == [
        "teacher budget exhausted: 1 rewrite was not made; its sample stays unchanged",
        "teacher budget exhausted: fewer answers than [teacher] best_of for 2 rewrites",
    ]


def left_key(left: list[Rewrite], row: Rewrite) -> int:
    return [one.key for one in left].index(row.key)


class _Stops(StoreCtx):
    """Pauses at every second save."""

    saves = 0

    def save(self, rows: object, done: int | None = None) -> None:
        super().save(rows, done)  # type: ignore[arg-type]
        self.saves += 1
        if self.saves % 3 == 0:
            raise Paused


def test_a_paused_draw_goes_on_to_the_same_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = project(tmp_path / "whole"), project(tmp_path / "broken")
    run(whole, monkeypatch, Scripted(Teacher()))
    teacher = Scripted(Teacher())
    for _ in range(40):
        try:
            run(broken, monkeypatch, teacher, _Stops(broken.db, broken.folder, broken.config, 0, "rewrite"))
            break
        except Paused:
            continue
    assert broken.ctx("x").rows(Rewrite) == whole.ctx("x").rows(Rewrite)


def test_only_flawed_samples_are_answered_several_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rounds.project(tmp_path, 60, THREE + 'select.threshold = "evidence"\nselect.new_samples = 0.0\n')
    rounds.signal(made, rounds.usual(60))
    data = rounds.dataset(made)
    made.ctx("score").save([Flaw(0, s.id, 1 - (i + 0.5) / 60, "ifd") for i, s in enumerate(data)])
    select.run(made.ctx("select"))

    def answer(chat: Chat, seed: int) -> Generation:
        place = int(chat[-1].content.split()[1])
        return said(f"Something else {seed}" if place < 15 else f"reply {place} here")

    run(made, monkeypatch, Scripted(answer))
    rows = {data_place(data, r): r for r in made.ctx("x").rows(Rewrite)}
    assert all(len(set(json.loads(rows[i].draws or "[]"))) == 3 for i in range(15))
    assert {r.answer_attempts for i, r in rows.items() if i < 15} == {3}
    assert {(r.answer_attempts, r.state) for i, r in rows.items() if i >= 15} == {(1, "kept")}


def data_place(data: Sequence[Sample], row: Rewrite) -> int:
    return next(s.seq for s in data if s.id == row.sample_id)


def test_the_likeliest_of_those_that_pass_is_kept(tmp_path: Path, tiny_model: Path) -> None:
    made = tiny.Project(tmp_path / "p", tiny.make_config(tiny_model), tiny.chats(4))
    rounds.open_round(made, 0)
    data = rounds.dataset(made)
    answers = ["red blue", "I'm sorry, but I can't help with that.", "green pear apple", "bread"]
    prompt = "name every word"
    row = Rewrite(0, data[0].id, "quality", "proposed", 1, prompt, answers[0], draws=json.dumps(answers))
    edited = replace(row, sample_id=data[1].id, original="[]")
    rows = [replace(r, messages=dump_messages(tiny.chat(prompt, answers[0]))) for r in (row, edited)]
    made.ctx("rewrite").save(rows)
    ctx = made.ctx("verify")
    found = losses.base_losses(ctx, [tiny.chat(prompt, text) for text in answers])
    good = {text: loss for text, loss in zip(answers, found, strict=True) if loss is not None and text != answers[1]}
    assert best_draw.choose(ctx, ctx.dataset(), verify._draw_check(ctx)) == 1
    kept = {r.sample_id: r for r in ctx.rows(Rewrite)}
    assert kept[data[0].id].response == min(good, key=lambda text: good[text])
    assert kept[data[0].id].messages == dump_messages(tiny.chat(prompt, str(kept[data[0].id].response)))
    assert kept[data[0].id].draws is None
    assert kept[data[1].id].response == answers[0], "what a person edited is theirs"
    assert best_draw.choose(ctx, ctx.dataset(), verify._draw_check(ctx)) == 0


def test_a_stopped_choice_goes_on_in_the_same_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rounds.project(tmp_path, 12, THREE)
    data = rounds.dataset(made)
    counts = [3, 2, 2, 2, 2, 2]
    rows = [
        Rewrite(0, s.id, "quality", "proposed", 1, "new", "a", draws=json.dumps(["a", "b", "c"][:n]))
        for s, n in zip(sorted(data, key=lambda s: s.id), counts, strict=False)
    ]
    made.ctx("rewrite").save([replace(r, messages=dump_messages(tiny.chat("new", "a"))) for r in rows])
    measured: list[int] = []

    def base_losses(ctx: object, chats: list[object]) -> list[float | None]:
        if len(measured) == 1:
            measured.append(0)
            raise Paused
        measured.append(len(chats))
        return [1.0] * len(chats)

    monkeypatch.setattr(losses, "base_losses", base_losses)
    monkeypatch.setattr(best_draw, "CHUNK", 6)
    with pytest.raises(Paused):
        best_draw.choose(made.ctx("verify"), made.ctx("x").dataset(), lambda *_: None)
    best_draw.choose(made.ctx("verify"), made.ctx("x").dataset(), lambda *_: None)
    assert measured == [5, 0, 4, 4], "two rewrites each, whatever is left"


def test_tries_of_further_answers_follow_those_of_the_first() -> None:
    """A probe that was asked a second time counts on: its first asking's calls are tries as well."""
    how = replace(tiny.make_config(Path("m"), THREE).teacher, attempts=3, best_of=2)
    asked = Rewrite(0, 1, "complexity", "prompted", probe=True, draw=AGAIN, draws='["one"]', answer_attempts=4)
    waves = {(AGAIN, 0): [replace(asked, first_calls=1)]}
    assert tries(waves, ANSWER, how)[-1] == ((AGAIN, 0), 5)
    assert tries(waves, PROMPT, how)[-1] == ((AGAIN, 0), 3)
