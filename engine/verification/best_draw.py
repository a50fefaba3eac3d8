"""Which of several answers of the teacher is kept ([teacher] best_of): of those that pass the text checks, the one that
the base model finds likeliest (the lowest mean loss). It is measured and judged like any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from engine.signals import losses
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.rows import Message, Rewrite, Sample, dump_messages, load_messages
from engine.verification.text_checks import Exchange, Rejection

CHUNK = 256
"""Answers whose losses are measured and decided on together."""

Check = Callable[[Rewrite, Exchange, Exchange], Rejection | None]
"""What is wrong with a rewrite's exchange, held against its original's."""


def choose(ctx: Ctx, data: Dataset, check: Check) -> int:
    """Decide on every rewrite with several answers; returns how many there were. What was decided stays decided."""
    rows = [row for row in ctx.rows(Rewrite) if row.draws and row.state == "proposed" and row.original is None]
    step = max(
        1, CHUNK // ctx.config.teacher.best_of
    )  # not of the rows that are left: a resumed run makes other chunks
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        samples = data.take([row.sample_id for row in part])
        answers = [_passing(row, sample, check) for row, sample in zip(part, samples, strict=True)]
        chats = [turns for found in answers for turns in found]
        likely = iter(losses.base_losses(ctx, chats))
        chosen = [_likeliest([(turns, next(likely)) for turns in found]) for found in answers]
        ctx.save([_with(row, turns) for row, turns in zip(part, chosen, strict=True)])
    return len(rows)


def _passing(row: Rewrite, sample: Sample, check: Check) -> list[tuple[Message, ...]]:
    """The conversations that pass; all of them where none does, so that the checks say what is wrong."""
    before = load_messages(row.messages or "[]")[:-1]
    every = [(*before, Message("assistant", str(text))) for text in json.loads(row.draws or "[]")]
    original = Exchange(sample.prompt, sample.response)
    good = [turns for turns in every if not check(row, Exchange(row.prompt or "", turns[-1].content), original)]
    return good or every


def _likeliest(found: Sequence[tuple[tuple[Message, ...], float | None]]) -> tuple[Message, ...]:
    """The lowest loss; the first of equal ones, and of those that have none."""
    return min(found, key=lambda one: float("inf") if one[1] is None else one[1])[0]


def _with(row: Rewrite, turns: tuple[Message, ...]) -> Rewrite:
    return replace(row, response=turns[-1].content, messages=dump_messages(turns), draws=None)
