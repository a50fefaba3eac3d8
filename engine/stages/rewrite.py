"""The teacher rewrites what was selected, in two calls each: first a new prompt, then its answer.

All prompts come first, then all answers. A phase goes through its tries: try n is made of every rewrite whose try n -
1 was malformed, in batches planned over all of them in the order (axis, place in the dataset). A batch is saved
whole, and its seed comes from what it holds, so a resumed run makes the same calls as an undisturbed one.

A reply that is malformed, empty or cut off is asked for again, ``teacher.attempts`` times; then the rewrite is
``failed`` with the reason and the raw reply, and its sample stays as it is. So it is at once when the backend says that
no further try would help. What a person sends back is asked for
apart from the rest, in batches and with seeds of its own (``Rewrite.draw``), so that it draws another reply and the
batches that were answered stay what they were.

With a cap on tokens or cost no call is made that could exceed it: input is counted as one token per two bytes, output
as ``max_new_tokens``. What the answers to the new prompts will probably need is kept back, so that no prompt is paid
for that cannot be answered. At the cap the stage waits for a person, who may raise it; where nobody is asked, or who
goes on with the cap as it is, keeps the originals of what could not be afforded.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine import batches, diagnosis, models, prompts
from engine import config as configs
from engine.backends import Generates, Generation, backend
from engine.errors import Waiting
from engine.prompts import Template
from engine.stage import Ctx
from engine.store.rows import AXES, Message, Neighbourhood, Rewrite, Sample, dump_messages
from engine.store.teacher import Projected, TeacherCall, fits

TEMPLATES = {"complexity": "simplify", "diversity": "diversify", "quality": "improve"}
RETRY_TEMPERATURE = 0.7  # greedy decoding would repeat the reply that was malformed or sent back
EXHAUSTED = "teacher budget exhausted"
Chat = tuple[Message, ...]
Key = tuple[int, str]


def run(ctx: Ctx) -> None:
    """Make every owed rewrite of the round, or record why there is none."""
    job = Job.begin(ctx)
    ctx.begin(2 * len(job.rows), job.settled())
    if job.waiting(PROMPT) or job.waiting(ANSWER):
        _announce(ctx, job)
        if ctx.config.teacher.backend == "openai":
            from engine.stages import rewrite_stream  # it builds on this module

            rewrite_stream.through_endpoint(ctx, job)
        elif ctx.config.teacher.backend == "vllm":
            from engine.stages import rewrite_stream

            rewrite_stream.through_engine(ctx, job)
        else:
            teacher = open_teacher(ctx)
            for phase in (PROMPT, ANSWER):
                _phase(ctx, job, phase, teacher)
        ctx.event(summary(job.all()))


def open_teacher(ctx: Ctx) -> Generates:
    """The model that config.toml names as the teacher (the loop's own base when it names none)."""
    how, model = ctx.config.teacher, ctx.config.model
    own = {"nf4": True} if not how.model and diagnosis.base_model(ctx).nf4 else {}
    found: Generates = backend(how.backend)(
        teacher_folder(ctx),
        dtype=how.dtype,
        device=model.device,
        threads=model.threads,
        attention=model.attention,
        **own,
    )
    return found


def teacher_folder(ctx: Ctx) -> Path:
    """Where the local teacher lies."""
    return models.locate(ctx.config.teacher.model or ctx.config.model.name, ctx.project)


# -------------------------------------------------------------------------------------------------- the work


@dataclass(frozen=True, slots=True)
class Phase:
    """One of the two calls: which state waits for it."""

    name: str
    state: str

    def tries(self, row: Rewrite) -> int:
        """How often this call was made for ``row``."""
        return row.attempts if self.state == "owed" else row.answer_attempts


PROMPT, ANSWER = Phase("prompt", "owed"), Phase("answer", "prompted")


@dataclass(slots=True)
class Job:
    """All rewrites of the round in their order, with what is needed to ask for them.

    ``tokens``, ``money``: what the round's calls took so far, also those for rewrites that were thrown away since.
    ``calls``: those of this run.
    """

    rows: dict[Key, Rewrite]
    samples: dict[int, Sample]
    hints: dict[int, str]
    templates: dict[str, Template]
    tokens: int = 0
    money: float = 0.0
    calls: int = 0

    @classmethod
    def begin(cls, ctx: Ctx) -> Job:
        """Read the round's rewrites, samples, neighbours and prompt templates."""
        data, owed, near = ctx.dataset(), ctx.rows(Rewrite), ctx.rows(Neighbourhood)
        asked = ctx.rows(TeacherCall)
        cores = {r.sample_id for r in owed}
        near = [n for n in near if n.sample_id in cores]
        hints = {id for n in near for id in json.loads(n.neighbours)} & set(data.ids)
        samples = {s.id: s for s in data.take(sorted(cores | hints))}
        rows = sorted(owed, key=lambda r: (AXES.index(r.axis), samples[r.sample_id].seq))
        names = (*TEMPLATES.values(), "answer")
        return cls(
            rows={(r.sample_id, r.axis): r for r in rows},
            samples=samples,
            hints={n.sample_id: hint_text(n, samples) for n in near},
            templates={name: prompts.load(name, ctx.project) for name in names},
            tokens=sum(call.tokens_in + call.tokens_out for call in asked),
            money=sum(call.cost for call in asked),
        )

    def all(self) -> list[Rewrite]:
        """The rewrites in their order."""
        return list(self.rows.values())

    def waiting(self, phase: Phase) -> list[Rewrite]:
        """Those that ``phase`` has not settled."""
        return [r for r in self.all() if r.state == phase.state]

    def settled(self) -> int:
        """Units of progress: prompts and answers that are there or given up."""
        return sum((r.state != "owed") + (r.state not in ("owed", "prompted")) for r in self.all())

    def update(self, rows: Iterable[Rewrite]) -> None:
        """Take the new versions of some rows."""
        self.rows.update({(r.sample_id, r.axis): r for r in rows})

    def chat(self, phase: Phase, row: Rewrite) -> Chat:
        """What the teacher is asked for ``row``."""
        sample = self.samples[row.sample_id]
        if phase is ANSWER:
            asked = self.templates["answer"].fill(prompt=row.prompt or "")
            return (*context(sample, row.axis), Message("user", asked))
        return prompt_chat(sample, row.axis, self.templates[TEMPLATES[row.axis]], self.hints.get(sample.id, ""))


def hint_text(near: Neighbourhood, samples: dict[int, Sample]) -> str:
    """The neighbours' prompts, nearest first, one per line."""
    return "\n".join(samples[id].prompt for id in json.loads(near.neighbours) if id in samples)


def context(sample: Sample, axis: str) -> Chat:
    """The turns before the new exchange: for diversity only what sets the scene, else all but the last exchange."""
    last = max(i for i, m in enumerate(sample.messages) if m.role == "user")
    before = sample.messages[:last]
    return tuple(m for m in before if m.role == "system") if axis == "diversity" else before


def prompt_chat(sample: Sample, axis: str, template: Template, hints: str) -> Chat:
    """The request for a new prompt. Earlier turns come along, a system turn does not: it is for answers."""
    values = {"prompt": sample.prompt, "response": sample.response}
    asked = template.fill(**values, hints=hints) if axis == "diversity" else template.fill(**values)
    before = () if axis == "diversity" else context(sample, axis)
    return (*(m for m in before if m.role != "system"), Message("user", asked))


def pool(rows: Sequence[Rewrite], phase: Phase, attempt: int) -> list[Rewrite]:
    """The rewrites that need try number ``attempt`` of ``phase``, made or not: the same list on every resume."""
    return [r for r in rows if phase.tries(r) >= attempt or (r.state == phase.state and phase.tries(r) == attempt - 1)]


def _phase(ctx: Ctx, job: Job, phase: Phase, teacher: Generates) -> None:
    """All tries of one phase, wave by wave; gives up what is left when the budget is exhausted."""
    size = ctx.config.teacher.batch_size
    waves = sorted({row.draw for row in job.all()})
    for draw, attempt in itertools.product(waves, range(1, ctx.config.teacher.attempts + 1)):
        planned = pool([row for row in job.all() if row.draw == draw], phase, attempt)
        for start in range(0, len(planned), size):
            batch = planned[start : start + size]
            tried = [phase.tries(r) >= attempt for r in batch]
            if all(tried):
                continue
            # Batches are saved whole: one that is partly there was cut by the budget, just before a restart.
            left = [row for row, done in zip(batch, tried, strict=True) if not done]
            again = all(row.reason == EXHAUSTED for row in left)  # a person was asked, and may have raised the cap
            most = 0 if any(tried) and not again else affordable(job, phase, left, ctx.config.teacher)
            if most:
                _ask(ctx, job, phase, attempt, left[:most], teacher)
            if most < len(left):
                give_up(ctx, job, job.waiting(phase))
                return


def _ask(ctx: Ctx, job: Job, phase: Phase, attempt: int, batch: Sequence[Rewrite], teacher: Generates) -> None:
    """One batch of calls, saved whole."""
    how = ctx.config.teacher
    wave = [draw] if (draw := batch[0].draw) else []
    start = time.monotonic()
    replies = teacher.generate(
        [job.chat(phase, row) for row in batch],
        max_new_tokens=how.max_new_tokens,
        temperature=how.temperature if how.temperature or not (attempt > 1 or wave) else RETRY_TEMPERATURE,
        top_p=how.top_p,
        seed=batches.seed(ctx.config.project.seed, ctx.round, phase.name, *_first(batch), attempt, *wave),
    )
    last = attempt >= how.attempts
    answered = zip(batch, replies, strict=True)
    took = time.monotonic() - start
    made = [
        one
        for row, reply in answered
        for one in came(ctx, job, row, phase, replace(reply, seconds=reply.seconds or took), last)
    ]
    ctx.save(made, done=job.settled())


def came(ctx: Ctx, job: Job, row: Rewrite, phase: Phase, reply: Generation, last: bool) -> tuple[Rewrite, TeacherCall]:
    """A reply came: ``row`` as it is then, known to ``job``, and the call for the books."""
    how = ctx.config.teacher
    made = taken(job.samples[row.sample_id], row, phase, reply, how, last)
    job.update([made])
    price = cost(reply.tokens_in, reply.tokens_out, how.price)
    job.calls += 1
    job.tokens += reply.tokens_in + reply.tokens_out
    job.money += price
    call = TeacherCall(
        round=row.round,
        sample_id=row.sample_id,
        axis=row.axis,
        step=phase.name,
        at=time.time(),
        model=how.model or ctx.config.model.name,
        seconds=reply.seconds,
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        cost=price,
        error=reply.error,
    )
    return made, call


def _first(batch: Sequence[Rewrite]) -> Key:
    return batch[0].sample_id, batch[0].axis


def give_up(ctx: Ctx, job: Job, left: Sequence[Rewrite]) -> None:
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


def at_cap(job: Job, left: int, how: configs.Teacher) -> str:
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


# ----------------------------------------------------------------------------------------------------- replies


def taken(sample: Sample, row: Rewrite, phase: Phase, reply: Generation, how: configs.Teacher, last: bool) -> Rewrite:
    """``row`` after a reply: one state further, or one try more, or failed when that was the ``last`` one."""
    row = _counted(row, phase, reply, how.price)
    text, reason = read_reply(sample, row.axis, phase, reply)
    if text is None:
        state = "failed" if last or reply.final else row.state
        return replace(row, state=state, reason=reason, raw=reply.text)
    if phase is PROMPT:
        return replace(row, state="prompted", prompt=text, reason=None, raw=None)
    new = (*context(sample, row.axis), Message("user", row.prompt or ""), Message("assistant", text))
    return replace(row, state="proposed", response=text, messages=dump_messages(new), reason=None, raw=None)


def read_reply(sample: Sample, axis: str, phase: Phase, reply: Generation) -> tuple[str | None, str | None]:
    """The new prompt or the answer, or the reason why the reply cannot be used."""
    if reply.error:
        return None, reply.error
    if reply.finish_reason == "length":
        return None, f"the reply was cut off at {reply.tokens_out} tokens (teacher.max_new_tokens)"
    if phase is PROMPT:
        prompt, reason = prompts.parse_prompt(reply.text, original=sample.prompt)
        copied = axis == "diversity" and prompt is not None and prompt.split() == sample.prompt.split()
        return (None, "the new prompt is the core prompt") if copied else (prompt, reason)
    text = prompts.spoken(reply.text)
    return (text, None) if text else (None, "the answer is empty")


def _counted(row: Rewrite, phase: Phase, reply: Generation, prices: configs.Prices) -> Rewrite:
    """``row`` with one more call, its tokens and its cost."""
    return replace(
        row,
        attempts=row.attempts + (phase is PROMPT),
        answer_attempts=row.answer_attempts + (phase is ANSWER),
        tokens_in=row.tokens_in + reply.tokens_in,
        tokens_out=row.tokens_out + reply.tokens_out,
        cost=row.cost + cost(reply.tokens_in, reply.tokens_out, prices),
    )


def cost(tokens_in: float, tokens_out: float, prices: configs.Prices) -> float:
    """What so many tokens cost."""
    return (tokens_in * prices.input + tokens_out * prices.output) / 1e6


# ----------------------------------------------------------------------------------------------------- budget


def affordable(job: Job, phase: Phase, batch: Sequence[Rewrite], how: configs.Teacher) -> int:
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


def worst(job: Job, phase: Phase, row: Rewrite, how: configs.Teacher) -> tuple[float, float]:
    """Tokens in and out that one call can take at most: one token per two bytes, and as many as it may write."""
    return _bytes(job.chat(phase, row)) / 2 + 16, float(how.max_new_tokens)


def expected_answer(job: Job, row: Rewrite) -> tuple[float, float]:
    """Tokens in and out that the answer to a rewrite's prompt probably needs: about four bytes a token."""
    sample = job.samples[row.sample_id]
    asked = _bytes(context(sample, row.axis)) + len((row.prompt or sample.prompt).encode())
    return asked / 4 + 16, len(sample.response.encode()) / 4 + 16


def _bytes(chat: Iterable[Message]) -> int:
    return sum(len(m.content.encode()) for m in chat)


def projected(ctx: Ctx, job: Job) -> Projected:
    """What all of ``job`` will probably take: about four bytes a token, two calls a rewrite, as long as the old one."""
    how = ctx.config.teacher
    answers = [expected_answer(job, r) for r in job.all()]
    tokens_in = sum(_bytes(job.chat(PROMPT, r)) / 4 + 16 for r in job.all()) + sum(a for a, _ in answers)
    tokens_out = sum(len(job.samples[r.sample_id].prompt.encode()) / 4 + 16 for r in job.all())
    tokens_out += sum(b for _, b in answers)
    return Projected(
        round=ctx.round,
        rewrites=len(job.rows),
        calls=2 * len(job.rows),
        tokens_in=round(tokens_in),
        tokens_out=round(tokens_out),
        cost=cost(tokens_in, tokens_out, how.price),
        cap_tokens=how.budget_tokens,
        cap_cost=how.budget_cost,
        sent_to=how.sent_to,
    )


def project(ctx: Ctx, job: Job) -> Projected:
    """Reckon up and keep what the rewrites will take, for everybody to see before anything is spent."""
    ahead = projected(ctx, job)
    ctx.save([ahead])
    return ahead


def _announce(ctx: Ctx, job: Job) -> None:
    """Say what the teacher will probably use before anything is spent, and with which prompts."""
    if any(r.tokens_in for r in job.all()):
        return
    ahead = project(ctx, job)
    text = f"{ahead.rewrites} rewrites, two calls each: about {ahead.tokens_in:,} tokens in, {ahead.tokens_out:,} out"
    text += f", about {ahead.cost:.2f} in cost" if ahead.cost else ""
    caps = [f"{ahead.cap_tokens:,} tokens"] if ahead.cap_tokens else []
    caps += [f"{ahead.cap_cost:.2f} in cost"] if ahead.cap_cost else []
    text += f"; capped at {' and '.join(caps)}" if caps else ""
    text += "" if fits(ahead) else ", which will probably not do for all"
    ctx.event(f"{text}. Prompts: {', '.join(t.label for t in job.templates.values())}")


def summary(rows: Sequence[Rewrite]) -> str:
    """The log line at the end: what came of it and what it took."""
    failed = [r for r in rows if r.state == "failed"]
    tokens_in, tokens_out = sum(r.tokens_in for r in rows), sum(r.tokens_out for r in rows)
    made = len(rows) - len(failed)
    text = f"{made} of {len(rows)} rewrites made with {tokens_in:,} tokens in and {tokens_out:,} out"
    return text + (f"; {len(failed)} failed and keep their original" if failed else "")
