"""What a number of rewrites will take of the teacher: calls, tokens and money, before any is spent.

Learned from the rewrites made so far when there are any, else estimated from the lengths of the samples and of the
rewrite prompts (two calls: a new prompt as long as the old one, then an answer as long as the old one). The samples'
tokens are those that the score stage counted, chat template included; the rewrite prompts' are counted by the teacher's
tokenizer where it lies on this machine. The select stage, the log and every screen ask ``project``, so they agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

from engine.chat import prompts
from engine.config.schema import Config
from engine.models import locate
from engine.plurals import counted
from engine.store.rows import AXES, Axis, Message

TEMPLATES: dict[Axis, str] = {"complexity": "simplify", "diversity": "diversify", "quality": "improve"}
BYTES_PER_TOKEN = 4
TAGS = "<prompt></prompt>"
"""What is put around a new prompt."""


class BegunRewrites(NamedTuple):
    """Rewrites of one axis that were started, with their total usage."""

    rewrites: int
    calls: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of rewrites so far, by axis; empty before the first."""

    made: Mapping[str, BegunRewrites] = field(default_factory=dict)

    def of(self, axis: Axis) -> BegunRewrites | None:
        """Usage on ``axis``, or on all axes if it has none yet."""
        if axis in self.made:
            return self.made[axis]
        return BegunRewrites(*(sum(column) for column in zip(*self.made.values(), strict=True))) if self.made else None

    @property
    def rewrites(self) -> int:
        """Number of rewrites."""
        return sum(one.rewrites for one in self.made.values())


class RequestTokens(NamedTuple):
    """Tokens that both calls of one rewrite send: ``fixed`` plus so many times the sample's prompt and response.

    ``tags``: what comes back beside a new prompt and an answer as long as the old ones.
    """

    fixed: float
    prompts: float
    responses: float
    tags: float = 0.0


class PendingRewrites(NamedTuple):
    """Rewrites of one axis: how many, and the tokens of their samples' prompts and responses together."""

    rewrites: int
    prompt: int
    response: int


@dataclass(frozen=True, slots=True)
class Projection:
    """What the pending rewrites will probably take. ``cost`` is in the currency of ``teacher.prices``.

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
        """Whether a limit will probably be reached before all rewrites are made."""
        tokens, cost = self.caps
        return bool(tokens and self.tokens_in + self.tokens_out > tokens) or bool(cost and self.cost > cost)


EXAMPLES = 8
"""Samples by which it is told what a chat template puts around a prompt."""


def requests(
    mean: float, config: Config, project: Path, examples: Sequence[tuple[str, int]] = ()
) -> dict[Axis, RequestTokens]:
    """What is sent per axis with the rewrite prompts that ``project`` uses; prompts have ``mean`` tokens on average.

    Args:
        examples: what stands before a sample's last answer, and its tokens with what the chat template puts around it.

    Raises:
        ConfigError: an overridden prompt lacks a placeholder.
    """
    count = counter(locate.on_disk(_counted_by(config), project))
    around = median([max(0.0, tokens - count(text)) for text, tokens in examples]) if examples else 0.0
    answer = prompts.load("answer", project).text
    out: dict[Axis, RequestTokens] = {}
    for axis in AXES:
        text = prompts.load(TEMPLATES[axis], project).text
        hints = text.count("{hints}") * config.select.neighbours * max(0.0, mean - around)
        fixed = count(_bare(text)) + count(_bare(answer)) + hints
        # A sample's tokens hold what the chat template puts around it: sent with both calls, never written.
        out[axis] = RequestTokens(
            fixed, 1.0 + text.count("{prompt}"), float(text.count("{response}")), count(TAGS) + 1 - around
        )
    return out


def asked_with(config: Config, project: Path, flagged: Iterable[int]) -> str:
    """What ``requests`` depends on besides the samples, in 16 hex digits: the prompts, the teacher, the hints,
    and which samples are held back. ``flagged``: the ids of those that are flagged, rising.

    Raises:
        ConfigError: an overridden prompt lacks a placeholder.
    """
    texts = (prompts.load(name, project).text for name in (*TEMPLATES.values(), "answer"))
    name = _counted_by(config)
    sent = ("send",) if config.data.injection == "send" else map(str, flagged)
    parts = (str(locate.local(name, project) or name), str(config.select.neighbours), *sent, *texts)
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()


def _counted_by(config: Config) -> str:
    """The model whose tokenizer counts, if it lies on this machine."""
    return (config.teacher.model if config.teacher.backend != "openai" else "") or config.model.name


def before_answer(messages: Sequence[Message]) -> str:
    """The concatenated texts before the last answer."""
    return "\n".join(message.content for message in messages[:-1])


def _bare(text: str) -> str:
    for name in ("{prompt}", "{response}", "{hints}"):
        text = text.replace(name, "")
    return text.strip()


def counter(place: Path | None) -> Callable[[str], float]:
    """A function that counts a text's tokens with the tokenizer in ``place``, or estimates them from bytes."""
    file = None if place is None else place / "tokenizer.json"
    if file is None or not file.is_file():
        return lambda text: len(text.encode()) / BYTES_PER_TOKEN
    from tokenizers import Tokenizer

    try:
        read = Tokenizer.from_file(str(file))
    except Exception:  # noqa: BLE001 - the library raises nothing narrower; the doctor says what is wrong with the file
        return lambda text: len(text.encode()) / BYTES_PER_TOKEN
    return lambda text: float(len(read.encode(text, add_special_tokens=False).ids))


def project(
    pending: Mapping[Axis, PendingRewrites], usage: Usage, requests: Mapping[Axis, RequestTokens], config: Config
) -> Projection:
    """Forecast calls, tokens and cost of the ``pending`` rewrites."""
    calls = tokens_in = tokens_out = 0.0
    for axis in AXES:
        one, made = pending[axis], usage.of(axis)
        if made is not None:
            share = one.rewrites / made.rewrites
            calls += share * made.calls
            tokens_in += share * made.tokens_in
            tokens_out += share * made.tokens_out
        else:
            sent = requests[axis]
            calls += 2 * one.rewrites
            tokens_in += one.rewrites * sent.fixed + sent.prompts * one.prompt + sent.responses * one.response
            tokens_out += one.rewrites * sent.tags + one.prompt + one.response
    how = config.teacher
    cost = how.price.cost(tokens_in, tokens_out)
    basis = f"from {counted(usage.rewrites, 'rewrite')} so far" if usage.made else "estimated from sample lengths"
    caps = (how.budget_tokens, how.budget_cost)
    return Projection(round(calls), round(tokens_in), round(tokens_out), cost, basis, caps)
