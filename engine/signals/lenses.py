"""Lenses: what the base model's token losses tell of an answer beyond their mean.

They are of a conversation's last answer, under the model that config.toml names, which no round changes: each is
computed once and cached by content.

- end of turn: the loss of the token that ends the answer. High where the answer stops before it is complete.
- worst window: the highest mean loss of 16 consecutive tokens. High where a stretch of it is no ordinary text.
- IFD (Li et al. 2024, "From Quantity to Quality"): the text's mean loss with the prompt, divided by that without it.
  Near 1 where the prompt does not help to predict the answer.

Without the prompt means: the same template, system prompt and generation prompt, the user's words left empty, nothing
of earlier exchanges; then the very tokens of the answer. Tool definitions are left out as well: they are what a call
is predicted from. A template that refuses an empty turn is left out too: then the answer follows the row's first token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backends import Scored
from engine.chat.render import Rendered, learned, render_prompt, thinks
from engine.chat.template_inputs import TOOLS
from engine.config.schema import Model
from engine.models.locate import ModelRef
from engine.signals.last_exchange import Chat, context_words
from engine.signals.round_models import open_model
from engine.store.rows import Message

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 16
"""Tokens of the window whose worst mean is taken."""
LEAST = 1e-3
"""Nats: an answer that is certain without its prompt is divided by no less."""
NO_PROMPT = "nobody says anything before the answer"


@dataclass(frozen=True, slots=True)
class Reading:
    """The lenses of one answer, in the order of ``engine.store.rows.Lenses``; see there."""

    end_of_turn: float | None = None
    without_prompt: float | None = None
    ifd: float | None = None
    worst_window: float | None = None
    window_begin: int | None = None
    window_end: int | None = None

    @property
    def values(self) -> tuple[Any, ...]:
        """The fields, for a row of the store."""
        return astuple(self)


NOTHING = Reading()


def without_prompt(tokenizer: Any, chats: Iterable[Chat], rows: Iterable[Rendered], limit: int) -> Iterator[Rendered]:
    """The last answer of each of ``rows``, token by token, behind a prompt in which the user says nothing.

    A row that has none has the reason in ``error``.
    """

    @lru_cache(maxsize=256)
    def opening(system: tuple[Message, ...], thinking: bool) -> list[int]:
        return render_prompt(tokenizer, [*system, Message("user", "")], limit, thinking=thinking)

    for chat, row in zip(chats, rows, strict=True):
        if row.error:
            yield row
        elif not row.prompt_end or not context_words(learned(chat)).strip():
            yield Rendered([], [], 0, False, NO_PROMPT)
        else:
            system = tuple(m for m in chat if m.role == "system" and m.kind != TOOLS)
            yield _behind(opening(system, thinks(chat)), row, limit)


def _behind(opening: list[int], row: Rendered, limit: int) -> Rendered:
    """The last answer of ``row`` behind ``opening``, or behind the row's first token where that does not do."""
    answer = [id for id, on in zip(row.ids[row.prompt_end :], row.mask[row.prompt_end :], strict=True) if on]
    if not opening or len(opening) + len(answer) > limit:
        opening = row.ids[:1]
    mask = [False] * len(opening) + [True] * len(answer)
    return Rendered(opening + answer, mask, len(opening), row.truncated, ends=row.ends)


def read(row: Rendered, given: NDArray[np.float32], alone: NDArray[np.float32] | None) -> Reading:
    """The lenses of a row's last answer.

    Args:
        given: losses of its tokens, float32[tokens].
        alone: the same without the prompt; None where nobody says anything before it.
    """
    text = given[:-1] if row.ends else given
    end = float(given[-1]) if row.ends else None
    if not len(text):
        return Reading(end)
    without = None if alone is None else float(alone[: len(text)].mean(dtype=np.float64))
    ifd = None if without is None else float(text.mean(dtype=np.float64)) / max(without, LEAST)
    worst, at = worst_window(text)
    return Reading(end, without, ifd, worst, *_characters(row.offsets, at, min(at + WINDOW, len(text))))


def worst_window(losses: NDArray[np.float32]) -> tuple[float, int]:
    """The highest mean of ``WINDOW`` consecutive losses, or of all where there are fewer, and where it begins."""
    width = min(WINDOW, len(losses))
    sums = np.concatenate(([0.0], np.cumsum(losses, dtype=np.float64)))
    means = (sums[width:] - sums[:-width]) / width
    at = int(means.argmax())
    return float(means[at]), at


def _characters(offsets: Sequence[int], first: int, stop: int) -> tuple[int | None, int | None]:
    """The characters of tokens ``first`` to ``stop``; none where the tokens are not those of the answer's content."""
    if not offsets:
        return None, None
    begin, end = offsets[first - 1] if first else 0, offsets[stop - 1]
    return (begin, end) if begin < end else (None, None)


Pairs = tuple[Sequence[Rendered], Sequence[Rendered] | None]
"""Rows, and the same answers without their prompts; None where no lenses are wanted."""


def score(how: Model, model: ModelRef, batch: Pairs) -> list[tuple[Scored, Reading]]:
    """Losses and lenses of one batch, in any process. What fails has its reason in ``Scored.error``."""
    rows, bare = batch
    opened = open_model(how, model)
    if bare is None:
        return [(scored, NOTHING) for scored in opened.score(rows, embed=False)]
    given, alone = (opened.score(part, embed=False, tokens=True) for part in (rows, bare))
    return [_both(*each) for each in zip(rows, bare, given, alone, strict=True)]


def _both(row: Rendered, bare: Rendered, given: Scored, alone: Scored) -> tuple[Scored, Reading]:
    failed = given.error or (None if bare.error else alone.error)
    if failed or given.tokens is None:
        return Scored(None, None, failed), NOTHING
    scored = Scored(given.loss, None, None, given.conversation)
    return scored, read(row, given.tokens, None if bare.error else alone.tokens)
