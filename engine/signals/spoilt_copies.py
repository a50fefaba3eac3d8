"""Samples with a spoilt answer: what a judge is tried on, since nobody needs to say which of the two is worse.

They are drawn from the third of the dataset that looks least flawed by the lenses, which know nothing of the judge: a
sample whose answer is wrong already is hardly better than its copy. Answers are foreign, cut off or shuffled by turns:
on the demo, whose judge has AUC .99 against the true flaws, a foreign answer is often a true sentence and is rated
below the right one in only 3 of 4 cases, the others in nearly all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random

from msgspec import structs

from engine.chat import batches
from engine.chat.render import learned
from engine.signals import flaw_score, held_back, judge_trust
from engine.signals.last_exchange import Chat, last_prompt, last_response
from engine.signals.nearest import Floats
from engine.signals.ratings import Rated
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.judging import JudgeCheck
from engine.store.rows import Lenses, Ratings, Sample

PAIRS = 32
PART = 10_000
"""Flaw scores that are saved together."""
FEW = 4
"""Words: a text of fewer is taken apart by characters."""
LOOKED_AT = 8 * PAIRS
"""Samples of which as many as that are looked for: those with calls, or without a plain answer, are no use."""

Pair = tuple[int, Chat]
"""A sample's id, and its conversation with a foreign answer."""
Asked = Sequence[tuple[tuple[object, ...], Chat]]
Rate = Callable[[Asked], Sequence[Rated]]
"""Rates conversations, each known by a key that seeds of drawn ratings come from."""


def try_judge(ctx: Ctx, samples: Dataset, rate: Rate) -> None:
    """Once all ``samples`` are rated: have their spoilt copies rated too, save what came of it and say it. A judge that
    can tell has a part in the flaw scores.
    """
    check = ctx.rows(JudgeCheck)[0]
    if check.done:
        return
    found = ctx.rows(Ratings)
    quality = {row.sample_id: row.quality for row in found if row.quality is not None}
    lenses = _lenses(ctx, samples)
    flaws = flaw_score.flaws(ctx.round, samples.ids, lenses) if lenses else []
    scores = {row.sample_id: row.flaw for row in flaws}
    pairs = spoilt(drawn(samples, scores, quality, ctx.config.project.seed))
    pairs = pairs if len(pairs) >= judge_trust.LEAST_PAIRS else []
    copies = [one.quality for one in rate([(("spoilt", id), chat) for id, chat in pairs])] if pairs else []
    both, auc = ranked(pairs, quality, copies)
    missing = [row.judge_error or "" for row in found if row.quality is None]
    errors = [text for text in missing if not text.startswith(held_back.HELD)]
    masses = [row.digit_mass for row in found if row.digit_mass is not None]
    check = structs.replace(
        check,
        done=True,
        pairs=both,
        auc=auc,
        rated=len(quality),
        errors=len(errors),
        digit_mass=sum(masses) / len(masses) if masses else None,
    )
    trust = judge_trust.of_stage(ctx, check)
    check = structs.replace(check, counted=judge_trust.has_a_part(ctx.config.select, trust))
    if lenses and check.counted:
        lenses[flaw_score.JUDGE] = flaw_score.judge_column(samples.ids, quality)
        flaws = flaw_score.flaws(ctx.round, samples.ids, lenses)
    for start in range(0, len(flaws), PART):
        ctx.save(flaws[start : start + PART])
    ctx.save([check])
    _tell(ctx, check, trust, errors)


def _lenses(ctx: Ctx, samples: Dataset) -> dict[str, Floats]:
    """What the flaw scores are made of without the judge; empty where the round was scored by an older version."""
    rows = ctx.rows(Lenses)
    if not rows:
        return {}
    return flaw_score.columns(samples.ids, rows) | {flaw_score.TEXT: flaw_score.text_column(samples)}


def _tell(ctx: Ctx, check: JudgeCheck, trust: judge_trust.JudgeTrust, errors: Sequence[str]) -> None:
    """Judge errors, if they are many, and whether the judge can be believed."""
    if many := judge_trust.alarm(check):
        ctx.event(f"{many}: {errors[0]}", "warning")
    if trust.answer != "unknown":
        said = judge_trust.verdict(ctx.config.select, trust)
        ctx.event(said, "warning" if trust.answer == "no" else "info")


def drawn(samples: Dataset, flaws: Mapping[int, float], rated: Iterable[int], seed: int) -> list[Sample]:
    """Up to ``PAIRS`` samples that have a rating, at random among the third that looks least flawed.

    Args:
        flaws: flaw scores by sample id; empty: all samples are alike.
    """
    there = [id for id in rated if not flaws or id in flaws]
    there = sorted(there, key=lambda id: (flaws.get(id, 0.0), id))[: max(PAIRS, len(there) // 3)] if flaws else there
    order = sorted(there, key=lambda id: batches.seed(seed, "spoilt", id))
    return list(islice(_plain(samples, order[:LOOKED_AT]), PAIRS))


def _plain(samples: Dataset, ids: Sequence[int]) -> Iterator[Sample]:
    """Those with one prompt and one answer in words, as long as they differ."""
    seen: set[str] = set()
    for start in range(0, len(ids), PAIRS):
        part = {sample.id: sample for sample in samples.take(ids[start : start + PAIRS])}
        for id in ids[start : start + PAIRS]:
            chat = learned(part[id].messages)
            answer = last_response(chat)
            if chat[-1].role == "assistant" and not chat[-1].tool_calls and answer.strip() and answer not in seen:
                seen.add(answer)
                yield part[id]


def spoilt(samples: Sequence[Sample]) -> list[Pair]:
    """A copy of each of ``samples`` with one flaw, by turns: another's answer (of about its length), the first half of
    its own, or its words in another order. Those that this changes nothing of are left out.
    """
    chats = [learned(sample.messages) for sample in samples]
    answers = [last_response(chat) for chat in chats]
    order = sorted(range(len(chats)), key=lambda i: (len(answers[i]), samples[i].id))
    foreign = dict(zip(order, order[1:] + order[:1], strict=True))
    out: list[Pair] = []
    for i, chat in enumerate(chats):
        text = (answers[foreign[i]], halved(answers[i]), shuffled(answers[i], samples[i].id))[i % 3]
        if text != answers[i] and (i % 3 or last_prompt(chat) != last_prompt(chats[foreign[i]])):
            out.append((samples[i].id, (*chat[:-1], structs.replace(chat[-1], content=text, thinking=""))))
    return out


def halved(text: str) -> str:
    """The first half of a text, in words; in characters where there are few words, or none are written apart."""
    parts, between = _parts(text)
    return between.join(parts[: max(1, len(parts) // 2)])


def shuffled(text: str, seed: int) -> str:
    """The words of a text (or its characters) in another order."""
    parts, between = _parts(text)
    Random(seed).shuffle(parts)
    return between.join(parts)


def _parts(text: str) -> tuple[list[str], str]:
    words = text.split()
    return (words, " ") if len(words) >= FEW else (list(text.strip()), "")


def ranked(
    pairs: Sequence[Pair], quality: Mapping[int, float], copies: Sequence[float | None]
) -> tuple[int, float | None]:
    """How many of the pairs have both ratings, and in which share the sample is rated above its copy (ties: half)."""
    both = [
        (quality[id], copy) for (id, _), copy in zip(pairs, copies, strict=True) if copy is not None and id in quality
    ]
    wins = sum((own > copy) + 0.5 * (own == copy) for own, copy in both)
    return len(both), wins / len(both) if both else None
