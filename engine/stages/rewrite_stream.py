"""Rewrites through an endpoint, or vLLM in this process: many calls in flight, every result saved as it comes.

A rewrite goes its own way, prompt, answer, further tries, without waiting for others; answers go first, so that what
was begun is finished. A pause lets the calls in flight come home and be saved. What was saved is never asked for again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine import batches, diagnosis
from engine import config as configs
from engine.backends import Answers, backend
from engine.backends.openai import Call, Endpoint, Limits
from engine.errors import ConfigError, Paused
from engine.stage import Ctx
from engine.stages.rewrite import (
    ANSWER,
    PROMPT,
    RETRY_TEMPERATURE,
    Job,
    Key,
    Phase,
    came,
    cost,
    expected_answer,
    give_up,
    teacher_folder,
    worst,
)
from engine.store.rows import Rewrite, Row

if TYPE_CHECKING:
    from engine.backends.vllm import Engine

AHEAD = 2
"""Calls handed over per slot, so that no slot waits for the store."""
Need = tuple[float, float]  # tokens in and out


def open_endpoint(how: configs.Teacher) -> Endpoint:
    """The endpoint that [teacher] names.

    Raises:
        ConfigError: the url or the model's name is missing. BackendError: the key is not there.
    """
    if not how.url or not how.model:
        lacking = "url" if not how.url else "model"
        raise ConfigError(f'config.toml: [teacher] backend = "openai" needs {lacking}. Name it, or set backend = "hf".')
    limits = Limits(
        how.concurrency, how.requests_per_minute, how.tokens_per_minute, timeout_s=how.timeout_s, retries=how.retries
    )
    return Endpoint(how.url, how.model, how.key_env, limits)


def through_endpoint(ctx: Ctx, job: Job) -> None:
    """Make every owed rewrite, and say where texts are sent before the first one is."""
    endpoint = open_endpoint(ctx.config.teacher)
    try:
        ctx.event(
            f"the texts of {len(job.rows)} selected samples are sent to {endpoint.url} ({endpoint.model})", "warning"
        )
        stream(ctx, job, endpoint, AHEAD * ctx.config.teacher.concurrency)
    finally:
        endpoint.close()


def through_engine(ctx: Ctx, job: Job) -> None:
    """Make every owed rewrite with vLLM in this process."""
    how = ctx.config.teacher
    quantised = not how.model and diagnosis.base_model(ctx).nf4
    engine: Engine = backend("vllm")(
        teacher_folder(ctx),
        dtype=how.dtype,
        quantization="bitsandbytes" if quantised else "",
        settings=ctx.config.vllm,
    )
    try:
        stream(ctx, job, engine, ctx.config.vllm.in_flight)
        ctx.event(engine.cache())
    finally:
        engine.close()


@dataclass(slots=True)
class Purse:
    """What was spent, what calls in flight may yet take, and what is kept back for answers to prompts that are paid.

    No call is made that could exceed a cap: see ``worst``.
    """

    how: configs.Teacher
    tokens: float = 0.0
    money: float = 0.0
    open: dict[tuple[str, Key], Need] = field(default_factory=dict)

    @property
    def capped(self) -> bool:
        """Whether there is any cap at all."""
        return bool(self.how.budget_tokens or self.how.budget_cost)

    def put(self, kind: str, key: Key, need: Need) -> None:
        """Count ``need`` as gone until it is dropped: ``held`` for a call in flight, ``kept`` for an answer."""
        self.drop(kind, key)
        self.open[kind, key] = need
        self._count(need, 1)

    def drop(self, kind: str, key: Key) -> None:
        """What was put is free again."""
        self._count(self.open.pop((kind, key), (0.0, 0.0)), -1)

    def _count(self, need: Need, sign: int) -> None:
        self.tokens += sign * (need[0] + need[1])
        self.money += sign * cost(*need, self.how.price)

    def spent(self, key: Key, before: Rewrite, row: Rewrite) -> None:
        """A call in flight is over; ``row`` says what it took."""
        self.drop("held", key)
        self.tokens += row.tokens_in + row.tokens_out - before.tokens_in - before.tokens_out
        self.money += row.cost - before.cost

    def over(self) -> bool:
        """Whether the caps could be exceeded by what is counted now."""
        tokens = self.how.budget_tokens and self.tokens > self.how.budget_tokens
        return bool(tokens or (self.how.budget_cost and self.money > self.how.budget_cost))


def stream(ctx: Ctx, job: Job, endpoint: Answers, ahead: int) -> None:
    """Make every owed rewrite through ``endpoint``, with at most ``ahead`` calls handed over at a time.

    Raises:
        Paused: after the calls in flight were saved. Cancelled: at once. BackendError: no call can work any more.
    """
    how = ctx.config.teacher
    purse = Purse(how, job.tokens, job.money)
    for row in job.waiting(ANSWER):
        purse.put("kept", _key(row), expected_answer(job, row))
    waiting = deque(_key(row) for row in [*job.waiting(ANSWER), *job.waiting(PROMPT)])
    flying: dict[Key, Phase] = {}
    wish: Paused | None = None
    while waiting or flying:
        while waiting and wish is None and len(flying) < ahead:
            row = job.rows[waiting[0]]
            phase = PROMPT if row.state == PROMPT.state else ANSWER
            if not _afford(job, purse, phase, row):
                break
            flying[waiting.popleft()] = phase
            endpoint.submit(_call(ctx, job, phase, row))
        if not flying:
            if wish is None and waiting:
                _give_up(ctx, job, waiting)
                continue
            break
        made: list[Row] = []
        for call, reply in endpoint.take():
            key: Key = call.tag  # type: ignore[assignment]
            phase, before = flying.pop(key), job.rows[key]
            row, entry = came(ctx, job, before, phase, reply, last=phase.tries(before) + 1 >= how.attempts)
            purse.spent(key, before, row)
            if row.state == ANSWER.state:
                purse.put("kept", key, expected_answer(job, row))
                waiting.appendleft(key)
            elif row.state == PROMPT.state:
                waiting.append(key)
            made += [row, entry]
        for note in endpoint.notes:
            ctx.event(note, "warning")
        endpoint.notes.clear()
        try:
            ctx.save(made, done=job.settled())
        except Paused as asked:
            wish = asked
    if wish is not None:
        raise wish


def _key(row: Rewrite) -> Key:
    return row.sample_id, row.axis


def _afford(job: Job, purse: Purse, phase: Phase, row: Rewrite) -> bool:
    """Hold what a call may take, when the caps allow it."""
    if not purse.capped:
        return True
    key = _key(row)
    kept = purse.open.get(("kept", key))
    purse.put("held", key, worst(job, phase, row, purse.how))
    purse.drop("kept", key)
    if phase is PROMPT:
        purse.put("kept", key, expected_answer(job, row))
    if not purse.over():
        return True
    purse.drop("held", key)
    purse.drop("kept", key)
    if kept is not None:
        purse.put("kept", key, kept)
    return False


def _call(ctx: Ctx, job: Job, phase: Phase, row: Rewrite) -> Call:
    """The next call for ``row``; its seed depends on the row alone, not on what else is in flight."""
    how, attempt = ctx.config.teacher, phase.tries(row) + 1
    seed = batches.seed(ctx.config.project.seed, ctx.round, phase.name, *_key(row), attempt, row.draw)
    temperature = how.temperature if how.temperature or attempt == 1 else RETRY_TEMPERATURE
    return Call(_key(row), job.chat(phase, row), how.max_new_tokens, temperature, how.top_p, seed)


def _give_up(ctx: Ctx, job: Job, waiting: deque[Key]) -> None:
    """The budget is exhausted for the kind of call that is first in line, and so for all that wait for that kind."""
    state = job.rows[waiting[0]].state
    gone = [key for key in waiting if job.rows[key].state == state]
    give_up(ctx, job, [job.rows[key] for key in gone])
    for key in gone:
        waiting.remove(key)
