"""What a number of rewrites will take of the teacher: calls, tokens and money, before any is spent.

Learned from the rewrites made so far when there are any, else estimated from the lengths of the samples and of the
rewrite prompts (two calls: a new prompt as long as the old one, then an answer as long as the old one).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from engine import prompts
from engine.config import Config
from engine.store.rows import AXES, Axis

TEMPLATES: dict[Axis, str] = {"complexity": "simplify", "diversity": "diversify", "quality": "improve"}
BYTES_PER_TOKEN = 4
CHAT = 16  # tokens that a chat template puts around one request, as the rewrite stage counts them


class Made(NamedTuple):
    """Rewrites of one axis that were begun, with what they took together."""

    rewrites: int
    calls: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What rewrites took so far, by axis; empty before the first."""

    made: Mapping[str, Made] = field(default_factory=dict)

    def of(self, axis: Axis) -> Made | None:
        """Those of ``axis``, or of all axes when it has none yet."""
        if axis in self.made:
            return self.made[axis]
        return Made(*(sum(column) for column in zip(*self.made.values(), strict=True))) if self.made else None

    @property
    def rewrites(self) -> int:
        """How many there were."""
        return sum(one.rewrites for one in self.made.values())


class Request(NamedTuple):
    """Tokens that both calls of one rewrite send: ``fixed`` plus so many times the sample's prompt and response."""

    fixed: float
    prompts: float
    responses: float


class Owed(NamedTuple):
    """Rewrites of one axis: how many, and the tokens of their samples' prompts and responses together."""

    rewrites: int
    prompt: int
    response: int


@dataclass(frozen=True, slots=True)
class Projection:
    """What the owed rewrites will probably take. ``cost`` is in the currency of ``teacher.prices``.

    ``basis``: where the figures come from, in words. ``caps``: the round's hard caps on tokens and cost (0: none).
    """

    calls: int
    tokens_in: int
    tokens_out: int
    cost: float
    basis: str
    caps: tuple[int, float]

    @property
    def over(self) -> bool:
        """A cap of the budget will probably end the rewriting early."""
        tokens, cost = self.caps
        return bool(tokens and self.tokens_in + self.tokens_out > tokens) or bool(cost and self.cost > cost)


def requests(mean: float, config: Config, project: Path) -> dict[Axis, Request]:
    """What is sent per axis with the rewrite prompts that ``project`` uses; prompts have ``mean`` tokens on average.

    Raises:
        ConfigError: an overridden prompt lacks a placeholder.
    """
    answer = prompts.load("answer", project).text
    out: dict[Axis, Request] = {}
    for axis in AXES:
        text = prompts.load(TEMPLATES[axis], project).text
        hints = text.count("{hints}") * config.select.neighbours * mean
        fixed = len((text + answer).encode()) / BYTES_PER_TOKEN + 2 * CHAT + hints
        out[axis] = Request(fixed, 1.0 + text.count("{prompt}"), float(text.count("{response}")))
    return out


def project(owed: Mapping[Axis, Owed], usage: Usage, requests: Mapping[Axis, Request], config: Config) -> Projection:
    """Calls, tokens and cost of the ``owed`` rewrites."""
    calls = tokens_in = tokens_out = 0.0
    for axis in AXES:
        one, made = owed[axis], usage.of(axis)
        if made is not None:
            share = one.rewrites / made.rewrites
            calls += share * made.calls
            tokens_in += share * made.tokens_in
            tokens_out += share * made.tokens_out
        else:
            sent = requests[axis]
            calls += 2 * one.rewrites
            tokens_in += one.rewrites * sent.fixed + sent.prompts * one.prompt + sent.responses * one.response
            tokens_out += one.prompt + one.response
    how = config.teacher
    cost = (tokens_in * how.price.input + tokens_out * how.price.output) / 1e6
    basis = f"from {usage.rewrites:,} rewrites so far" if usage.made else "estimated from the samples' lengths"
    caps = (how.budget_tokens, how.budget_cost)
    return Projection(round(calls), round(tokens_in), round(tokens_out), cost, basis, caps)
