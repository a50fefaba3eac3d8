"""Six ratings of every sample by the model itself: the data for the quality axis.

Expected ratings read the distribution of one token. The sampled mode does what the published method does: draw a
reply and take its first number. A rating that cannot be read is a row with its reason, never a score.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from engine import batches, diagnosis
from engine.backends.hf import HF
from engine.diagnosis import Rated
from engine.stage import Ctx
from engine.store.rows import RATING_COLUMNS, Message, Ratings, Sample

NUMBER = re.compile(r"\d+(?:\.\d+)?")
HIGHEST = 9.0


def run(ctx: Ctx) -> None:
    """The stage. Batches whose rows are all there are skipped, half-done ones are rated again as they were."""
    samples = ctx.dataset()
    rated = {row.sample_id for row in ctx.rows(Ratings)}
    ctx.begin(len(samples), sum(sample.id in rated for sample in samples))
    if all(sample.id in rated for sample in samples):
        return
    judge = diagnosis.judge_model(ctx)
    asked = [diagnosis.judge_prompts(ctx, judge, sample.messages) for sample in samples]
    done = 0
    for batch in diagnosis.plan_ratings(ctx, asked):
        done += len(batch)
        if all(samples[i].id in rated for i in batch):
            continue
        if ctx.config.judge.mode == "sampled":
            found = _sampled(ctx, judge, [samples[i] for i in batch])
        else:
            found = diagnosis.rate_batch(ctx, judge, [asked[i] for i in batch])
        ctx.save([_row(ctx, samples[i], one) for i, one in zip(batch, found, strict=True)], done)


def _row(ctx: Ctx, sample: Sample, rated: Rated) -> Ratings:
    six: dict[str, Any] = dict(zip(RATING_COLUMNS, rated.ratings or (None,) * 6, strict=True))
    return Ratings(
        ctx.round, sample.id, **six, quality=rated.quality, digit_mass=rated.digit_mass, judge_error=rated.error
    )


def _sampled(ctx: Ctx, judge: HF, samples: Sequence[Sample]) -> list[Rated]:
    """Ratings as the first number of a drawn reply; a reply without one is asked for again, judge.attempts times."""
    chats = [chat for sample in samples for chat in diagnosis.judge_chats(ctx, sample.messages)]
    values: dict[int, float] = {}
    replies: dict[int, str] = {}
    for attempt in range(ctx.config.judge.attempts):
        owed = [i for i in range(len(chats)) if i not in values]
        if not owed:
            break
        for i, (text, error) in zip(
            owed, _draw(ctx, judge, [chats[i] for i in owed], samples[0], attempt), strict=True
        ):
            replies[i] = error or f"no rating from 0 to 9 in the reply: {text[:200]!r}"
            if error is None and (value := first_rating(text)) is not None:
                values[i] = value
    return [_collect(values, replies, range(6 * n, 6 * n + 6)) for n in range(len(samples))]


def _draw(
    ctx: Ctx, judge: HF, chats: Sequence[Sequence[Message]], first: Sample, attempt: int
) -> list[tuple[str, str | None]]:
    how = ctx.config.judge
    replies = judge.generate(
        chats,
        max_new_tokens=how.max_new_tokens,
        temperature=how.temperature,
        top_p=how.top_p,
        top_k=how.top_k,
        seed=batches.seed(ctx.config.project.seed, ctx.round, "judge", first.id, attempt),
    )
    return [(reply.text, reply.error) for reply in replies]


def first_rating(text: str) -> float | None:
    """The first number of a reply, when it is one of the scale 0 to 9."""
    found = NUMBER.search(text)
    value = float(found.group()) if found else None
    return value if value is not None and value <= HIGHEST else None


def _collect(values: dict[int, float], replies: dict[int, str], which: range) -> Rated:
    lacking = next((i for i in which if i not in values), None)
    if lacking is not None:
        return Rated(None, None, None, replies[lacking])
    six = tuple(values[i] for i in which)
    return Rated(six, sum(six) / len(six), None)
