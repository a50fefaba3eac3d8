"""The round's model on the servers that [judge] names, and whether what they compute is that model.

A server says by which name it knows its base, not what it is. So it is asked for the losses of a few samples under the
adapter, which the score stage has measured here: another base, another adapter or none gives other ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.chat.render import render
from engine.plurals import counted
from engine.signals import round_models
from engine.stage import Ctx
from engine.store.dataset import Dataset
from engine.store.rows import Losses

if TYPE_CHECKING:
    from engine.backends.server_judge import ServerJudge

TRIED = 4
"""Samples whose losses are compared: those that training has changed most, since without it they differ most."""
SHORT, LONG_ANSWER = 256, 16
"""Tokens of such a sample at most, as a server holds the probabilities of the whole vocabulary in each place; and of
its answer at least, as a single token's loss may differ by a tenth in bfloat16: a logit of 20 is rounded to 1/8."""
MOST = 0.1
"""Nats per token that losses of one model may differ by, on average over the samples."""


def open_judge(ctx: Ctx) -> ServerJudge:
    """The round's model on servers. Close it.

    Raises:
        BackendError, ModelError: none of them can load it, or none computes what it does.
    """
    from engine.backends.served_adapter import served  # the SDK takes long to load
    from engine.backends.server_judge import ServerJudge

    model = round_models.judge_ref(ctx)
    adapter = served(ctx.project, ctx.round, model, ctx.config.judge.adapter_root)
    judge = ServerJudge(model.base, adapter, ctx.config)
    try:
        _compare(ctx, judge, ctx.dataset())
    except BaseException:
        judge.close()
        raise
    return judge


def _compare(ctx: Ctx, judge: ServerJudge, samples: Dataset) -> None:
    """Compare losses of some samples with the score stage's, and say what came of it.

    Raises:
        BackendError: they differ at all servers.
    """
    known = drawn([row for row in ctx.rows(Losses) if row.loss_after is not None], judge.positions)
    if not known:
        ctx.event("no losses to compare with the judging servers': whether they serve this model is unknown", "warning")
        return
    chats = [sample.messages for sample in samples.take([row.sample_id for row in known])]
    most = ctx.config.model.max_length
    rows = [render(judge.tokenizer, chat, most) for chat in chats]
    apart = judge.compare([(row, one.loss_after or 0.0) for row, one in zip(rows, known, strict=True)], MOST)
    ctx.event(f"losses of {counted(len(known), 'sample')} by the judging servers differ from ours by {apart:.4f}")


def drawn(rows: list[Losses], positions: int) -> list[Losses]:
    """Of short samples those that training has changed most, long answers first; of the shortest if none is short."""

    def tokens(row: Losses) -> int:
        return row.prompt_tokens + row.response_tokens

    def rank(row: Losses) -> tuple[bool, float, int]:
        changed = abs((row.loss_after or 0.0) - (row.loss_before or 0.0))
        return row.response_tokens < LONG_ANSWER, -changed, row.sample_id

    fit = sorted((row for row in rows if tokens(row) <= positions), key=lambda row: (tokens(row), row.sample_id))
    short = [row for row in fit if tokens(row) <= SHORT] or fit[:TRIED]
    return sorted(short, key=rank)[:TRIED]
