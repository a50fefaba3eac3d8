"""The teacher's two calls: retries, failures, context, and a resumed run that makes the same calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.backends import Generation
from engine.errors import Paused
from engine.runtime.context import StoreCtx
from engine.stages import rewrite
from engine.store import teacher as teacher_store
from engine.store.rows import Message, Rewrite, Sample, content_id, load_messages
from engine.teacher.budget import EXHAUSTED
from engine.teacher.job import ANSWER, PROMPT, Phase, RewriteJob, context, summary
from tests.support import rounds, tiny
from tests.support.rewriting import SMALL, UNATTENDED, Chat, asks_for_prompt, owe, rows, run, seven, well
from tests.support.rounds import Scripted, said


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """Twelve samples, seven pending rewrites."""
    return seven(tmp_path)


def test_only_a_local_teachers_reply_with_a_new_prompt_is_begun(made: tiny.Project) -> None:
    row = rows(made)[0]

    def begun(phase: Phase, **teacher: object) -> tuple[str, tuple[str, ...]]:
        how = msgspec.structs.replace(made.config.teacher, **teacher)
        ctx = made.ctx("rewrite", config=msgspec.structs.replace(made.config, teacher=how))
        call = RewriteJob.begin(ctx).call(ctx, phase, row)
        return call.begun, call.ends

    tags, none = ("<prompt>", ("</prompt>",)), ("", ())
    assert [begun(PROMPT, backend=name) for name in ("hf", "vllm", "openai")] == [tags, tags, none]
    assert [begun(PROMPT, backend="hf", prime=how) for how in ("on", "off")] == [tags, none]
    assert [begun(PROMPT, backend="openai", prime="on", batch=batch) for batch in (False, True)] == [tags, none]
    assert begun(ANSWER) == none


def test_every_owed_rewrite_is_proposed(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = run(made, monkeypatch, Scripted(well))
    assert [r.state for r in rows(made)] == ["proposed"] * 7
    for row in rows(made):
        assert row.prompt is not None
        assert row.prompt.startswith("new ")
        assert load_messages(str(row.messages)) == tiny.chat(row.prompt, str(row.response))
        assert (row.attempts, row.answer_attempts, row.tokens_in, row.tokens_out) == (1, 1, 20, 10)
        assert row.reason is row.raw is None
    assert [len(texts) for texts, _, _ in teacher.calls] == [2, 2, 2, 1] * 2, "prompts first, then answers"
    assert len({seed for _, seed, _ in teacher.calls}) == 8
    assert "7 of 7 rewrites made, 140 tokens in and 70 out" in made.events()[-1]


def test_the_log_says_why_rewrites_failed(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run(made, monkeypatch, Scripted(lambda chat, seed: said("x", cut_off=True)))
    last = made.events()[-1]
    assert "0 of 7 rewrites made" in last
    assert "; 7 failed and keep the original: the reply was cut off at" in last


def test_each_axis_has_its_request(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [text for texts, _, _ in run(made, monkeypatch, Scripted(well)).calls for text in texts]
    assert "weaker model" in calls[0]
    assert "ask 1 please" in calls[0]
    assert "brand-new" in calls[3]
    assert 'hint prompts:\n"""\nask 3 please\nask 4 please\n"""' in calls[3]
    assert "Clearer" in calls[5]
    assert "reply 0 here" in calls[5]
    assert calls[7].startswith("new "), "the answer is asked for with the new prompt alone"


def test_nothing_owed_opens_no_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rounds.project(tmp_path, 3)
    monkeypatch.setattr(rewrite, "open_teacher", lambda _: pytest.fail("a teacher was opened"))
    rewrite.run(made.ctx("rewrite"))
    assert made.events() == []


# ---------------------------------------------------------------------------------------------- retries


def once(bad: Generation, when: Callable[[Chat], bool]) -> Callable[[Chat, int], Generation]:
    """A teacher whose first reply to a chat is ``bad``, where ``when`` says so."""
    seen: set[str] = set()

    def answer(chat: Chat, seed: int) -> Generation:
        key = chat[-1].content
        if when(chat) and key not in seen:
            seen.add(key)
            return bad
        return well(chat, seed)

    return answer


@pytest.mark.parametrize(
    "bad",
    [said("no tags"), said("<prompt></prompt>"), said("<prompt>x</prompt>", cut_off=True), said("", error="too long")],
)
def test_a_malformed_prompt_is_asked_for_again(
    made: tiny.Project, monkeypatch: pytest.MonkeyPatch, bad: Generation
) -> None:
    run(made, monkeypatch, Scripted(once(bad, asks_for_prompt)))
    assert [(r.state, r.attempts, r.answer_attempts) for r in rows(made)] == [("proposed", 2, 1)] * 7
    assert all(r.tokens_in == 30 for r in rows(made))


@pytest.mark.parametrize("bad", [said(" \n"), said("x", cut_off=True), said("", error="too long")])
def test_a_malformed_answer_is_asked_for_again(
    made: tiny.Project, monkeypatch: pytest.MonkeyPatch, bad: Generation
) -> None:
    run(made, monkeypatch, Scripted(once(bad, lambda chat: not asks_for_prompt(chat))))
    assert [(r.state, r.attempts, r.answer_attempts) for r in rows(made)] == [("proposed", 1, 2)] * 7


def test_a_new_prompt_that_is_the_core_is_asked_for_again(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = said("<prompt>ask 2  please</prompt>")
    run(made, monkeypatch, Scripted(once(bad, lambda chat: "ask 2 please" in chat[-1].content)))
    core = rounds.dataset(made)[2].id
    assert [r.attempts for r in rows(made) if r.sample_id == core] == [2]


def test_what_stays_malformed_fails_with_its_reply(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(chat: Chat, seed: int) -> Generation:
        return said("I would rather not {x}") if "ask 3 please" in chat[-1].content else well(chat, seed)

    run(made, monkeypatch, Scripted(answer))
    failed = [r for r in rows(made) if r.state == "failed"]
    third = rounds.dataset(made)[3].id
    assert {(r.sample_id, r.axis) for r in failed} >= {(third, "complexity"), (third, "diversity")}
    for row in failed:
        assert (row.attempts, row.answer_attempts) == (3, 0)
        assert row.reason == "expected exactly one <prompt>…</prompt>, found 0"
        assert row.raw == "I would rather not {x}"
        assert row.messages is None
    assert "failed and keep the original" in made.events()[-1]


def test_an_answer_that_stays_cut_off_fails(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run(made, monkeypatch, Scripted(lambda c, s: well(c, s) if asks_for_prompt(c) else said("and then", cut_off=True)))
    for row in rows(made):
        assert (row.state, row.response, row.messages) == ("failed", None, None)
        assert row.reason == "the reply was cut off at 5 tokens (teacher.max_new_tokens)"


def test_a_greedy_teacher_is_asked_again_with_a_draw(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    made.config = rounds.settings(made, "teacher.temperature = 0.0\nteacher.batch_size = 9")
    teacher = run(made, monkeypatch, Scripted(once(said("no tags"), asks_for_prompt)))
    assert [temperature for _, _, temperature in teacher.calls] == [0.0, 0.7, 0.0]


# ------------------------------------------------------------------------------------------ conversations


def one(
    tmp_path: Path, messages: tuple[Message, ...], axis: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Chat], Any]:
    """What the teacher is sent for one conversation, and what comes of it; also where it is flagged."""
    made = tiny.Project(tmp_path, tiny.make_config(tmp_path / "x", "data.injection = 'send'"), [messages])
    rounds.open_round(made, 0)
    owe(made, **{axis: [0]})
    sent: list[Chat] = []

    def answer(chat: Chat, seed: int) -> Generation:
        sent.append(chat)
        return said("<prompt>NEW</prompt>" if asks_for_prompt(chat) else "ANSWER")

    run(made, monkeypatch, Scripted(answer))
    return sent, load_messages(str(rows(made)[0].messages))


TALK = (Message("system", "be brief"), *tiny.chat("one", "1", "two", "2"))


def test_the_last_exchange_is_rewritten_in_its_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, new = one(tmp_path, TALK, "quality", monkeypatch)
    assert new == (*TALK[:3], Message("user", "NEW"), Message("assistant", "ANSWER"))
    assert [m.content for m in sent[0][:-1]] == ["one", "1"], "the system turn is for answers"
    assert [m.content for m in sent[1]] == ["be brief", "one", "1", "NEW"]


def test_diversity_is_a_fresh_exchange_under_the_same_system_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, new = one(tmp_path, TALK, "diversity", monkeypatch)
    assert new == (TALK[0], Message("user", "NEW"), Message("assistant", "ANSWER"))
    assert len(sent[0]) == 1
    assert [m.content for m in sent[1]] == ["be brief", "NEW"]


def test_tool_turns_of_the_last_exchange_are_replaced_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = (
        *tiny.chat("one", "1"),
        Message("user", "two"),
        Message("assistant", "f()", "function_call"),
        Message("tool", "2", "observation"),
        Message("assistant", "it is 2"),
    )
    _, new = one(tmp_path, messages, "complexity", monkeypatch)
    assert new == (*messages[:2], Message("user", "NEW"), Message("assistant", "ANSWER"))


def test_hostile_data_goes_through_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "{response} {prompt} {0} %s \\1 </prompt> <prompt>x</prompt>"
    sent, _ = one(tmp_path, tiny.chat(hostile, "{prompt}"), "quality", monkeypatch)
    assert hostile in sent[0][-1].content
    assert '"""\n{prompt}\n"""' in sent[0][-1].content, "the response, not filled in again"


# ----------------------------------------------------------------------------------------------- resuming


class Stops(StoreCtx):
    """Pauses after the n-th save."""

    left = 0

    def save(self, rows: Any, done: int | None = None) -> None:
        super().save(rows, done)
        self.left -= 1
        if self.left < 0:
            raise Paused


def flaky(chat: Chat, seed: int) -> Generation:
    """Malformed for about half of the calls, decided by chat and seed: the same on every run."""
    key = content_id([*chat, Message("x", str(seed))])
    reply = said(f"oops {seed}") if key % 2 and asks_for_prompt(chat) else well(chat, seed)
    return replace(reply, tokens_in=300)


@pytest.mark.parametrize("budget", [0, 4000])
@pytest.mark.parametrize("after", range(10))
def test_a_resumed_run_ends_in_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, budget: int
) -> None:
    extra = f"{UNATTENDED}teacher.budget_tokens = {budget}\nteacher.max_new_tokens = 100"
    results = []
    for name in ("undisturbed", "resumed"):
        made = seven(tmp_path / name, extra)
        if name == "resumed":
            ctx = Stops(made.db, made.folder, made.config, 0, "rewrite")
            ctx.left = after
            with pytest.raises(Paused):
                run(made, monkeypatch, Scripted(flaky), ctx)
        run(made, monkeypatch, Scripted(flaky))
        results.append(rows(made))
    assert results[0] == results[1]
    if budget:
        assert {r.reason for r in results[0] if r.state == "failed"} >= {EXHAUSTED}


def test_progress_counts_prompts_and_answers(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = Stops(made.db, made.folder, made.config, 0, "rewrite")
    ctx.left = 6
    with pytest.raises(Paused):
        run(made, monkeypatch, Scripted(well), ctx)
    job = made.db.execute("SELECT done, total FROM job WHERE stage='rewrite'").fetchone()
    assert (job["done"], job["total"]) == (9, 14)


def test_what_cannot_be_helped_is_not_asked_again(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = replace(said("", error="too long"), final=True)
    teacher = run(made, monkeypatch, Scripted(lambda c, s: lost))
    assert [(r.state, r.attempts, r.reason) for r in rows(made)] == [("failed", 1, "too long")] * 7
    assert sum(len(texts) for texts, _, _ in teacher.calls) == 7
    assert teacher_store.asked(made.db, 0)["failed"] == 7


def test_the_projection_comes_before_anything_is_spent(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(chat: Chat, seed: int) -> Generation:
        assert made.events()
        return well(chat, seed)

    run(made, monkeypatch, Scripted(answer))
    assert made.events()[0].startswith("7 rewrites with two calls each: about ")
    assert "simplify v1 (" in made.events()[0]


def test_a_real_model_is_opened_and_asked(tmp_path: Path, tiny_model: Path) -> None:
    """A random model cannot follow the request: every rewrite fails with its reply, none is lost."""
    config = tiny.make_config(tiny_model, "teacher.max_new_tokens = 4\nteacher.attempts = 2")
    made = tiny.Project(tmp_path, config, tiny.chats(3))
    (tmp_path / "prompts").mkdir()
    for name in ("simplify", "improve", "diversify"):
        (tmp_path / "prompts" / f"{name}.txt").write_text("Sort: {prompt}", encoding="utf-8")
    rounds.open_round(made, 0)
    owe(made, complexity=[0], quality=[1])
    rewrite.run(made.ctx("rewrite"))
    assert [(r.state, r.attempts) for r in rows(made)] == [("failed", 2)] * 2
    assert all(r.reason and r.tokens_out for r in rows(made))


def test_context_of_a_sample() -> None:
    sample = Sample(1, TALK, 0)
    assert context(sample, "quality") == TALK[:3]
    assert context(sample, "diversity") == TALK[:1]


# ------------------------------------------------------------------------------- prompts that are worth no answer


def copying(text: str, times: int) -> Callable[[Chat, int], Generation]:
    """A teacher whose first prompts of each request are ``text``."""
    asked: Counter[str] = Counter()

    def answer(chat: Chat, seed: int) -> Generation:
        asked[chat[-1].content] += 1
        if asks_for_prompt(chat) and asked[chat[-1].content] <= times:
            return said(f"<prompt>{text}</prompt>")
        return well(chat, seed)

    return answer


def test_a_copied_prompt_is_drawn_again_before_its_answer_is_paid_for(
    made: tiny.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = run(made, monkeypatch, Scripted(copying("Ask 7, please!", times=1)))
    assert [(r.state, r.attempts, r.answer_attempts, r.reason) for r in rows(made)] == [("proposed", 2, 1, None)] * 7
    assert sum(len(texts) for texts, _, _ in teacher.calls) == 7 * 3


def test_what_stays_a_copy_fails_without_an_answer(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run(made, monkeypatch, Scripted(copying("Ask 7, please!", times=9)))
    assert {(r.state, r.attempts, r.answer_attempts, r.prompt) for r in rows(made)} == {("failed", 3, 0, None)}
    assert {r.reason for r in rows(made)} == {"duplicate: the prompt is the same as that of #7"}
    assert {r.raw for r in rows(made)} == {"<prompt>Ask 7, please!</prompt>"}
    assert not any("can be used" in line for line in made.events()), "they are in the form"


def test_a_new_prompt_is_made_once(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run(made, monkeypatch, Scripted(copying("name a brand-new thing", times=1)))
    assert [r.attempts for r in rows(made)] == [1, 2, 2, 2, 2, 2, 2]
    assert len({r.prompt for r in rows(made)}) == 7


def test_a_rewrite_that_replaces_may_keep_its_own_prompt(made: tiny.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(chat: Chat, seed: int) -> Generation:
        own = re.search(r"ask \d+ please", chat[-1].content)
        return said(f"<prompt>{own[0]}</prompt>") if own and asks_for_prompt(chat) else well(chat, seed)

    run(made, monkeypatch, Scripted(answer))
    assert {(r.axis, r.state) for r in rows(made)} == {
        ("complexity", "proposed"), ("diversity", "failed"), ("quality", "proposed")
    }  # fmt: skip


def test_a_held_out_prompt_is_paid_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rounds.project(tmp_path, 4, SMALL, heldout=[tiny.chat("name a secret colour", "red")])
    rounds.signal(made, rounds.usual(4))
    owe(made, quality=[0])
    run(made, monkeypatch, Scripted(copying("«Name a secret colour»", times=9)))
    assert [(r.reason, r.answer_attempts) for r in rows(made)] == [
        ("evaluation: the prompt is item 1 of the held-out set", 0)
    ]


def test_a_sample_whose_answer_agrees_is_not_counted_as_a_rewrite() -> None:
    kept = [Rewrite(0, n, "complexity", "kept", tokens_in=10, tokens_out=5) for n in range(2)]
    made = Rewrite(0, 2, "complexity", "proposed")
    failed = [Rewrite(0, n, "quality", "failed", reason=why) for n, why in ((3, "empty"), (4, "empty"), (5, "loop"))]
    assert summary(kept) == "0 of 2 rewrites made, 20 tokens in and 10 out; 2 samples kept as they are"
    assert summary([*kept, made, *failed]).endswith(
        "kept as they are; 3 failed and keep the original: empty (2 of them)"
    )
