"""The models of a round and what they say of conversations: shared by score, judge, evaluate and verify.

A round has a model before its training (the base, or the previous round's) and one after it. Samples of the dataset
and candidates that may replace them are measured by the same functions here, so that their signals can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from engine.backends import Judges, Rating, Scored, backend
from engine.chat import batches, prompts
from engine.chat.render import Rendered, learned, render, render_bare, render_prompt
from engine.chat.template_inputs import without_reasoning
from engine.config.named_templates import content_key
from engine.config.schema import Judge, Model
from engine.distributed import ranks
from engine.errors import StageError
from engine.hub.telling import telling
from engine.models import locate
from engine.models.locate import ModelRef
from engine.stage import Ctx
from engine.store.rows import DIMENSIONS, RATING_COLUMNS, SUBJECTS, Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.backends.hf import HF
    from engine.backends.vllm import Engine

Chat = Sequence[Message]
CHECKPOINT = "checkpoint"
RENDERING = "r2"
"""Raised when conversations become other tokens: a loss that was cached before is not one of them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the score stage knows of a sample's last exchange, here of any conversation's. All None with ``error``."""

    loss_before: float | None
    loss_after: float | None
    embedding: NDArray[np.float32] | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Rated:
    """Six ratings in the order of ``RATING_COLUMNS``, their mean and the least digit mass. None with ``error``."""

    ratings: tuple[float, ...] | None
    quality: float | None
    digit_mass: float | None
    error: str | None = None


def base_model(ctx: Ctx) -> ModelRef:
    """The model that config.toml names, in as many bits as this round trains it in."""
    return ModelRef(locate.locate(ctx.config.model.name, ctx.project, telling(ctx)), nf4=_quantised(ctx))


def _quantised(ctx: Ctx) -> bool:
    """Whether this round's models stand on a base of 4 bits: its checkpoint tells, before there is one config.toml.

    Losses before and after training are compared, so both must come from the same weights.
    """
    folder = ctx.artifact(CHECKPOINT)
    return ctx.config.train.method == "qlora" if folder is None else locate.checkpoint(folder, ctx.project).nf4


def before_model(ctx: Ctx) -> ModelRef:
    """What this round's training starts from: the base, or the previous round's checkpoint."""
    if ctx.config.train.init == "previous" and ctx.round > 0:
        folder = ctx.artifact(CHECKPOINT, ctx.round - 1)
        if folder is None:
            raise StageError(
                f'round {ctx.round - 1} has no checkpoint, and train.init = "previous" needs one. '
                'Run its train stage, or set train.init = "base".'
            )
        return replace(locate.checkpoint(folder, ctx.project), nf4=_quantised(ctx))
    return base_model(ctx)


def after_model(ctx: Ctx) -> ModelRef:
    """This round's checkpoint."""
    folder = ctx.artifact(CHECKPOINT)
    if folder is None:
        raise StageError(f"round {ctx.round} has no checkpoint. Run its train stage first.")
    return locate.checkpoint(folder, ctx.project)


def open_model(ctx: Ctx, model: ModelRef) -> HF:
    """``model`` in memory, as [model] of config.toml says; the one loaded before is freed unless it shares the base."""
    return open_as(ctx.config.model, model)


def open_as(how: Model, model: ModelRef) -> HF:
    """``open_model`` for a process that has no ``Ctx``: what it takes can be sent to one."""
    opened: HF = backend("hf")(
        model.base,
        model.adapter,
        nf4=model.nf4,
        dtype=how.dtype,
        device=how.device,
        threads=how.threads,
        attention=how.attention,
        chat_template=how.chat_template,
    )
    return opened


def open_engine(ctx: Ctx) -> Engine:
    """The model that rates, in vLLM. No other model may lie in the GPU's memory; close it before one does."""
    ref, how = judge_ref(ctx), ctx.config.model
    opened: Engine = backend("vllm")(
        ref.base,
        ref.adapter,
        dtype=how.dtype,
        chat_template=how.chat_template,
        quantization="bitsandbytes" if ref.nf4 else "",
        settings=ctx.config.vllm,
    )
    return opened


def loss_key(ctx: Ctx, model: ModelRef) -> str:
    """What a cached loss depends on besides the sample: weights, template, number format and cut-off."""
    how = ctx.config.model
    parts = locate.fingerprint(model), how.dtype, how.max_length, content_key(how.chat_template), RENDERING
    return ":".join(str(part) for part in parts if part)


def rendered(ctx: Ctx, model: HF, chats: Iterable[Chat]) -> Iterator[Rendered]:
    """The chats as training sees them."""
    return (render(model.tokenizer, chat, min(ctx.config.model.max_length, model.positions)) for chat in chats)


def embedded_rows(ctx: Ctx, model: HF, chats: Iterable[Chat], rows: Sequence[Rendered]) -> Iterator[Rendered] | None:
    """What a prompt's embedding is made of: None for its own tokens in ``rows``, else the prompts by themselves."""
    how, limit = ctx.config.score.embed, min(ctx.config.model.max_length, model.positions)
    if how == "in_template":
        return None
    texts = (last_prompt(learned(chat)) if how == "bare_prompt" else said(learned(chat)) for chat in chats)
    bare = (render_bare(model.tokenizer, text, limit) for text in texts)
    # Where nobody says anything there is only the template.
    lone = how == "prompt"
    return (row if row.error or (lone and b.error) else b for row, b in zip(rows, bare, strict=True))


def said(chat: Chat) -> str:
    """What the turns before the last answer say, but for system prompts and tool definitions."""
    answer = max((i for i, m in enumerate(chat) if m.role == "assistant"), default=len(chat))
    return "\n\n".join(filter(None, (_told(m) for m in chat[:answer] if m.role != "system")))


Both = tuple[Sequence[Rendered], Sequence[Rendered] | None]
"""Rows whose losses are wanted, and the rows to embed; None: the same rows, in the same forward."""


def score_batch(model: HF, rows: Sequence[Rendered], embedded: Sequence[Rendered] | None) -> list[Scored]:
    """Losses of ``rows`` and embeddings of ``embedded``: one forward when they are the same rows."""
    if embedded is None:
        return model.score(rows)
    losses = model.score(rows, embed=False)
    means = model.score(embedded)
    return [
        Scored(one.loss, two.embedding, one.error or two.error, one.conversation)
        for one, two in zip(losses, means, strict=True)
    ]


def score_losses(how: Model, model: ModelRef, rows: Sequence[Rendered]) -> list[Scored]:
    """Losses of one batch, in any process."""
    return open_as(how, model).score(rows, embed=False)


def score_both(how: Model, model: ModelRef, batch: Both) -> list[Scored]:
    """``score_batch`` of rows and embedded rows, in any process."""
    return score_batch(open_as(how, model), *batch)


def of_batch(rows: Sequence[Rendered], embedded: Sequence[Rendered] | None, batch: Sequence[int]) -> Both:
    """The rows of one planned batch."""
    return [rows[i] for i in batch], None if embedded is None else [embedded[i] for i in batch]


def measure(ctx: Ctx, chats: Sequence[Chat]) -> list[Measured]:
    """Loss before and after this round's training, and prompt embedding, of each chat, in order.

    Planned in batches over all ``chats``: pass the same ones again after a resume to get the same bits.
    """
    how = ctx.config.model
    tuned = open_model(ctx, after_model(ctx))
    rows = list(rendered(ctx, tuned, chats))
    bare = embedded_rows(ctx, tuned, chats, rows)
    embedded = None if bare is None else list(bare)
    plan = batches.plan([len(row.ids) for row in rows], ctx.config.score.token_budget)
    after: dict[int, Scored] = {}
    both = (of_batch(rows, embedded, batch) for batch in plan)
    for batch, found in zip(plan, ranks.spread(partial(score_both, how, after_model(ctx)), both), strict=True):
        after.update(zip(batch, found, strict=True))
    before: dict[int, Scored] = {}
    alone = ([rows[i] for i in batch] for batch in plan)
    for batch, found in zip(plan, ranks.spread(partial(score_losses, how, before_model(ctx)), alone), strict=True):
        before.update(zip(batch, found, strict=True))
    return [_measured(before[i], after[i]) for i in range(len(chats))]


def _measured(before: Scored, after: Scored) -> Measured:
    if error := before.error or after.error:
        return Measured(None, None, None, error)
    return Measured(before.loss, after.loss, after.embedding)


def judge_ref(ctx: Ctx) -> ModelRef:
    """The model that rates, as judge.model says."""
    return base_model(ctx) if ctx.config.judge.model == "base" else after_model(ctx)


Templates = Mapping[str, prompts.PromptTemplate]


def judge_templates(ctx: Ctx) -> Templates:
    """The wording of a rating request, by subject."""
    return {subject: prompts.load(f"judge_{subject}", ctx.project) for subject in SUBJECTS}


def judge_chats(templates: Templates, chat: Chat) -> list[tuple[Message, ...]]:
    """The six requests to rate a conversation's last exchange, in the order of ``RATING_COLUMNS``.

    What is rated is the last answer that is learned, without the reasoning before it.
    """
    prompt, response = context(learned(chat)), last_response(learned(chat))
    return [
        (Message("user", template.fill(prompt=prompt, response=response, dimension=dimension)),)
        for template in templates.values()
        for dimension in DIMENSIONS
    ]


def judge_prompts(templates: Templates, judge: Judges, chat: Chat) -> list[list[int]]:
    """``judge_chats`` as token ids; an empty list stands for one that does not fit into the model."""
    return [render_prompt(judge.tokenizer, request, judge.positions) for request in judge_chats(templates, chat)]


def judge_length(templates: Templates, judge: Judges, chat: Chat) -> int:
    """About how many tokens the longest of the six requests has: those of the one with the longest text."""
    longest = max(judge_chats(templates, chat), key=lambda request: len(request[-1].content))
    return len(render_prompt(judge.tokenizer, longest, judge.positions))


def plan_ratings(how: Judge, lengths: Iterable[int]) -> list[list[int]]:
    """Batches of samples by the ``lengths`` of their longest requests, within ``how.token_budget``.

    A sample counts once, because its six requests share almost all of it; where a model cannot share, the backend
    keeps each forward within the budget. Replies that are drawn share nothing: there a sample counts six times.
    """
    if how.mode == "sampled":
        return batches.plan([len(RATING_COLUMNS) * length for length in lengths], how.token_budget)
    return batches.fill(list(lengths), how.token_budget)


def rate_batch(how: Judge, judge: HF, asked: Sequence[Sequence[Sequence[int]]]) -> list[Rated]:
    """Expected ratings for the six requests of each sample."""
    fits = [all(six) for six in asked]
    flat = [ids for six, fit in zip(asked, fits, strict=True) if fit for ids in six]
    ratings = iter(judge.rate(flat, how.token_budget))
    return [read_six(how, [next(ratings) for _ in range(6)]) if fit else too_long(judge) for fit in fits]


def too_long(judge: Judges) -> Rated:
    """What a sample gets whose rating request is longer than the model can see."""
    return Rated(None, None, None, f"its rating request does not fit into the model's {judge.positions} tokens")


def rate_six(how: Model, model: ModelRef, judge: Judge, asked: Sequence[Sequence[Sequence[int]]]) -> list[Rated]:
    """``rate_batch`` in any process."""
    return rate_batch(judge, open_as(how, model), asked)


def read_six(how: Judge, six: Sequence[Rating]) -> Rated:
    """A sample's ratings; one that failed, or of too little digit mass, makes an error of all."""
    mass = min(r.digit_mass for r in six)
    values = tuple(r.value for r in six if r.value is not None)
    if len(values) < len(six):
        return Rated(None, None, None, next(r.error for r in six if r.error))
    if mass < how.min_digit_mass:
        reason = f"only {mass:.1%} of the probability lies on digits (judge.min_digit_mass = {how.min_digit_mass})"
        return Rated(None, None, mass, reason)
    return Rated(values, sum(values) / len(values), mass)


def last_prompt(chat: Chat) -> str:
    """The last user turn."""
    return next((m.content for m in reversed(chat) if m.role == "user"), "")


def last_response(chat: Chat) -> str:
    """The last assistant turn."""
    return next((_told(m) for m in reversed(chat) if m.role == "assistant"), "")


def _told(turn: Message) -> str:
    """What a reader is told by a turn: its answer and its calls."""
    said = without_reasoning(turn.content) if turn.role == "assistant" else turn.content
    return "\n".join(filter(None, (said, turn.tool_calls))) if turn.tool_calls else said


def context(chat: Chat) -> str:
    """What the last response answers: the prompt, with the turns before it spelled out when there are any."""
    answer = max((i for i, m in enumerate(chat) if m.role == "assistant"), default=len(chat))
    turns = chat[:answer]
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{turn.role.capitalize()}: {_told(turn)}" for turn in turns)
