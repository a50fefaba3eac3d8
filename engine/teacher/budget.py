"""What rewriting may take: a projection before anything is spent, caps that no call can exceed, and what is done there.

With a cap on tokens or cost no call is made that could exceed it: input is counted as one token per byte, since no
tokenizer makes more of it, output as ``max_new_tokens``. A try that was sent and got no reply has taken that much. What
the answers to the new prompts will probably need is kept back, so that no prompt is paid for that cannot be answered.
When all is made that the caps allow the stage waits for a person, who may raise them; where nobody is asked, or who
goes on with the caps as they are, keeps the originals of what could not be afforded.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from engine.config import schema as configs
from engine.errors import Waiting
from engine.plurals import counted
from engine.stage import Ctx
from engine.store.rows import AXES, Axis, Losses, Rewrite
from engine.store.teacher import Projected, Question, within_caps
from engine.teacher import forecast
from engine.teacher.forecast import BegunRewrites, PendingRewrites, Usage
from engine.teacher.job import ANSWER, AROUND, PROMPT, Phase, RewriteJob, context, size_of, worst
from engine.teacher.replies import draws, proposed

EXHAUSTED = "teacher budget exhausted"
FEWER = f"{EXHAUSTED}: fewer answers than [teacher] best_of"
"""Why a rewrite has only the answers that were paid for."""
Need = tuple[float, float]  # tokens in and out
NONE: Need = (0.0, 0.0)


def affordable(job: RewriteJob, phase: Phase, batch: Sequence[Rewrite], how: configs.Teacher) -> int:
    """How many of the first calls of ``batch`` can be made without any chance to exceed a limit."""
    if not (how.budget_tokens or how.budget_cost):
        return len(batch)
    purse = Purse.begin(how, job)
    return next((n for n, row in enumerate(batch) if not purse.afford(job, phase, row)), len(batch))


def expected_answer(job: RewriteJob, row: Rewrite) -> Need:
    """Expected tokens in and out of the answer call, at about four bytes per token."""
    return _asked_for_answer(job, row) / 4 + AROUND, len(job.samples[row.sample_id].response.encode()) / 4 + AROUND


def dearest_answer(job: RewriteJob, row: Rewrite, how: configs.Teacher) -> Need:
    """Maximum tokens of the answer call, if the new prompt is as long as the old one."""
    turns = len(context(job.samples[row.sample_id], row.axis)) + 1
    return float(_asked_for_answer(job, row) + AROUND * turns), float(how.max_new_tokens)


def _asked_for_answer(job: RewriteJob, row: Rewrite) -> int:
    """Bytes."""
    sample = job.samples[row.sample_id]
    asked = job.templates["answer"].fill(prompt=row.prompt or sample.prompt)
    return size_of(context(sample, row.axis)) + len(asked.encode("utf-8", "replace"))


def round_forecast(ctx: Ctx, job: RewriteJob) -> Projected:
    """The forecast for all of ``job``, as shown on the screens."""
    how = ctx.config.teacher
    known = {row.sample_id: (row.prompt_tokens or 0, row.response_tokens or 0) for row in ctx.rows(Losses)}
    tokens = list(known.values())
    mean = sum(prompt for prompt, _ in tokens) / max(1, len(tokens))
    pending = dict.fromkeys(AXES, PendingRewrites(0, 0, 0))
    calls = tokens_in = tokens_out = 0.0
    for row in job.all():
        if row.is_evidence:  # one call: the answer to the sample's own prompt
            need = expected_answer(job, row)
            calls, tokens_in, tokens_out = calls + 1, tokens_in + need[0], tokens_out + need[1]
            continue
        more = how.best_of - 1
        need = expected_answer(job, row) if more else NONE
        calls, tokens_in, tokens_out = calls + more, tokens_in + more * need[0], tokens_out + more * need[1]
        one, (prompt, response) = pending[axis_of(row)], known.get(row.sample_id, (0, 0))
        pending[axis_of(row)] = PendingRewrites(one.rewrites + 1, one.prompt + prompt, one.response + response)
    sent = forecast.requests(mean, ctx.config, ctx.project, _examples(ctx, known))
    made = forecast.project(pending, _usage(ctx), sent, ctx.config)
    return Projected(
        round=ctx.round,
        rewrites=len(job.rows),
        calls=made.calls + round(calls),
        tokens_in=made.tokens_in + round(tokens_in),
        tokens_out=made.tokens_out + round(tokens_out),
        cost=made.cost + how.price.cost(tokens_in, tokens_out),
        cap_tokens=how.budget_tokens,
        cap_cost=how.budget_cost,
        sent_to=how.sent_to,
    )


def _examples(ctx: Ctx, known: Mapping[int, tuple[int, int]]) -> list[tuple[str, int]]:
    """The texts before the last answer of the first samples, with their token counts."""
    data = ctx.dataset()
    first = list(data.take(data.ids[: forecast.EXAMPLES]))
    counted = [(forecast.before_answer(s.messages), known[s.id][0]) for s in first if s.id in known]
    return [(text, tokens) for text, tokens in counted if tokens]


def axis_of(row: Rewrite) -> Axis:
    """The row's axis as one of the three."""
    return next(axis for axis in AXES if axis == row.axis)


def _usage(ctx: Ctx) -> Usage:
    """Usage of the rewrites of earlier rounds, by axis."""
    made: dict[str, BegunRewrites] = {}
    for row in (row for round in range(ctx.round) for row in ctx.rows(Rewrite, round)):
        if row.attempts and row.state not in ("owed", "prompted"):
            one = made.get(row.axis, BegunRewrites(0, 0, 0, 0))
            calls = one.calls + row.attempts + row.answer_attempts
            made[row.axis] = BegunRewrites(
                one.rewrites + 1, calls, one.tokens_in + row.tokens_in, one.tokens_out + row.tokens_out
            )
    return Usage(made)


def save_forecast(ctx: Ctx, job: RewriteJob) -> Projected:
    """Compute and save the forecast, before anything is spent."""
    ahead = round_forecast(ctx, job)
    ctx.save([ahead])
    return ahead


def announce(ctx: Ctx, job: RewriteJob) -> None:
    """Log the forecast and the prompt templates, before anything is spent."""
    if any(r.tokens_in for r in job.all()):
        return
    ahead = save_forecast(ctx, job)
    probes = sum(row.is_evidence for row in job.all())
    what = f"{counted(ahead.rewrites, 'rewrite')} with two calls each"
    if probes:
        rest = f"{counted(ahead.rewrites - probes, 'rewrite')}, " if ahead.rewrites > probes else ""
        own = counted(probes, "sample's own prompt", "samples' own prompts")
        what = f"{rest}{own} to answer, one call each, then more while they find flaws"
    text = f"{what}: about {ahead.tokens_in:,} tokens in, {ahead.tokens_out:,} out"
    text += f", about {ahead.cost:.2f} in cost" if ahead.cost else ""
    text += " in batches" if ahead.cost and ctx.config.teacher.batch else ""
    caps = [f"{ahead.cap_tokens:,} tokens"] if ahead.cap_tokens else []
    caps += [f"{ahead.cap_cost:.2f} in cost"] if ahead.cap_cost else []
    text += f"; limit {' and '.join(caps)}" if caps else ""
    text += "" if within_caps(ahead) else ", probably not enough for all"
    ctx.event(f"{text}. Prompts: {', '.join(t.label for t in job.templates.values())}")


@dataclass(slots=True)
class Purse:
    """What was spent, what calls in flight may yet take, and what is kept back for answers to prompts that are paid.

    No call is made that could exceed a cap: see ``worst``. No prompt is asked for that would leave too little for all
    answers: what they probably need, and for one of them the most that it can take, since each is held to that in turn.
    """

    how: configs.Teacher
    tokens: float = 0.0
    money: float = 0.0
    held: dict[Hashable, Need] = field(default_factory=dict)
    kept: dict[Hashable, Need] = field(default_factory=dict)
    _kept: Need = NONE
    _dear: Need = NONE

    @classmethod
    def begin(cls, how: configs.Teacher, job: RewriteJob) -> Purse:
        """The budget with the round's calls so far, and reserves for pending answers."""
        purse = cls(how, job.tokens, job.money)
        for row in job.waiting(ANSWER):
            purse.keep(job, row)
        return purse

    @property
    def capped(self) -> bool:
        """Whether any limit is set."""
        return bool(self.how.budget_tokens or self.how.budget_cost)

    def hold(self, key: Hashable, need: Need) -> None:
        """Reserve the maximum that a call in flight may take."""
        self.free(key)
        self.held[key] = need
        self._spend(need, 1)

    def free(self, key: Hashable) -> None:
        """Release the reserve of a call that ended."""
        self._spend(self.held.pop(key, NONE), -1)

    def _spend(self, need: Need, sign: int) -> None:
        self.tokens += sign * (need[0] + need[1])
        self.money += sign * self.how.price.cost(*need)

    def keep(self, job: RewriteJob, row: Rewrite) -> None:
        """Reserve the expected cost of ``row``'s answer."""
        self.drop(row.key)
        need, most = expected_answer(job, row), dearest_answer(job, row, self.how)
        self.kept[row.key] = need
        self._kept = self._kept[0] + need[0], self._kept[1] + need[1]
        self._dear = max(self._dear[0], most[0] - need[0]), max(self._dear[1], most[1] - need[1])

    def drop(self, key: Hashable) -> None:
        """Release ``row``'s reserve."""
        need = self.kept.pop(key, NONE)
        self._kept = self._kept[0] - need[0], self._kept[1] - need[1]

    def spent(self, job: RewriteJob, before: Rewrite, row: Rewrite) -> None:
        """Book a call that ended, with the usage in ``row``, and adjust the reserve for its answer."""
        self.free(row.key)
        self.drop(row.key)
        self.tokens += row.tokens_in + row.tokens_out - before.tokens_in - before.tokens_out
        self.money += row.cost - before.cost
        if row.state == ANSWER.state:
            self.keep(job, row)

    def paid(self, key: Hashable, tokens: int, money: float) -> None:
        """Book the usage of a call that ended, independent of its rewrite."""
        self.free(key)
        self.tokens += tokens
        self.money += money

    def needs(self, job: RewriteJob, phase: Phase, row: Rewrite) -> Need:
        """The maximum that a call takes; for a prompt, plus the reserve for its answer."""
        most_in, most_out = worst(job, phase, row, self.how)
        if phase is ANSWER:
            return float(most_in), float(most_out)
        ahead, dear = expected_answer(job, row), dearest_answer(job, row, self.how)
        own = self.kept.get(row.key, NONE)
        return (
            most_in + self._kept[0] - own[0] + ahead[0] + max(self._dear[0], dear[0] - ahead[0]),
            most_out + self._kept[1] - own[1] + ahead[1] + max(self._dear[1], dear[1] - ahead[1]),
        )

    def afford(self, job: RewriteJob, phase: Phase, row: Rewrite) -> bool:
        """Reserve a call's maximum if the limits allow it. Returns whether they do."""
        if not self.capped:
            return True
        need = self.needs(job, phase, row)
        tokens = self.how.budget_tokens and self.tokens + sum(need) > self.how.budget_tokens
        if tokens or (self.how.budget_cost and self.money + self.how.price.cost(*need) > self.how.budget_cost):
            return False
        self.hold(row.key, worst(job, phase, row, self.how))
        if phase is PROMPT:
            self.keep(job, row)
        else:
            self.drop(row.key)
        return True


def give_up(ctx: Ctx, job: RewriteJob, left: Sequence[Rewrite], how: configs.Teacher) -> None:
    """The budget does not do for ``left``, nothing is in flight: a person is asked whether to raise it, else those that
    have an answer go on with it and the others have failed. ``how`` has the price of these calls.

    Raises:
        Waiting: somebody reviews this round, and was not asked this before.
    """
    asked = Question(ctx.round, at_cap(job, left[0], how))
    if ctx.config.review.policy == "manual" and asked not in ctx.rows(Question):
        marked = [replace(row, reason=EXHAUSTED) for row in job.pending()]
        job.update(marked)
        ctx.save([*marked, asked], done=job.settled())
        raise Waiting(asked.text)
    over = [_without_more(job, row) for row in left]
    job.update(over)
    failed = sum(row.state == "failed" for row in over)
    if failed:
        one, many = "rewrite was not made; its sample stays", "rewrites were not made; their samples stay"
        lost = counted(failed, one, many)
        ctx.event(
            f"{EXHAUSTED}: {lost} unchanged",
            "warning",
        )
    if failed < len(over):
        ctx.event(f"{FEWER} for {counted(len(over) - failed, 'rewrite')}", "warning")
    ctx.save(over, done=job.settled())


def _without_more(job: RewriteJob, row: Rewrite) -> Rewrite:
    """``row`` when no call follows: with the answers that it has, or failed."""
    if there := draws(row):
        return replace(proposed(job.samples[row.sample_id], row, there), reason=FEWER)
    return replace(row, state="failed", reason=EXHAUSTED)


def at_cap(job: RewriteJob, row: Rewrite, how: configs.Teacher) -> str:
    """The message at a limit: rewrites made, usage, the next call's maximum, and what to do."""
    phase = Phase.of(row)
    need = Purse.begin(how, job).needs(job, phase, row)
    next_one = "the next call and its answer" if phase is PROMPT else "the next answer"
    tokens, price = math.ceil(sum(need)), how.price.cost(*need)
    if how.budget_tokens and job.tokens + tokens > how.budget_tokens:
        took, most = f"{job.tokens:,} of {how.budget_tokens:,} tokens", f"{tokens:,}"
        knob = f"budget_tokens to {job.tokens + tokens:,} or more"
    else:
        took, most = f"{job.money:,.4g} of {how.budget_cost:,.4g} dollars", f"{price:,.4g}"
        knob = f"budget_cost to {job.money + price:,.4g} or more"
    made = sum(row.state not in ("owed", "prompted", "failed") for row in job.all())
    return (
        f"{EXHAUSTED}: {took} used, and {next_one} can take {most} (a token per byte, then max_new_tokens)."
        f" {counted(made, 'rewrite is', 'rewrites are')} made, {len(job.pending()):,} are pending. Raise"
        f" [teacher] {knob} and run again, or run again unchanged to continue without them."
    )
