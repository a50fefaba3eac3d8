"""The teacher rewrites what was selected, in two calls each: first a new prompt, then its answer.

All prompts come first, then all answers. A phase goes through its tries: try n is made of every rewrite whose try n -
1 was malformed, in batches planned over all of them in the order (axis, place in the dataset). A batch is saved
whole, and its seed comes from what it holds, so a resumed run makes the same calls as an undisturbed one.

A reply that is malformed, empty, cut off or failed is asked for again, ``teacher.attempts`` times; then the rewrite
is ``failed`` with the reason and the raw reply, and its sample stays as it is. What a person sends back is asked for
apart from the rest, in batches and with seeds of its own (``Rewrite.draw``), so that it draws another reply and the
batches that were answered stay what they were.

With a cap on tokens or cost no call is made that could exceed it: input is counted as one token per two bytes, output
as ``max_new_tokens``. What the answers to the new prompts will probably need is kept back, so that no prompt is paid
for that cannot be answered.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from engine import batches, diagnosis, models, prompts
from engine import config as configs
from engine.backends import Generates, Generation, backend
from engine.prompts import Template
from engine.stage import Ctx
from engine.store.rows import AXES, Message, Neighbourhood, Rewrite, Sample, dump_messages

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
        models.locate(how.model or model.name, ctx.project),
        dtype=how.dtype,
        device=model.device,
        threads=model.threads,
        attention=model.attention,
        **own,
    )
    return found


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
    """All rewrites of the round in their order, with what is needed to ask for them."""

    rows: dict[Key, Rewrite]
    samples: dict[int, Sample]
    hints: dict[int, str]
    templates: dict[str, Template]

    @classmethod
    def begin(cls, ctx: Ctx) -> Job:
        """Read the round's rewrites, samples, neighbours and prompt templates."""
        data, owed, near = ctx.dataset(), ctx.rows(Rewrite), ctx.rows(Neighbourhood)
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
            fits = 0 if any(tried) else affordable(job, phase, batch, ctx.config.teacher)
            if fits:
                _ask(ctx, job, phase, attempt, batch[:fits], teacher)
            if fits < len(batch):
                _give_up(ctx, job, phase)
                return


def _ask(ctx: Ctx, job: Job, phase: Phase, attempt: int, batch: Sequence[Rewrite], teacher: Generates) -> None:
    """One batch of calls, saved whole."""
    how = ctx.config.teacher
    wave = [draw] if (draw := batch[0].draw) else []
    replies = teacher.generate(
        [job.chat(phase, row) for row in batch],
        max_new_tokens=how.max_new_tokens,
        temperature=how.temperature if how.temperature or not (attempt > 1 or wave) else RETRY_TEMPERATURE,
        top_p=how.top_p,
        seed=batches.seed(ctx.config.project.seed, ctx.round, phase.name, *_first(batch), attempt, *wave),
    )
    last = attempt >= how.attempts
    answered = zip(batch, replies, strict=True)
    made = [taken(job.samples[row.sample_id], row, phase, reply, how, last) for row, reply in answered]
    job.update(made)
    ctx.save(made, done=job.settled())


def _first(batch: Sequence[Rewrite]) -> Key:
    return batch[0].sample_id, batch[0].axis


def _give_up(ctx: Ctx, job: Job, phase: Phase) -> None:
    """The budget is exhausted: what still waits for ``phase`` has failed."""
    left = [replace(r, state="failed", reason=EXHAUSTED) for r in job.waiting(phase)]
    job.update(left)
    ctx.event(f"{EXHAUSTED}: {len(left)} rewrites have no {phase.name}; their samples stay as they are", "warning")
    ctx.save(left, done=job.settled())


# ----------------------------------------------------------------------------------------------------- replies


def taken(sample: Sample, row: Rewrite, phase: Phase, reply: Generation, how: configs.Teacher, last: bool) -> Rewrite:
    """``row`` after a reply: one state further, or one try more, or failed when that was the ``last`` one."""
    row = _counted(row, phase, reply, how.price_per_million)
    text, reason = read_reply(sample, row.axis, phase, reply)
    if text is None:
        state = "failed" if last else row.state
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
    rows = job.all()
    tokens = float(sum(r.tokens_in + r.tokens_out for r in rows))
    money = sum(r.cost for r in rows)
    kept = [expected_answer(job, r) for r in job.waiting(ANSWER)] if phase is PROMPT else []
    reserve_in, reserve_out = sum(a for a, _ in kept), sum(b for _, b in kept)
    for count, row in enumerate(batch):
        most_in = _bytes(job.chat(phase, row)) / 2 + 16
        tokens += most_in + how.max_new_tokens
        money += cost(most_in, how.max_new_tokens, how.price_per_million)
        if phase is PROMPT:
            more_in, more_out = expected_answer(job, row)
            reserve_in, reserve_out = reserve_in + more_in, reserve_out + more_out
        over_tokens = how.budget_tokens and tokens + reserve_in + reserve_out > how.budget_tokens
        over_cost = how.budget_cost and money + cost(reserve_in, reserve_out, how.price_per_million) > how.budget_cost
        if over_tokens or over_cost:
            return count
    return len(batch)


def expected_answer(job: Job, row: Rewrite) -> tuple[float, float]:
    """Tokens in and out that the answer to a rewrite's prompt probably needs: about four bytes a token."""
    sample = job.samples[row.sample_id]
    asked = _bytes(context(sample, row.axis)) + len((row.prompt or sample.prompt).encode())
    return asked / 4 + 16, len(sample.response.encode()) / 4 + 16


def _bytes(chat: Iterable[Message]) -> int:
    return sum(len(m.content.encode()) for m in chat)


def _announce(ctx: Ctx, job: Job) -> None:
    """Say what the teacher will probably use before anything is spent, and with which prompts."""
    if any(r.tokens_in for r in job.all()):
        return
    how = ctx.config.teacher
    asked = sum(_bytes(job.chat(PROMPT, r)) / 4 + 16 for r in job.all())
    answers = [expected_answer(job, r) for r in job.all()]
    tokens_in = asked + sum(a for a, _ in answers)
    tokens_out = sum(len(job.samples[r.sample_id].prompt.encode()) / 4 + 16 for r in job.all())
    tokens_out += sum(b for _, b in answers)
    price = cost(tokens_in, tokens_out, how.price_per_million)
    text = f"{len(job.rows)} rewrites, two calls each: about {round(tokens_in):,} tokens in, {round(tokens_out):,} out"
    text += f", about {price:.2f} in cost" if price else ""
    caps = [f"{how.budget_tokens:,} tokens"] if how.budget_tokens else []
    caps += [f"{how.budget_cost:.2f} in cost"] if how.budget_cost else []
    text += f"; capped at {' and '.join(caps)}" if caps else ""
    ctx.event(f"{text}. Prompts: {', '.join(t.label for t in job.templates.values())}")


def summary(rows: Sequence[Rewrite]) -> str:
    """The log line at the end: what came of it and what it took."""
    failed = [r for r in rows if r.state == "failed"]
    tokens_in, tokens_out = sum(r.tokens_in for r in rows), sum(r.tokens_out for r in rows)
    made = len(rows) - len(failed)
    text = f"{made} of {len(rows)} rewrites made with {tokens_in:,} tokens in and {tokens_out:,} out"
    return text + (f"; {len(failed)} failed and keep their original" if failed else "")
