"""Six ratings of every sample by the model itself: the data for the quality axis.

Expected ratings read the distribution of one token. The sampled mode does what the published method does: draw a
reply and take its first number. A rating that cannot be read is a row with its reason, never a score. The verify stage
has rewrites rated by the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import msgspec

from engine.backends import Generates
from engine.backends.hf import HF
from engine.backends.shared_prefixes import why_alone
from engine.chat import batches
from engine.config import schema as configs
from engine.distributed import ranks
from engine.models.locate import ModelRef
from engine.signals import held_back, judge_asking, ratings, round_models, spoilt_copies
from engine.signals.last_exchange import Chat
from engine.signals.rating_rows import first_rating, no_rating, row_of
from engine.signals.ratings import Rated
from engine.stage import Ctx
from engine.store.judging import JudgeCheck
from engine.store.rows import Message, Ratings

Key = tuple[object, ...]
"""What a conversation to be rated is known by: seeds of drawn ratings come from it."""


@dataclass(frozen=True, slots=True)
class _Raters:
    """Who rates and how: all that another process needs for it.

    ``begun``: what replies are begun with. ``seed``: what the seeds of drawn ratings come from.
    """

    model: configs.Model
    ref: ModelRef
    how: configs.Judge
    begun: str
    seed: Key

    @classmethod
    def of(cls, ctx: Ctx, how: configs.Judge) -> _Raters:
        seed = ctx.config.project.seed, ctx.round, "judge"
        model = round_models.judge_settings(ctx.config)
        return cls(model, round_models.judge_ref(ctx), how, judge_asking.begun(ctx), seed)


@dataclass(frozen=True, slots=True)
class _RequestBatch:
    """The requests of some conversations, six for each: as token ids, or as chats when ratings are drawn."""

    first: Key
    asked: list[list[list[int]]]
    chats: list[list[tuple[Message, ...]]]


def run(ctx: Ctx) -> None:
    """The stage. Batches whose rows are all there are skipped, half-done ones are rated again as they were.

    Once all are rated, the judge is tried on spoilt copies of some samples.
    """
    data = ctx.dataset()
    held = held_back.held(ctx)
    samples = data.without(held)
    rated = held_back.settled(ctx.rows(Ratings), held)
    ctx.begin(len(samples), sum(id in rated for id in samples.ids))
    if all(id in rated for id in samples.ids) and any(check.done for check in ctx.rows(JudgeCheck)):
        return
    if ctx.config.judge.streams:
        from engine.signals import rating_stream  # it builds on this module

        rating_stream.through_engine(ctx, data, held, rated)
        return
    judge = round_models.open_model(round_models.judge_settings(ctx.config), round_models.judge_ref(ctx))
    judge_asking.asked_how(ctx, judge, samples)
    held_back.hold_back(ctx, held, rated)
    raters = _Raters.of(ctx, ctx.config.judge)
    if raters.how.mode == "expected" and not judge.shares:
        ctx.event(why_alone(judge.loaded.model))
    templates = ratings.judge_templates(ctx.project)
    lengths = (ratings.judge_length(templates, judge, sample.messages, raters.begun) for sample in samples)
    pending = batches.unfinished(ratings.plan_ratings(raters.how, lengths), lambda i: samples.ids[i] in rated)
    ids = [[samples.ids[i] for i in batch] for batch, _ in pending]
    parts = ([((sample.id,), sample.messages) for sample in samples.take(batch)] for batch in ids)
    found = ranks.map_batches(partial(_rate, raters), (_batch(raters, part, templates, judge) for part in parts))
    for (_, done), batch, six in zip(pending, ids, found, strict=True):
        ctx.save([row_of(ctx.round, id, one) for id, one in zip(batch, six, strict=True)], done)
    spoilt_copies.try_judge(ctx, data, partial(rate, ctx, ctx.config.judge))


def rate(ctx: Ctx, how: configs.Judge, chats: Sequence[tuple[Key, Chat]]) -> list[Rated]:
    """Six ratings of each chat's last exchange, in order, as ``how`` says.

    Planned in batches over all ``chats``: pass the same ones again after a resume to get the same bits.
    """
    raters = _Raters.of(ctx, how)
    judge = round_models.open_model(raters.model, raters.ref)
    templates = ratings.judge_templates(ctx.project)
    lengths = [ratings.judge_length(templates, judge, chat, raters.begun) for _, chat in chats]
    plan = ratings.plan_ratings(how, lengths)
    work = (_batch(raters, [chats[i] for i in batch], templates, judge) for batch in plan)
    out: dict[int, Rated] = {}
    for batch, found in zip(plan, ranks.map_batches(partial(_rate, raters), work), strict=True):
        out.update(zip(batch, found, strict=True))
    return [out[i] for i in range(len(chats))]


def as_judged(how: configs.Judge, rows: Sequence[Ratings]) -> configs.Judge:
    """``how`` in the mode that ``rows`` were made in: only expected ratings have a digit mass.

    Values of the two modes lie on different scales; what is compared with these rows must be on theirs.
    """
    masses = [row.digit_mass is not None for row in rows if row.quality is not None]
    if not masses or (how.mode == "expected") == any(masses):
        return how
    other: Literal["expected", "sampled"] = "expected" if any(masses) else "sampled"
    return msgspec.structs.replace(how, mode=other, constrain=False)


def _batch(raters: _Raters, part: Sequence[tuple[Key, Chat]], templates: ratings.Templates, judge: HF) -> _RequestBatch:
    chats = [chat for _, chat in part]
    if raters.how.mode == "sampled":
        return _RequestBatch(part[0][0], [], [ratings.judge_chats(templates, chat) for chat in chats])
    asked = [ratings.judge_prompts(templates, judge, chat, raters.begun) for chat in chats]
    return _RequestBatch(part[0][0], asked, [])


def _rate(raters: _Raters, batch: _RequestBatch) -> list[Rated]:
    """Rate one batch; runs in any process."""
    if batch.chats:
        return _sampled(raters, round_models.open_model(raters.model, raters.ref), batch)
    return ratings.rate_six(raters.model, raters.ref, raters.how, batch.asked)


def _sampled(raters: _Raters, judge: HF, batch: _RequestBatch) -> list[Rated]:
    """Ratings as the first number of a drawn reply; a reply without one is asked for again, judge.attempts times."""
    chats = [chat for six in batch.chats for chat in six]
    values: dict[int, float] = {}
    replies: dict[int, str] = {}
    for attempt in range(raters.how.attempts):
        pending = [i for i in range(len(chats)) if i not in values]
        if not pending:
            break
        drawn = _draw(raters, judge, [chats[i] for i in pending], batch.first, attempt)
        for i, (text, error) in zip(pending, drawn, strict=True):
            replies[i] = error or no_rating(text)
            if error is None and (value := first_rating(text)) is not None:
                values[i] = value
    return [_collect(values, replies, range(6 * n, 6 * n + 6)) for n in range(len(batch.chats))]


def _draw(
    raters: _Raters, judge: Generates, chats: Sequence[Sequence[Message]], first: Key, attempt: int
) -> list[tuple[str, str | None]]:
    how = raters.how
    replies = judge.generate(
        chats,
        max_new_tokens=how.max_new_tokens,
        temperature=how.temperature,
        top_p=how.top_p,
        top_k=how.top_k,
        seed=batches.seed(*raters.seed, *first, attempt),
        begun=raters.begun,
    )
    return [(reply.text, reply.error) for reply in replies]


def _collect(values: dict[int, float], replies: dict[int, str], which: range) -> Rated:
    lacking = next((i for i in which if i not in values), None)
    if lacking is not None:
        return Rated(None, None, None, replies[lacking])
    six = tuple(values[i] for i in which)
    return Rated(six, sum(six) / len(six), None)
