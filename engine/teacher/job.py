"""The rewrites of a round as the stage works on them: what is pending, what the teacher is asked for it, and what a
reply makes of it. How the calls are made (``stages.rewrite``, ``stream``, ``batch``) is none of its concern.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from engine.backends import Call, Generation
from engine.chat import batches, prompts
from engine.chat.prompts import PromptTemplate
from engine.config import schema as configs
from engine.errors import ConfigError
from engine.hub.progress_log import log_progress
from engine.models import locate
from engine.plurals import counted
from engine.signals import held_back
from engine.stage import Ctx
from engine.store.rows import AXES, Message, Neighbourhood, Rewrite, Sample
from engine.store.teacher import SentCall, TeacherCall
from engine.verification.new_prompts import NewPrompts
from engine.verification.text_checks import Rejection

TEMPLATES = {"complexity": "simplify", "diversity": "diversify", "quality": "improve"}
FIRST = 8
"""Warn if none of this many first replies is usable."""
AROUND = 16
"""Tokens that a chat template puts around a message, at most."""
RETRY_TEMPERATURE = 0.7  # greedy decoding would repeat the reply that was malformed or sent back
Chat = tuple[Message, ...]
Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Phase:
    """One of the two calls of a rewrite: prompt or answer."""

    name: str
    state: str

    def tries(self, row: Rewrite) -> int:
        """Attempts of this call for ``row``."""
        return row.attempts if self.state == "owed" else row.answer_attempts

    @staticmethod
    def of(row: Rewrite) -> Phase:
        """The phase whose call ``row`` needs next."""
        return PROMPT if row.state == PROMPT.state else ANSWER


PROMPT, ANSWER = Phase("prompt", "owed"), Phase("answer", "prompted")


@dataclass(slots=True)
class RewriteJob:
    """All rewrites of the round in their order, with what is needed to ask for them.

    ``tokens``, ``money``: what the round's calls took so far, also those for rewrites that were thrown away since.
    ``unheard``: it is not known yet whether the teacher gets replies into the form;
    ``heard``: the replies that were looked at for that. ``checks``: what new prompts are held against, once one is
    there; ``numbers``: the rewrites' places, by which it knows theirs. ``extend`` adds rewrites that follow from those
    that are made, and tells whether there are any (None: there are no such).
    """

    rows: dict[Key, Rewrite]
    samples: dict[int, Sample]
    hints: dict[int, str]
    templates: dict[str, PromptTemplate]
    tokens: int = 0
    money: float = 0.0
    unheard: bool = True
    heard: set[object] = field(default_factory=set)
    checks: NewPrompts | None = None
    numbers: dict[Key, int] = field(default_factory=dict)
    extend: Callable[[], bool] | None = None
    _settled: int = 0

    def __post_init__(self) -> None:
        self._settled = sum(map(_units, self.rows.values()))

    @classmethod
    def begin(cls, ctx: Ctx) -> RewriteJob:
        """Read the round's rewrites, samples, neighbours and prompt templates."""
        data, pending, near = ctx.dataset(), ctx.rows(Rewrite), ctx.rows(Neighbourhood)
        asked = ctx.rows(TeacherCall)
        cores = {r.sample_id for r in pending}
        near = [n for n in near if n.sample_id in cores]
        hints = {id for n in near for id in json.loads(n.neighbours)} & set(data.ids) - held_back.held(ctx).keys()
        samples = {s.id: s for s in data.take(sorted(cores | hints))}
        rows = sorted(pending, key=lambda r: (AXES.index(r.axis), samples[r.sample_id].seq))
        names = (*TEMPLATES.values(), "answer")
        return cls(
            rows={(r.sample_id, r.axis): r for r in rows},
            samples=samples,
            hints={n.sample_id: hint_text(n, {id: samples[id] for id in hints}) for n in near},
            templates={name: prompts.load(name, ctx.project) for name in names},
            tokens=sum(call.tokens_in + call.tokens_out for call in asked),
            money=sum(call.cost for call in asked),
        )

    def all(self) -> list[Rewrite]:
        """All rewrites in order."""
        return list(self.rows.values())

    def waiting(self, phase: Phase) -> list[Rewrite]:
        """Rewrites that need the call of ``phase``."""
        return [r for r in self.all() if r.state == phase.state]

    def pending(self) -> list[Rewrite]:
        """Rewrites that need a call; answers first, so that started rewrites are finished."""
        return [*self.waiting(ANSWER), *self.waiting(PROMPT)]

    def settled(self) -> int:
        """Units of progress: prompts and answers that exist or have failed. Counted as rows change, because it is asked
        for with every reply.
        """
        return self._settled

    def more(self) -> bool:
        """Whether calls are pending, after ``extend`` has added what follows from those that were made."""
        return bool(self.pending()) or (self.extend is not None and self.extend())

    def add(self, ctx: Ctx, rows: Sequence[Rewrite]) -> None:
        """Add rewrites to the round, in the order in which a resumed run reads them."""
        cores = {r.sample_id for r in rows}
        data, near = ctx.dataset(), [n for n in ctx.rows(Neighbourhood) if n.sample_id in cores]
        hints = {id for n in near for id in json.loads(n.neighbours)} & set(data.ids) - held_back.held(ctx).keys()
        self.samples |= {s.id: s for s in data.take(sorted((cores | hints) - self.samples.keys()))}
        self.hints |= {n.sample_id: hint_text(n, {id: self.samples[id] for id in hints}) for n in near}
        every = [*self.rows.values(), *rows]
        every.sort(key=lambda r: (AXES.index(r.axis), self.samples[r.sample_id].seq))
        self.rows = {r.key: r for r in every}
        self._settled = sum(map(_units, every))

    def update(self, rows: Iterable[Rewrite]) -> None:
        """Replace rows by their new versions."""
        for row in rows:
            self._settled += _units(row) - _units(self.rows[row.key])
            self.rows[row.key] = row

    def book(self, ctx: Ctx, key: Key, step: str, reply: Generation, how: configs.Teacher) -> TeacherCall:
        """Count a call that came back, even if its rewrite was discarded. ``how`` has its price."""
        price = how.price.cost(reply.tokens_in, reply.tokens_out)
        self.tokens += reply.tokens_in + reply.tokens_out
        self.money += price
        return TeacherCall(
            round=ctx.round,
            sample_id=key[0],
            axis=key[1],
            step=step,
            at=time.time(),
            model=how.model or ctx.config.model.name,
            seconds=reply.seconds,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            cost=price,
            error=reply.error,
        )

    def sent(self, ctx: Ctx, phase: Phase, row: Rewrite, how: configs.Teacher) -> SentCall:
        """The row for ``row``'s next call, saved before it is sent."""
        most_in, most_out = worst(self, phase, row, how)
        price, name = how.price.cost(most_in, most_out), how.model or ctx.config.model.name
        return SentCall(ctx.round, *row.key, phase.name, time.time(), name, most_in, most_out, price, open=True)

    def lose(self, call: SentCall, error: str) -> TeacherCall:
        """Count a call without a reply at its maximum, because the provider may have charged for it."""
        self.tokens += call.tokens_in + call.tokens_out
        self.money += call.cost
        return TeacherCall(
            round=call.round,
            sample_id=call.sample_id,
            axis=call.axis,
            step=call.step,
            at=time.time(),
            model=call.model,
            seconds=max(0.0, time.time() - call.at),
            tokens_in=call.tokens_in,
            tokens_out=call.tokens_out,
            cost=call.cost,
            error=error,
            lost=True,
        )

    def recover(self, ctx: Ctx) -> None:
        """Count the calls that were in flight when an earlier run ended, at their maximum."""
        gone = [call for call in ctx.rows(SentCall) if call.open]
        if not gone:
            return
        before = self.tokens
        them = "it" if len(gone) == 1 else "them"
        lost = [self.lose(call, "the run ended before the reply arrived") for call in gone]
        ctx.event(
            f"{counted(len(gone), 'call was', 'calls were')} under way when the last run ended: the provider may have"
            f" counted {them}, as at most {counted(self.tokens - before, 'token')}, and so does this run",
            "warning",
        )
        ctx.save([*lost, *(replace(call, open=False) for call in gone)])

    def hear(self, ctx: Ctx, which: object, reason: str | None) -> None:
        """Note whether a reply was usable (``reason`` None), and warn if none of the first ones was."""
        if not self.unheard:
            return
        self.heard.add(which)
        if reason is None:
            self.unheard = False
        elif len(self.heard) >= FIRST:
            self.unheard = False
            ctx.event(
                f"none of the teacher's first {len(self.heard)} replies is usable (the last one: {reason})."
                " If this continues, use a stronger teacher, or simpler prompts in the prompts folder.",
                "warning",
            )

    def refusal(self, ctx: Ctx, row: Rewrite) -> Rejection | None:
        """Why ``row``'s new prompt gets no answer call; if there is no reason, the prompt is added to the round's."""
        if self.checks is None:
            self.checks = NewPrompts.of(ctx.dataset(), ctx.heldout(), ctx.config.verify.ngram)
            self.numbers = {key: number for number, key in enumerate(self.rows)}
            for key, other in self.rows.items():
                if other.prompt is not None and key != row.key:
                    self.checks.add(self.numbers[key], other.prompt)
        sample, prompt = self.samples[row.sample_id], row.prompt or ""
        turns = (*context(sample, row.axis), Message("user", prompt), Message("assistant", ""))
        found = self.checks.refuse(replace(sample, messages=turns), sample, row.axis)
        if found is None:
            self.checks.add(self.numbers.setdefault(row.key, len(self.numbers)), prompt)
        return found

    def expected_reply(self, how: configs.Teacher) -> float:
        """Tokens of a reply, before any was seen: as long as the old prompts and answers, four bytes a token."""
        texts = [len(text.encode()) for s in self.samples.values() for text in (s.prompt, s.response)]
        return min(float(how.max_new_tokens), sum(texts) / max(1, len(texts)) / 4 + 16)

    def chat(self, phase: Phase, row: Rewrite) -> Chat:
        """The chat of ``row``'s next call."""
        sample = self.samples[row.sample_id]
        if phase is ANSWER:
            asked = self.templates["answer"].fill(prompt=row.prompt or "")
            return (*context(sample, row.axis), Message("user", asked))
        return prompt_chat(sample, row.axis, self.templates[template_of(row)], self.hints.get(sample.id, ""))

    def call(self, ctx: Ctx, phase: Phase, row: Rewrite) -> Call:
        """``row``'s next call. Its seed depends on the row only, not on other calls."""
        how, attempt = ctx.config.teacher, phase.tries(row) + 1
        seed = batches.seed(ctx.config.project.seed, ctx.round, phase.name, *row.key, attempt, row.draw)
        # A new prompt is always sampled: greedy decoding would give the same one for similar samples.
        greedy = attempt == 1 and not row.draw and not (phase is PROMPT and row.batch)
        temperature = how.temperature if how.temperature or greedy else RETRY_TEMPERATURE
        begun = how.primes and phase is PROMPT
        return Call(
            row.key,
            self.chat(phase, row),
            how.max_new_tokens,
            temperature,
            how.top_p,
            seed,
            begun=prompts.OPENING if begun else "",
            ends=(prompts.CLOSING,) if begun else (),
        )


def template_of(row: Rewrite) -> str:
    """Which request a new prompt is asked for with: of a probe the prompt itself is the flaw."""
    return TEMPLATES["quality" if row.is_evidence else row.axis]


def _units(row: Rewrite) -> int:
    """How many of a rewrite's two calls are over."""
    return (row.state != "owed") + (row.state not in ("owed", "prompted"))


def hint_text(near: Neighbourhood, samples: dict[int, Sample]) -> str:
    """The neighbours' prompts, nearest first, one per line."""
    return "\n".join(samples[id].prompt for id in json.loads(near.neighbours) if id in samples)


def context(sample: Sample, axis: str) -> Chat:
    """The turns before the new exchange: for diversity only what sets the scene, else all but the last exchange."""
    last = max(i for i, m in enumerate(sample.messages) if m.role == "user")
    before = sample.messages[:last]
    return tuple(m for m in before if m.role == "system") if axis == "diversity" else before


def prompt_chat(sample: Sample, axis: str, template: PromptTemplate, hints: str) -> Chat:
    """The request for a new prompt. Earlier turns come along, a system turn does not: it is for answers."""
    values = {"prompt": sample.prompt, "response": sample.response}
    asked = template.fill(**values, hints=hints) if axis == "diversity" else template.fill(**values)
    before = () if axis == "diversity" else context(sample, axis)
    return (*(m for m in before if m.role != "system"), Message("user", asked))


def require_endpoint(how: configs.Teacher) -> configs.Teacher:
    """Check that ``how`` names an endpoint, and return it.

    Raises:
        ConfigError: the url or the model's name is missing.
    """
    if not how.url or not how.model:
        lacking = "url" if not how.url else "model"
        raise ConfigError(f'config.toml: [teacher] backend = "openai" needs {lacking}. Set it, or use backend = "hf".')
    return how


def teacher_folder(ctx: Ctx) -> Path:
    """The local teacher's folder."""
    return locate.locate(ctx.config.teacher.model or ctx.config.model.name, ctx.project, log_progress(ctx))


# ----------------------------------------------------------------------------------------------------- replies


def worst(job: RewriteJob, phase: Phase, row: Rewrite, how: configs.Teacher) -> tuple[int, int]:
    """Tokens in and out that one call can take at most: one token per byte, and as many as it may write."""
    chat = job.chat(phase, row)
    return size_of(chat) + AROUND * len(chat), how.max_new_tokens


def size_of(chat: Iterable[Message]) -> int:
    """Bytes of the chat's texts."""
    return sum(len(m.content.encode("utf-8", "replace")) for m in chat)


def summary(rows: Sequence[Rewrite]) -> str:
    """The final log line: rewrites made, tokens, samples kept, failures and why most of them failed."""
    failed, kept = ([r for r in rows if r.state == state] for state in ("failed", "kept"))
    tokens_in, tokens_out = sum(r.tokens_in for r in rows), sum(r.tokens_out for r in rows)
    made = len(rows) - len(failed) - len(kept)
    text = f"{made:,} of {counted(len(rows), 'rewrite')} made, {counted(tokens_in, 'token')} in and {tokens_out:,} out"
    if kept:
        text += f"; {counted(len(kept), 'sample')} kept as {'it is' if len(kept) == 1 else 'they are'}"
    if not failed:
        return text
    (reason, times), *others = Counter(r.reason or "no reason" for r in failed).most_common()
    why = f"{reason} ({times:,} of them)" if others else reason
    return f"{text}; {len(failed):,} failed and {'keeps' if len(failed) == 1 else 'keep'} the original: {why}"
