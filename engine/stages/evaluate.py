"""What this round's model can do: held-out loss, exact match where answers are exact, and the tasks of lm-eval.

Held-out samples are never trained on, and the same ones are used in every round, so figures of different rounds may be
compared. Every item's outcome is a row, so an evaluation resumes where it was stopped. Tasks: ``evaluation.run_tasks``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from engine.backends import Generation
from engine.backends.hf import HF
from engine.chat import batches
from engine.chat.render import learned, thinks
from engine.chat.template_inputs import without_reasoning
from engine.config.schema import Model
from engine.distributed import ranks
from engine.evaluation import run_tasks
from engine.models.locate import ModelRef
from engine.plurals import counted
from engine.signals import losses, round_models
from engine.signals.last_exchange import last_response
from engine.stage import Ctx
from engine.store.rows import EvalItem, EvalScore, Message, Overlap, Sample, distinct

Asked = tuple[tuple[Message, ...], bool]
"""A conversation, and whether its reply is to begin with a reasoning trace."""


def run(ctx: Ctx) -> None:
    """Run the stage. Logs an event if there are neither held-out samples nor tasks."""
    run_tasks.run(ctx, _heldout(ctx))


def _heldout(ctx: Ctx) -> int:
    """Measure the held-out samples; returns how many units of progress that took."""
    samples = distinct(ctx.heldout())
    if not samples:
        ctx.event("no held-out samples to evaluate. Set data.heldout or data.heldout_share before an import.")
        return 0
    if both := len({row.item for row in ctx.rows(Overlap)}):
        ctx.event(
            f"{counted(both, 'held-out prompt is', 'held-out prompts are')} also in the training data,"
            " so held-out scores are too optimistic",
            "warning",
        )
    exact = ctx.config.evaluate.exact_match
    units = len(samples) * (2 if exact else 1)
    ctx.begin(units)
    model = round_models.open_model(ctx.config.model, round_models.after_model(ctx))
    items = _losses(ctx, model, samples)
    scores = _loss_score(ctx.round, items)
    if exact:
        scores += _accuracy(ctx.round, _replies(ctx, samples, items))
    ctx.save(scores, units)
    return units


def _losses(ctx: Ctx, model: HF, samples: Sequence[Sample]) -> dict[int, EvalItem]:
    """Each item's mean response loss and how many tokens it is a mean of."""
    items = {row.item: row for row in ctx.rows(EvalItem)}
    rows = list(losses.rendered(model, (sample.messages for sample in samples), ctx.config.model.max_length))
    if lost := sum(row.error is not None for row in rows):
        reason = next(row.error for row in rows if row.error)
        of = counted(len(rows), "held-out sample")
        ctx.event(f"{lost:,} of {of} {'has' if lost == 1 else 'have'} no loss, e.g.: {reason}", "warning")
    plan = batches.plan([len(row.ids) for row in rows], ctx.config.score.token_budget)
    pending = batches.unfinished(plan, lambda i: i in items)
    score = partial(losses.score_losses, ctx.config.model, round_models.after_model(ctx))
    results = ranks.map_batches(score, ([rows[i] for i in batch] for batch, _ in pending))
    for (batch, done), found in zip(pending, results, strict=True):
        new = [EvalItem(ctx.round, i, s.whole, rows[i].response_tokens) for i, s in zip(batch, found, strict=True)]
        items |= {item.item: item for item in new}
        ctx.save(new, done)
    return items


def _loss_score(round: int, items: dict[int, EvalItem]) -> list[EvalScore]:
    """The mean over all held-out response tokens; its standard error over samples, as a ratio of two sums."""
    known = [(item.loss, item.tokens) for item in items.values() if item.loss is not None and item.tokens]
    if not known:
        return []
    total = sum(tokens for _, tokens in known)
    mean = math.fsum(loss * tokens for loss, tokens in known) / total
    spread = math.sqrt(math.fsum((tokens * (loss - mean)) ** 2 for loss, tokens in known)) / total
    return [EvalScore(round, "heldout_loss", mean, spread if len(known) > 1 else None, len(known), higher=False)]


def _replies(ctx: Ctx, samples: Sequence[Sample], items: dict[int, EvalItem]) -> list[bool]:
    """Exact-match results of greedy replies to the held-out prompts, in batches of similar length."""
    how = ctx.config.evaluate
    order = sorted(range(len(samples)), key=lambda i: (-sum(len(m.content) for m in _asked(samples[i])), i))
    plan = [order[start : start + how.batch_size] for start in range(0, len(order), how.batch_size)]
    pending = batches.unfinished(plan, lambda i: items[i].correct is not None, len(samples))
    reply_to = partial(_greedy, ctx.config.model, round_models.after_model(ctx), how.max_new_tokens)
    results = ranks.map_batches(
        reply_to, ([(_asked(samples[i]), thinks(samples[i].messages)) for i in batch] for batch, _ in pending)
    )
    for (batch, done), found in zip(pending, results, strict=True):
        new = []
        for i, reply in zip(batch, found, strict=True):
            wanted = last_response(learned(samples[i].messages))
            right = reply.error is None and _plain(without_reasoning(reply.text)) == _plain(wanted)
            new.append(EvalItem(ctx.round, i, items[i].loss, items[i].tokens, reply.error or reply.text, right))
        items |= {item.item: item for item in new}
        ctx.save(new, done)
    return [bool(items[i].correct) for i in range(len(samples))]


def _greedy(how: Model, model: ModelRef, max_new_tokens: int, asked: Sequence[Asked]) -> list[Generation]:
    """The replies of one batch, in any process."""
    opened = round_models.open_model(how, model)
    chats, thinking = zip(*asked, strict=True)
    return opened.generate(chats, max_new_tokens=max_new_tokens, temperature=0.0, top_p=1.0, seed=0, thinking=thinking)


def _accuracy(round: int, right: Sequence[bool]) -> list[EvalScore]:
    share = sum(right) / len(right)
    return [EvalScore(round, "accuracy", share, math.sqrt(share * (1 - share) / len(right)), len(right))]


def _asked(sample: Sample) -> tuple[Message, ...]:
    """The conversation before its last learned answer."""
    turns = tuple(learned(sample.messages))
    return turns[: max((i for i, m in enumerate(turns) if m.role == "assistant"), default=len(turns))]


def _plain(text: str) -> str:
    """``text`` with whitespace normalised."""
    return " ".join(text.split())
