"""What a teacher's reply makes of a rewrite: a new prompt, one of its answers, another try, a failure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace as changed

from msgspec.structs import replace

from engine.backends import Generation
from engine.chat import prompts
from engine.config import schema as configs
from engine.plurals import counted
from engine.stage import Ctx
from engine.store.rows import AGAIN, Message, Rewrite, Sample, dump_messages
from engine.store.teacher import TeacherCall
from engine.teacher.job import ANSWER, PROMPT, Phase, RewriteJob, context, worst


def record_reply(
    ctx: Ctx, job: RewriteJob, row: Rewrite, phase: Phase, reply: Generation, how: configs.Teacher
) -> tuple[Rewrite, TeacherCall]:
    """A reply came: ``row`` as it is then, known to ``job``, and the call for the books. ``how`` has its price."""
    attempt = phase.tries(row) + 1
    if reply.uncounted:
        most_in, most_out = worst(job, phase, row, how)
        reply = changed(reply, tokens_in=most_in, tokens_out=most_out)
    last = attempt >= most_tries(how, phase, row)
    made = after_reply(job.samples[row.sample_id], row, phase, reply, how, last)
    job.hear(ctx, (row.key, phase.name, attempt), made.reason)
    if phase is PROMPT and made.state == ANSWER.state and (found := job.refusal(ctx, made)):
        state = "failed" if last else PROMPT.state
        made = replace(made, state=state, prompt=None, reason=str(found), raw=reply.text)
    job.update([made])
    return made, job.book(ctx, row.key, phase.name, reply, how)


def after_reply(
    sample: Sample, row: Rewrite, phase: Phase, reply: Generation, how: configs.Teacher, last: bool
) -> Rewrite:
    """``row`` after a reply: in the next state, or with one more attempt, or failed after the ``last`` one."""
    row = _counted(row, phase, reply, how.price)
    text, reason = read_reply(sample, row.axis, phase, reply)
    if text is None:
        over = last or reply.final
        if over and phase is ANSWER and (there := draws(row)):
            return proposed(sample, row, there)
        return replace(row, state="failed" if over else row.state, reason=reason, raw=reply.text)
    if phase is PROMPT:
        return replace(row, state="prompted", prompt=text, reason=None, raw=None)
    there = [*draws(row), text]
    if len(there) < wanted(how, row) and not last:
        return replace(row, draws=json.dumps(there, ensure_ascii=False), reason=None, raw=None)
    return proposed(sample, row, there)


def proposed(sample: Sample, row: Rewrite, there: Sequence[str]) -> Rewrite:
    """``row`` with the first of its answers; verify chooses among several (``engine.verification.best_draw``)."""
    turns = (*context(sample, row.axis), Message("user", row.prompt or ""), Message("assistant", there[0]))
    several = json.dumps(there, ensure_ascii=False) if len(there) > 1 else None
    text = {"response": there[0], "messages": dump_messages(turns), "draws": several}
    return replace(row, state="proposed", reason=None, raw=None, **text)


def draws(row: Rewrite) -> list[str]:
    """The answers that were drawn so far, while more are wanted."""
    return [str(text) for text in json.loads(row.draws or "[]")]


def wanted(how: configs.Teacher, row: Rewrite) -> int:
    """How many answers are drawn for a rewrite. The answer to a sample's own prompt is evidence first: one."""
    evidence = row.is_evidence and not row.attempts and row.draws is None
    return 1 if evidence else how.best_of


def most_tries(how: configs.Teacher, phase: Phase, row: Rewrite) -> int:
    """After how many tries of a call no more follows. Where more answers follow a probe's second one, the tries of the
    first are counted as well.
    """
    if phase is PROMPT:
        return how.attempts
    before = row.first_calls if row.draw == AGAIN and row.draws is not None and not row.attempts else 0
    return how.attempts + before + wanted(how, row) - 1


def read_reply(sample: Sample, axis: str, phase: Phase, reply: Generation) -> tuple[str | None, str | None]:
    """The new prompt or the answer from a reply, or the reason why it is unusable."""
    if reply.error:
        return None, reply.error
    if reply.finish_reason == "length":
        return None, f"the reply was cut off at {counted(reply.tokens_out, 'token')} (teacher.max_new_tokens)"
    if phase is PROMPT:
        prompt, reason = prompts.parse_prompt(reply.text, original=sample.prompt)
        copied = axis == "diversity" and prompt is not None and prompt.split() == sample.prompt.split()
        return (None, "the new prompt equals the original prompt") if copied else (prompt, reason)
    text = prompts.spoken(reply.text)
    return (text, None) if text else (None, "the answer is empty")


def _counted(row: Rewrite, phase: Phase, reply: Generation, prices: configs.Prices) -> Rewrite:
    """``row`` with one more call's tokens and cost added."""
    return replace(
        row,
        attempts=row.attempts + (phase is PROMPT),
        answer_attempts=row.answer_attempts + (phase is ANSWER),
        tokens_in=row.tokens_in + reply.tokens_in,
        tokens_out=row.tokens_out + reply.tokens_out,
        cost=row.cost + prices.cost(reply.tokens_in, reply.tokens_out),
    )
