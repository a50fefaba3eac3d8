"""Rewrites through an endpoint, or vLLM in this process: many calls in flight, every result saved as it comes.

A rewrite goes its own way, prompt, answer, further tries, without waiting for others; answers go first, so that what
was begun is finished. A pause lets the calls in flight come home and be saved where they are paid for; vLLM's are given
up, which may take minutes to end. What was saved is never asked for again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from engine.backends import Answers, backend
from engine.backends.openai import Endpoint, EndpointLimits
from engine.config import schema as configs
from engine.errors import Paused
from engine.signals import diagnosis
from engine.stage import Ctx
from engine.store.rows import Row
from engine.teacher.budget import Purse, give_up
from engine.teacher.job import ANSWER, PROMPT, Key, Phase, RewriteJob, came, require_endpoint, teacher_folder

if TYPE_CHECKING:
    from engine.backends.vllm import Engine

AHEAD = 2
"""Calls handed over per slot, so that no slot waits for the store."""


def open_endpoint(how: configs.Teacher, answered: bool = False) -> Endpoint:
    """The endpoint that [teacher] names; ``answered``: it took such calls before.

    Raises:
        ConfigError: the url or the model's name is missing. BackendError: the key is not there.
    """
    require_endpoint(how)
    limits = EndpointLimits(
        how.concurrency, how.requests_per_minute, how.tokens_per_minute, timeout_s=how.timeout_s, retries=how.retries
    )
    return Endpoint(how.url, how.model, how.key_env, limits, answered)


def through_endpoint(ctx: Ctx, job: RewriteJob) -> None:
    """Make every owed rewrite, and say where texts are sent before the first one is."""
    endpoint = open_endpoint(ctx.config.teacher, answered=job.tokens > 0)
    try:
        ctx.event(
            f"the texts of {len(job.rows)} selected samples are sent to {endpoint.url} ({endpoint.model})", "warning"
        )
        stream(ctx, job, endpoint, AHEAD * ctx.config.teacher.concurrency)
    finally:
        endpoint.close()


def through_engine(ctx: Ctx, job: RewriteJob) -> None:
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


def stream(ctx: Ctx, job: RewriteJob, endpoint: Answers, ahead: int) -> None:
    """Make every owed rewrite through ``endpoint``, with at most ``ahead`` calls handed over at a time.

    Raises:
        Paused: all that came is saved, also the calls in flight if they are paid for. Cancelled: at once.
        BackendError: no call can work any more.
    """
    how = ctx.config.teacher
    purse = Purse.begin(how, job)
    waiting = deque(row.key for row in job.owed())
    flying: dict[Key, Phase] = {}
    wish: Paused | None = None
    while waiting or flying:
        while waiting and wish is None and len(flying) < ahead:
            row = job.rows[waiting[0]]
            phase = Phase.of(row)
            if not purse.afford(job, phase, row):
                break
            flying[waiting.popleft()] = phase
            endpoint.submit(job.call(ctx, phase, row))
        if not flying:
            if wish is None and waiting:
                _give_up(ctx, job, waiting)
                continue
            break
        made: list[Row] = []
        for call, reply in endpoint.take():
            key: Key = call.tag  # type: ignore[assignment]
            phase, before = flying.pop(key), job.rows[key]
            row, entry = came(ctx, job, before, phase, reply, how)
            purse.spent(job, before, row)
            if row.state == ANSWER.state:
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
            if wish is None and flying:
                ctx.event(endpoint.stopping())
            wish = asked
            if not endpoint.paid:
                break
    if wish is not None:
        raise wish


def _give_up(ctx: Ctx, job: RewriteJob, waiting: deque[Key]) -> None:
    """The budget is exhausted for the kind of call that is first in line, and so for all that wait for that kind."""
    state = job.rows[waiting[0]].state
    gone = [key for key in waiting if job.rows[key].state == state]
    give_up(ctx, job, [job.rows[key] for key in gone])
    for key in gone:
        waiting.remove(key)
