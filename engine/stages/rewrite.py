"""The teacher rewrites what was selected, in two calls each: first a new prompt, then its answer.

All prompts come first, then all answers; towards a cap, as many prompts as can be paid for with their answers. A phase
goes through its tries: try n is made of every rewrite whose try n - 1 was malformed, in pieces planned over all of them
in the order (axis, place in the dataset). A piece is more replies than are written at a time, so that one that has
ended makes room for the next. It is saved whole, and what each reply draws comes from its own seed, so a resumed run
makes the same calls as an undisturbed one. A pause does not wait for a piece: replies on their way are kept in a file
as they are, and go on from there.

A reply that is malformed, empty or cut off is asked for again, as is a new prompt that is worth no answer (a copy of
one that there is already, or held out: ``engine.verification.new_prompts``), ``teacher.attempts`` times; then the
rewrite is ``failed`` with the reason and the raw reply, and its sample stays as it is. So it is at once when the
backend says that no further try would help. What a person sends back is asked for apart from the rest, in pieces and
with seeds of its own (``Rewrite.draw``), so that it draws another reply and the pieces that were answered stay what
they were.

How a reply changes a rewrite is in ``teacher.job``, what it may cost in ``teacher.budget``. Endpoints and vLLM have no
such pieces: ``teacher.stream``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from engine.backends import Writes, backend
from engine.config.schema import Teacher
from engine.plurals import counted
from engine.selection.probing import Probing
from engine.signals import held_back, round_models
from engine.stage import Ctx
from engine.store.rows import Rewrite
from engine.store.teacher import TeacherBatch
from engine.teacher.budget import affordable, announce, give_up
from engine.teacher.job import ANSWER, PROMPT, Phase, RewriteJob, summary, teacher_folder
from engine.teacher.progress import Meter
from engine.teacher.replies import most_tries, record_reply

Wave = tuple[int, int]
"""Rewrites that are asked for together: ``Rewrite.draw`` and ``Rewrite.batch``."""
HELD = 'possible prompt injection ([data] injection = "hold"); request its rewrite to send it'
"""Why a flagged sample's rewrite is not asked for."""
KEPT = "writing"
"""The folder of replies that a pause kept on their way."""
PLANNED = 4
"""Replies planned together for each that is written at a time: with fewer, more places stay empty at the end."""


def run(ctx: Ctx) -> None:
    """Make every pending rewrite of the round, or record why there is none."""
    job, how = RewriteJob.begin(ctx), ctx.config.teacher
    job.recover(ctx)
    _hold_back(ctx, job)
    away = [batch for batch in ctx.rows(TeacherBatch) if batch.pending]
    ctx.begin(2 * len(job.rows), job.settled())
    probing = Probing.begin(ctx, job)
    job.extend = probing.more if probing else None
    if not job.more() and not away:
        return
    if job.pending():
        announce(ctx, job)
    for url in sorted({batch.url for batch in away if (how.backend, how.url) != ("openai", batch.url)}):
        ctx.event(f"batches at {url} are not collected: [teacher] is a different teacher now", "warning")
    if how.backend == "openai":
        _ask_endpoint(ctx, job, any(batch.url == how.url for batch in away))
    elif how.backend == "vllm" and job.pending():
        from engine.teacher import stream  # the SDK takes long to load

        stream.through_engine(ctx, job)
    elif job.pending():
        meter = Meter(ctx, job)
        meter.loading()
        teacher = open_teacher(ctx)
        while job.more():
            if not any(_make_next(ctx, job, phase, teacher, meter) for phase in (PROMPT, ANSWER)):
                give_up(ctx, job, job.pending(), how)
        shutil.rmtree(ctx.workdir(KEPT))
    ctx.event(summary(job.all()))


def _hold_back(ctx: Ctx, job: RewriteJob) -> None:
    """End what is asked of flagged samples without a person's request: an older version, or another setting of [data]
    injection, selected them. What a person sent back is a request, too.
    """
    back = held_back.held(ctx).keys() - held_back.approved(ctx)
    rows = [replace(r, state="failed", reason=HELD) for r in job.pending() if r.sample_id in back and r.draw <= 0]
    if rows:
        job.update(rows)
        ctx.save(rows)
        ctx.event(f"{counted(len(rows), 'rewrite is', 'rewrites are')} not asked for: {HELD}", "warning")


def _ask_endpoint(ctx: Ctx, job: RewriteJob, away: bool) -> None:
    """By batches, or one by one. ``away``: batches are with it, whichever way the rest is asked."""
    if ctx.config.teacher.batch or away:
        from engine.teacher import batch as rewrite_batch  # the SDK takes long to load

        rewrite_batch.through_batches(ctx, job)
    if not ctx.config.teacher.batch and job.more():
        from engine.teacher import stream

        stream.through_endpoint(ctx, job)


def open_teacher(ctx: Ctx) -> Writes:
    """The model that config.toml names as the teacher (the loop's own base when it names none)."""
    how, model = ctx.config.teacher, ctx.config.model
    own = {"nf4": True} if not how.model and round_models.base_model(ctx).nf4 else {}
    found: Writes = backend(how.backend)(
        teacher_folder(ctx),
        dtype=how.dtype,
        device=model.device,
        threads=model.threads,
        attention=model.attention,
        **own,
    )
    return found


# -------------------------------------------------------------------------------------------------- the work


def pool(rows: Sequence[Rewrite], phase: Phase, attempt: int) -> list[Rewrite]:
    """The rewrites that need try number ``attempt`` of ``phase``, made or not: the same list on every resume."""
    return [r for r in rows if phase.tries(r) >= attempt or (r.state == phase.state and phase.tries(r) == attempt - 1)]


def tries(waves: Mapping[Wave, Sequence[Rewrite]], phase: Phase, how: Teacher) -> list[tuple[Wave, int]]:
    """(wave, number) of all tries that the rows of ``waves`` may have, in the order in which they are made."""
    return [
        (wave, attempt)
        for wave in sorted(waves)
        for attempt in range(1, max(most_tries(how, phase, row) for row in waves[wave]) + 1)
    ]


def _make_next(ctx: Ctx, job: RewriteJob, phase: Phase, teacher: Writes, meter: Meter) -> bool:
    """Make the next try of ``phase``, piece by piece as far as the caps allow; whether anything was made.

    Which pieces those are follows from what is in the store, so that a resumed run goes on as an undisturbed one.
    """
    how = ctx.config.teacher
    # Towards a cap every call of a piece counts as its worst until it is made: large pieces would leave much unused.
    size = how.batch_size * (1 if how.budget_tokens or how.budget_cost else PLANNED)
    waves: dict[Wave, list[Rewrite]] = {}
    for row in job.all():
        waves.setdefault((row.draw, row.batch), []).append(row)
    for wave, attempt in tries(waves, phase, how):
        made = False
        for piece in _pieces(pool(waves[wave], phase, attempt), size):
            while left := [row for row in (job.rows[row.key] for row in piece) if phase.tries(row) < attempt]:
                now = affordable(job, phase, left, how)
                if not now:
                    return made
                _ask(ctx, job, phase, attempt, left[:now], teacher, meter)
                made = True
        if made:
            return True
    return False


def _pieces(rows: list[Rewrite], size: int) -> Iterator[list[Rewrite]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _ask(
    ctx: Ctx, job: RewriteJob, phase: Phase, attempt: int, batch: Sequence[Rewrite], teacher: Writes, meter: Meter
) -> None:
    """One piece of calls, saved whole."""
    how = ctx.config.teacher
    try:
        replies = teacher.write(
            [job.call(ctx, phase, row) for row in batch],
            rows=how.batch_size,
            watch=meter.of(phase, attempt, batch),
            keep=ctx.workdir(KEPT) / "replies.safetensors",
        )
    finally:
        for note in teacher.notes:
            ctx.event(note, "warning")
        teacher.notes.clear()
    meter.finished(replies)
    made = [
        one for row, reply in zip(batch, replies, strict=True) for one in record_reply(ctx, job, row, phase, reply, how)
    ]
    ctx.save(made, done=job.settled())
