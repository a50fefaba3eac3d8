"""What rewriting may take: a projection before anything is spent, caps that no call can exceed, and what is done there.

With a cap on tokens or cost no call is made that could exceed it: input is counted as one token per byte, since no
tokenizer makes more of it, output as ``max_new_tokens``. What the answers to the new prompts will probably need is kept
back, so that no prompt is paid for that cannot be answered. At the cap the stage waits for a person, who may raise it;
where nobody is asked, or who goes on with the cap as it is, keeps the originals of what could not be afforded.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from engine.config import schema as configs
from engine.errors import Waiting
from engine.stage import Ctx
from engine.store.rows import AXES, Axis, Losses, Message, Rewrite
from engine.store.teacher import Projected, fits
from engine.teacher import forecast
from engine.teacher.forecast import BegunRewrites, PendingRewrites, Usage
from engine.teacher.job import ANSWER, PROMPT, Phase, RewriteJob, context, cost

EXHAUSTED = "teacher budget exhausted"
Need = tuple[float, float]  # tokens in and out


def affordable(job: RewriteJob, phase: Phase, batch: Sequence[Rewrite], how: configs.Teacher) -> int:
    """How many of ``batch``, from its start, can be called without any chance to exceed a cap."""
    if not how.budget_tokens and not how.budget_cost:
        return len(batch)
    tokens, money = float(job.tokens), job.money
    kept = [expected_answer(job, r) for r in job.waiting(ANSWER)] if phase is PROMPT else []
    reserve_in, reserve_out = sum(a for a, _ in kept), sum(b for _, b in kept)
    for count, row in enumerate(batch):
        most_in, most_out = worst(job, phase, row, how)
        tokens += most_in + most_out
        money += cost(most_in, most_out, how.price)
        if phase is PROMPT:
            more_in, more_out = expected_answer(job, row)
            reserve_in, reserve_out = reserve_in + more_in, reserve_out + more_out
        over_tokens = how.budget_tokens and tokens + reserve_in + reserve_out > how.budget_tokens
        over_cost = how.budget_cost and money + cost(reserve_in, reserve_out, how.price) > how.budget_cost
        if over_tokens or over_cost:
            return count
    return len(batch)


def worst(job: RewriteJob, phase: Phase, row: Rewrite, how: configs.Teacher) -> tuple[float, float]:
    """Tokens in and out that one call can take at most: one token per byte, and as many as it may write."""
    chat = job.chat(phase, row)
    return float(_bytes(chat) + 16 * len(chat)), float(how.max_new_tokens)


def expected_answer(job: RewriteJob, row: Rewrite) -> tuple[float, float]:
    """Tokens in and out that the answer to a rewrite's prompt probably needs: about four bytes a token."""
    sample = job.samples[row.sample_id]
    asked = _bytes(context(sample, row.axis)) + len((row.prompt or sample.prompt).encode())
    return asked / 4 + 16, len(sample.response.encode()) / 4 + 16


def _bytes(chat: Iterable[Message]) -> int:
    return sum(len(m.content.encode()) for m in chat)


def projected(ctx: Ctx, job: RewriteJob) -> Projected:
    """What all of ``job`` will probably take, as ``projection.project`` says it on every screen."""
    how = ctx.config.teacher
    known = {row.sample_id: (row.prompt_tokens or 0, row.response_tokens or 0) for row in ctx.rows(Losses)}
    tokens = list(known.values())
    mean = sum(prompt for prompt, _ in tokens) / max(1, len(tokens))
    owed = dict.fromkeys(AXES, PendingRewrites(0, 0, 0))
    for row in job.all():
        one, (prompt, response) = owed[axis_of(row)], known.get(row.sample_id, (0, 0))
        owed[axis_of(row)] = PendingRewrites(one.rewrites + 1, one.prompt + prompt, one.response + response)
    sent = forecast.requests(mean, ctx.config, ctx.project, _examples(ctx, known))
    made = forecast.project(owed, _usage(ctx), sent, ctx.config)
    return Projected(
        round=ctx.round,
        rewrites=len(job.rows),
        calls=made.calls,
        tokens_in=made.tokens_in,
        tokens_out=made.tokens_out,
        cost=made.cost,
        cap_tokens=how.budget_tokens,
        cap_cost=how.budget_cost,
        sent_to=how.sent_to,
    )


def _examples(ctx: Ctx, known: Mapping[int, tuple[int, int]]) -> list[tuple[str, int]]:
    """What stands before the last answer of the first samples, and its tokens."""
    data = ctx.dataset()
    first = list(data.take(data.ids[: forecast.EXAMPLES]))
    counted = [(forecast.before_answer(s.messages), known[s.id][0]) for s in first if s.id in known]
    return [(text, tokens) for text, tokens in counted if tokens]


def axis_of(row: Rewrite) -> Axis:
    """The row's axis as one of the three."""
    return next(axis for axis in AXES if axis == row.axis)


def _usage(ctx: Ctx) -> Usage:
    """What the rewrites of earlier rounds took, by axis."""
    made: dict[str, BegunRewrites] = {}
    for row in (row for round in range(ctx.round) for row in ctx.rows(Rewrite, round)):
        if row.attempts and row.state not in ("owed", "prompted"):
            one = made.get(row.axis, BegunRewrites(0, 0, 0, 0))
            calls = one.calls + row.attempts + row.answer_attempts
            made[row.axis] = BegunRewrites(
                one.rewrites + 1, calls, one.tokens_in + row.tokens_in, one.tokens_out + row.tokens_out
            )
    return Usage(made)


def project(ctx: Ctx, job: RewriteJob) -> Projected:
    """Reckon up and keep what the rewrites will take, for everybody to see before anything is spent."""
    ahead = projected(ctx, job)
    ctx.save([ahead])
    return ahead


def announce(ctx: Ctx, job: RewriteJob) -> None:
    """Say what the teacher will probably use before anything is spent, and with which prompts."""
    if any(r.tokens_in for r in job.all()):
        return
    ahead = project(ctx, job)
    text = f"{ahead.rewrites} rewrites, two calls each: about {ahead.tokens_in:,} tokens in, {ahead.tokens_out:,} out"
    text += f", about {ahead.cost:.2f} in cost" if ahead.cost else ""
    text += " as batches" if ahead.cost and ctx.config.teacher.batch else ""
    caps = [f"{ahead.cap_tokens:,} tokens"] if ahead.cap_tokens else []
    caps += [f"{ahead.cap_cost:.2f} in cost"] if ahead.cap_cost else []
    text += f"; capped at {' and '.join(caps)}" if caps else ""
    text += "" if fits(ahead) else ", which will probably not do for all"
    ctx.event(f"{text}. Prompts: {', '.join(t.label for t in job.templates.values())}")


@dataclass(slots=True)
class Purse:
    """What was spent, what calls in flight may yet take, and what is kept back for answers to prompts that are paid.

    No call is made that could exceed a cap: see ``worst``.
    """

    how: configs.Teacher
    tokens: float = 0.0
    money: float = 0.0
    open: dict[tuple[str, Hashable], Need] = field(default_factory=dict)

    @classmethod
    def begin(cls, how: configs.Teacher, job: RewriteJob) -> Purse:
        """What the round's calls took so far, and what the answers that wait will take."""
        purse = cls(how, job.tokens, job.money)
        for row in job.waiting(ANSWER):
            purse.put("kept", row.key, expected_answer(job, row))
        return purse

    @property
    def capped(self) -> bool:
        """Whether there is any cap at all."""
        return bool(self.how.budget_tokens or self.how.budget_cost)

    def put(self, kind: str, key: Hashable, need: Need) -> None:
        """Count ``need`` as gone until it is dropped: ``held`` for a call in flight, ``kept`` for an answer."""
        self.drop(kind, key)
        self.open[kind, key] = need
        self._count(need, 1)

    def drop(self, kind: str, key: Hashable) -> None:
        """What was put is free again."""
        self._count(self.open.pop((kind, key), (0.0, 0.0)), -1)

    def _count(self, need: Need, sign: int) -> None:
        self.tokens += sign * (need[0] + need[1])
        self.money += sign * cost(*need, self.how.price)

    def spent(self, job: RewriteJob, before: Rewrite, row: Rewrite) -> None:
        """A call in flight is over; ``row`` says what it took. What is kept for its answer follows from its state."""
        self.drop("held", row.key)
        self.drop("kept", row.key)
        self.tokens += row.tokens_in + row.tokens_out - before.tokens_in - before.tokens_out
        self.money += row.cost - before.cost
        if row.state == ANSWER.state:
            self.put("kept", row.key, expected_answer(job, row))

    def paid(self, name: Hashable, tokens: int, money: float) -> None:
        """A call in flight is over whose rewrite is no more."""
        self.drop("held", name)
        self.tokens += tokens
        self.money += money

    def afford(self, job: RewriteJob, phase: Phase, row: Rewrite) -> bool:
        """Hold what a call may take, when the caps allow it."""
        if not self.capped:
            return True
        key = row.key
        kept = self.open.get(("kept", key))
        self.put("held", key, worst(job, phase, row, self.how))
        self.drop("kept", key)
        if phase is PROMPT:
            self.put("kept", key, expected_answer(job, row))
        if not self.over():
            return True
        self.drop("held", key)
        self.drop("kept", key)
        if kept is not None:
            self.put("kept", key, kept)
        return False

    def over(self) -> bool:
        """Whether the caps could be exceeded by what is counted now."""
        tokens = self.how.budget_tokens and self.tokens > self.how.budget_tokens
        return bool(tokens or (self.how.budget_cost and self.money > self.how.budget_cost))


def give_up(ctx: Ctx, job: RewriteJob, left: Sequence[Rewrite]) -> None:
    """The budget does not do for ``left``: a person is asked whether to raise it, else they have failed.

    Raises:
        Waiting: somebody reviews this round, and was not asked yet at this cap.
    """
    asked_before = not job.calls and all(row.reason == EXHAUSTED for row in left)
    if ctx.config.review.policy == "manual" and not asked_before:
        marked = [replace(row, reason=EXHAUSTED) for row in (*job.waiting(PROMPT), *job.waiting(ANSWER))]
        job.update(marked)
        ctx.save(marked, done=job.settled())
        raise Waiting(at_cap(job, len(marked), ctx.config.teacher))
    failed = [replace(row, state="failed", reason=EXHAUSTED) for row in left]
    job.update(failed)
    ctx.event(f"{EXHAUSTED}: {len(failed)} rewrites are not made; their samples stay as they are", "warning")
    ctx.save(failed, done=job.settled())


def at_cap(job: RewriteJob, left: int, how: configs.Teacher) -> str:
    """What was made, what it took, and how to go on."""
    took = f"{job.tokens:,} of {how.budget_tokens:,} tokens"
    if how.budget_cost:
        took = f"{job.money:,.2f} of {how.budget_cost:,.2f}"
    knob = "budget_cost" if how.budget_cost else "budget_tokens"
    made = sum(row.state not in ("owed", "prompted", "failed") for row in job.all())
    return (
        f"{EXHAUSTED}: {took} used, {made:,} rewrites made, {left:,} to go. Raise [teacher] {knob} and run again to"
        " have them made, or run again as it is to go on without them."
    )
