"""How a round's judge is asked: with its reply begun ("Rating: "), or as it is.

A chat model begins its reply in its own words; with the reply begun, a digit comes next. A model that answers with a
digit by itself, such as one that was trained to rate, is asked as it is: begun, its replies would not be those that it
knows. So the digits' probability on a few samples decides, once: later rounds ask as the first one did, since their
ratings are compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from engine.backends import Judges
from engine.chat import batches
from engine.signals import ratings
from engine.signals.last_exchange import Chat
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.judging import JudgeCheck
from engine.store.rows import Ratings

TRIED = 8
"""Samples that the digits' probability is measured on, six requests each."""
ANSWERS = 0.9
"""A model whose digits have this probability by themselves answers in the form that is asked for."""


def begun(ctx: Ctx) -> str:
    """What the replies of this round's judge are begun with."""
    return next((check.begun for check in ctx.rows(JudgeCheck)), "")


def asked_how(ctx: Ctx, judge: Judges, samples: Dataset) -> JudgeCheck:
    """How this round's judge is asked: as it was already, else as [judge] prime says. Saved, and said if it matters."""
    if known := ctx.rows(JudgeCheck):
        return known[0]
    check = _decided(ctx, judge, samples)
    ctx.save([check])
    if check.begun:
        ctx.event(said(check))
    return check


def _decided(ctx: Ctx, judge: Judges, samples: Dataset) -> JudgeCheck:
    how = ctx.config.judge
    plain = JudgeCheck(ctx.round, how.model, "")
    off = how.prime == "off" or ctx.config.select.parity == "reference" or not judge.beginning
    if off or ctx.rows(Ratings):  # such rows are an older version's, which asked so
        return plain
    chats = [s.messages for s in samples.take(sorted(samples.ids, key=lambda id: batches.seed("asked", id))[:TRIED])]
    check = structs.replace(plain, plain_mass=_mass(ctx, judge, chats, ""))
    check = structs.replace(check, begun_mass=_mass(ctx, judge, chats, judge.beginning))
    if how.prime == "on":
        return structs.replace(check, begun=judge.beginning)
    earlier = [c for r in range(ctx.round) for c in ctx.rows(JudgeCheck, r) if c.judge == how.model]
    if earlier and earlier[0].begun in ("", judge.beginning):
        return structs.replace(check, begun=earlier[0].begun)
    better = (check.plain_mass or 0.0) < min(ANSWERS, check.begun_mass or 0.0)
    return structs.replace(check, begun=judge.beginning if better else "")


def _mass(ctx: Ctx, judge: Judges, chats: Sequence[Chat], start: str) -> float | None:
    """The mean probability of the digits in rating requests on ``chats``; None where none fits into the model."""
    templates = ratings.judge_templates(ctx.project)
    six = ([ids for ids in ratings.judge_prompts(templates, judge, chat, start) if ids] for chat in chats)
    rated = (judge.rate(asked, ctx.config.judge.token_budget) for asked in six if asked)  # as many as share a beginning
    found = [rating.digit_mass for one in rated for rating in one if rating.error is None]
    return sum(found) / len(found) if found else None


def said(check: JudgeCheck) -> str:
    """The line for the log."""
    plain, primed = check.plain_mass or 0.0, check.begun_mass or 0.0
    return (
        f'the judge\'s replies are begun with "{check.begun.strip()}": {primed:.1%} of the probability then lies on'
        f" digits, {plain:.1%} without"
    )
