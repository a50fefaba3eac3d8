"""Ratings of a conversation's last exchange: the six requests, their batches, and what is read from their replies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backends import Judges, Rating
from engine.chat import batches, prompts
from engine.chat.render import learned, render_prompt
from engine.config.schema import Judge, Model
from engine.models.locate import ModelRef
from engine.store.rows import DIMENSIONS, RATING_COLUMNS, SUBJECTS, Message

if TYPE_CHECKING:
    from engine.backends.hf import HF
from engine.signals.last_exchange import Chat, context, last_response
from engine.signals.round_models import open_model


@dataclass(frozen=True, slots=True)
class Rated:
    """Six ratings in the order of ``RATING_COLUMNS``, their mean and the least digit mass. None with ``error``."""

    ratings: tuple[float, ...] | None
    quality: float | None
    digit_mass: float | None
    error: str | None = None


Templates = Mapping[str, prompts.PromptTemplate]


def judge_templates(project: Path) -> Templates:
    """The wording of a rating request, by subject."""
    return {subject: prompts.load(f"judge_{subject}", project) for subject in SUBJECTS}


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


def judge_prompts(templates: Templates, judge: Judges, chat: Chat, begun: str = "") -> list[list[int]]:
    """``judge_chats`` as token ids; an empty list stands for one that does not fit into the model.

    begun: what the replies are begun with.
    """
    most = judge.positions
    return [render_prompt(judge.tokenizer, asked, most, begun=begun) for asked in judge_chats(templates, chat)]


def judge_length(templates: Templates, judge: Judges, chat: Chat, begun: str) -> int:
    """About how many tokens the longest of the six requests has: those of the one with the longest text."""
    longest = max(judge_chats(templates, chat), key=lambda request: len(request[-1].content))
    return len(render_prompt(judge.tokenizer, longest, judge.positions, begun=begun))


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
    return Rated(None, None, None, f"its rating request exceeds the model's context of {judge.positions} tokens")


def rate_six(how: Model, model: ModelRef, judge: Judge, asked: Sequence[Sequence[Sequence[int]]]) -> list[Rated]:
    """``rate_batch`` in any process."""
    return rate_batch(judge, open_model(how, model), asked)


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
