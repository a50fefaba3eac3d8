"""Losses before and after a round's training, and embeddings of prompts: planned in batches, for any process.

Samples of the dataset and candidates that may replace them are measured by the same functions, so that their signals
can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from engine.backends import Scored
from engine.chat import batches
from engine.chat.render import Rendered, learned, render, render_bare
from engine.config.named_templates import content_key
from engine.config.schema import Config, Model
from engine.distributed import ranks
from engine.models import locate
from engine.models.locate import ModelRef
from engine.signals import lenses
from engine.stage import Ctx

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.backends.hf import HF
from engine.signals.last_exchange import Chat, context_words, last_prompt
from engine.signals.lenses import NOTHING, Reading
from engine.signals.round_models import after_model, base_model, before_model, open_model

B = TypeVar("B")
R = TypeVar("R")
RENDERING = "r2"
"""Raised when conversations become other tokens: a loss that was cached before is not one of them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the score stage knows of a sample's last exchange, here of any conversation's. All None with ``error``."""

    loss_before: float | None
    loss_after: float | None
    embedding: NDArray[np.float32] | None
    error: str | None = None
    lenses: Reading = NOTHING


def loss_key(how: Model, model: ModelRef) -> str:
    """What a cached loss depends on besides the sample: weights, template, number format and cut-off."""
    parts = locate.fingerprint(model), how.dtype, how.max_length, content_key(how.chat_template), RENDERING
    return ":".join(str(part) for part in parts if part)


def _limit(max_length: int, model: HF) -> int:
    """Tokens of a row at most."""
    return min(max_length, model.positions)


def rendered(model: HF, chats: Iterable[Chat], max_length: int) -> Iterator[Rendered]:
    """The chats as training sees them, each at most ``max_length`` tokens."""
    return (render(model.tokenizer, chat, _limit(max_length, model)) for chat in chats)


def without_prompts(model: HF, chats: Iterable[Chat], rows: Iterable[Rendered], max_length: int) -> Iterator[Rendered]:
    """The last answers of ``rows`` as they are scored without their prompts."""
    return lenses.without_prompt(model.tokenizer, chats, rows, _limit(max_length, model))


def embedded_rows(
    config: Config, model: HF, chats: Iterable[Chat], rows: Sequence[Rendered]
) -> Iterator[Rendered] | None:
    """What a prompt's embedding is made of: None for its own tokens in ``rows``, else the prompts by themselves."""
    how, limit = config.score.embed, _limit(config.model.max_length, model)
    if how == "in_template":
        return None
    texts = (last_prompt(learned(chat)) if how == "bare_prompt" else context_words(learned(chat)) for chat in chats)
    bare = (render_bare(model.tokenizer, text, limit) for text in texts)
    # Where nobody says anything there is only the template.
    lone = how == "prompt"
    return (row if row.error or (lone and b.error) else b for row, b in zip(rows, bare, strict=True))


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
    return open_model(how, model).score(rows, embed=False)


def score_both(how: Model, model: ModelRef, batch: Both) -> list[Scored]:
    """``score_batch`` of rows and embedded rows, in any process."""
    return score_batch(open_model(how, model), *batch)


def of_batch(rows: Sequence[Rendered], embedded: Sequence[Rendered] | None, batch: Sequence[int]) -> Both:
    """The rows of one planned batch."""
    return [rows[i] for i in batch], None if embedded is None else [embedded[i] for i in batch]


def _rows_of(rows: Sequence[Rendered], batch: Sequence[int]) -> list[Rendered]:
    """The rows of one planned batch, for losses alone."""
    return [rows[i] for i in batch]


def _by_place(
    work: Callable[[B], Sequence[R]], plan: Sequence[Sequence[int]], part: Callable[[Sequence[int]], B]
) -> dict[int, R]:
    """What ``work`` finds of every row, by place: batch after batch of the plan, in any process."""
    out: dict[int, R] = {}
    for batch, found in zip(plan, ranks.map_batches(work, map(part, plan)), strict=True):
        out.update(zip(batch, found, strict=True))
    return out


def measure(ctx: Ctx, chats: Sequence[Chat]) -> list[Measured]:
    """Loss before and after this round's training, and prompt embedding, of each chat, in order.

    Planned in batches over all ``chats``: pass the same ones again after a resume to get the same bits.
    """
    how = ctx.config.model
    tuned = open_model(how, after_model(ctx))
    rows = list(rendered(tuned, chats, how.max_length))
    bare = embedded_rows(ctx.config, tuned, chats, rows)
    embedded = None if bare is None else list(bare)
    plan = batches.plan([len(row.ids) for row in rows], ctx.config.score.token_budget)
    after = _by_place(partial(score_both, how, after_model(ctx)), plan, partial(of_batch, rows, embedded))
    before: dict[int, Scored] = {}
    if loss_key(how, before_model(ctx)) != loss_key(how, base_model(ctx)):
        before = _by_place(partial(score_losses, how, before_model(ctx)), plan, partial(_rows_of, rows))
    base = _under_base(how, base_model(ctx), chats, rows, plan)
    return [_measured(before.get(i, base[i][0]), after[i], base[i]) for i in range(len(chats))]


def base_losses(ctx: Ctx, chats: Sequence[Chat]) -> list[float | None]:
    """The mean loss of each chat's last answer under the model that config.toml names; None where it has none."""
    how, base = ctx.config.model, base_model(ctx)
    if not chats:
        return []
    rows = list(rendered(open_model(how, base), chats, how.max_length))
    plan = batches.plan([len(row.ids) for row in rows], ctx.config.score.token_budget)
    found = _by_place(partial(score_losses, how, base), plan, partial(_rows_of, rows))
    return [None if found[i].error else found[i].loss for i in range(len(chats))]


def ifds(config: Config, base: ModelRef, chats: Sequence[Chat]) -> list[float | None]:
    """The IFD of each chat's last answer under ``base``; None where it has none."""
    how = config.model
    if not chats:
        return []
    rows = list(rendered(open_model(how, base), chats, how.max_length))
    plan = batches.plan([len(row.ids) for row in rows], config.score.token_budget)
    found = _under_base(how, base, chats, rows, plan)
    return [found[i][1].ifd for i in range(len(chats))]


def _under_base(
    how: Model, base: ModelRef, chats: Sequence[Chat], rows: Sequence[Rendered], plan: Sequence[Sequence[int]]
) -> dict[int, tuple[Scored, Reading]]:
    """Losses and lenses under the model that config.toml names, by place."""
    bare = list(without_prompts(open_model(how, base), chats, rows, how.max_length))
    return _by_place(partial(lenses.score, how, base), plan, partial(of_batch, rows, bare))


def _measured(before: Scored, after: Scored, base: tuple[Scored, Reading]) -> Measured:
    if error := before.error or after.error or base[0].error:
        return Measured(None, None, None, error)
    return Measured(before.loss, after.loss, after.embedding, None, base[1])
