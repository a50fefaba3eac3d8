"""Rounds with signals given by hand, so that what is selected and merged can be told by looking."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.backends import Call, Generation, ReplyProgress
from engine.config.schema import Config
from engine.loop import NAMES
from engine.store import read, write
from engine.store.rows import Losses, Message, Neighbourhood, Ratings, Row, Sample
from tests.support import tiny

Signals = tuple[float | None, float | None, float | None, float | None]  # loss before, loss after, similarity, quality


def project(
    folder: Path,
    count: int,
    extra: str = "",
    heldout: Sequence[tuple[Message, ...]] = (),
    answer: str = "reply {} here",
) -> tiny.Project:
    """A project of ``count`` numbered samples, no model in sight."""
    config = tiny.make_config(folder / "no-model", extra)
    chats = [tiny.chat(f"ask {i} please", answer.format(i)) for i in range(count)]
    made = tiny.Project(folder, config, chats, heldout)
    open_round(made, 0)
    return made


def open_round(made: tiny.Project, round: int) -> None:
    """Jobs of all stages of a round."""
    write.open_round(made.db, round, "{}", NAMES, closing=False, stopped=None)


def dataset(made: tiny.Project, round: int = 0) -> list[Sample]:
    """D_round."""
    return read.dataset(made.db, round)


def signal(made: tiny.Project, values: Sequence[Signals], round: int = 0) -> None:
    """Give the samples of D_round these signals, in their order. None: the sample has none."""
    data = dataset(made, round)
    rows: list[Row] = []
    for i, (sample, (before, after, similarity, quality)) in enumerate(zip(data, values, strict=True)):
        error = "too long" if before is None or after is None else None
        rows.append(Losses(round, sample.id, before, after, 3, 4, error))
        near = [data[(i + 1) % len(data)].id, data[(i + 2) % len(data)].id]
        if similarity is not None:
            rows.append(Neighbourhood(round, sample.id, similarity, json.dumps(near)))
        six = (quality,) * 6
        rows.append(Ratings(round, sample.id, *six, quality, 0.9, None if quality is not None else "no digits"))
    made.ctx("score", round).save(rows)


def usual(count: int, **odd: Signals) -> list[Signals]:
    """Unremarkable signals with a little spread, except for ``odd`` samples (named s0, s1, …)."""
    spread = [i % 5 / 100 for i in range(count)]
    plain: list[Signals] = [(1.0 + d, 0.5 + d, 0.8 + d, 6.0 + 10 * d) for d in spread]
    for name, values in odd.items():
        plain[int(name[1:])] = values
    return plain


class Scripted:
    """A teacher that answers by a function of (request, seed); it keeps what it was asked."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.calls: list[tuple[tuple[str, ...], int, float]] = []
        self.notes: list[str] = []

    def generate(
        self,
        chats: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
        top_k: int = 0,
    ) -> list[Generation]:
        """See ``engine.backends.Generates``."""
        self.calls.append((tuple(chat[-1].content for chat in chats), seed, temperature))
        return [self.answer(chat, seed) for chat in chats]  # type: ignore[operator]

    def write(
        self, calls: Sequence[Call], *, rows: int, watch: Callable[[ReplyProgress], None], keep: Path
    ) -> list[Generation]:
        """See ``engine.backends.Writes``."""
        self.calls.append((tuple(call.chat[-1].content for call in calls), calls[0].seed, calls[0].temperature))
        return [self.answer(call.chat, call.seed) for call in calls]  # type: ignore[operator]


def said(text: str, cut_off: bool = False, error: str | None = None) -> Generation:
    """A reply of the scripted teacher: 10 tokens in, 5 out."""
    return Generation(text, "length" if cut_off else "stop", 10, 5, error)


def settings(made: tiny.Project, extra: str) -> Config:
    """The project's config with some keys changed."""
    made.config = tiny.make_config(made.folder / "no-model", extra)
    return made.config
