"""What the doctor asks a project's database for: how many samples, and how long they are. Loads no torch."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from engine.config.schema import Config
from engine.doctor import cost_model
from engine.models import locate
from engine.store.connect import reader
from engine.store.conversation import Message, dump_messages, load_messages
from engine.teacher import forecast

LOOKED_AT = 256
"""Samples whose tokens are counted before the score stage has counted all."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """A project's sample count, tokens of the longest sample (0 until counted), and whether any has a system message.

    prompt, response: tokens of the mean one, of some until all were counted. selected: rewrites of the last selection.
    lengths: tokens of some samples, in random order.
    """

    rows: int = 0
    longest: int | None = None
    system: bool = False
    prompt: float = 0.0
    response: float = 0.0
    selected: int = 0
    heldout: int = 0
    lengths: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """Tokens of the mean sample."""
        return self.prompt + self.response


def of_project(project: Path, config: Config) -> DataFacts:
    """The facts of a project.

    Raises:
        StoreError: it cannot be read.
    """
    db = reader(project)
    try:
        return _read(db, locate.on_disk(config.model.name, project))
    finally:
        db.close()


def _read(db: sqlite3.Connection, tokenizer: Path | None) -> DataFacts:
    longest, prompt, response = db.execute(
        "SELECT max(prompt_tokens + response_tokens), avg(prompt_tokens), avg(response_tokens) FROM signal"
        " WHERE response_tokens > 0"
    ).fetchone()
    some = db.execute(
        "SELECT prompt_tokens, response_tokens FROM signal WHERE response_tokens > 0 ORDER BY round, sample_id LIMIT ?",
        (LOOKED_AT,),
    )
    each = [(row[0], row[1]) for row in some] or _counted(db, forecast.counter(tokenizer))
    if prompt is None and each:
        prompt, response = (fmean(column) for column in zip(*each, strict=True))
    rows = db.execute("SELECT count(*) FROM sample WHERE born_round = 0").fetchone()[0]
    last = "SELECT count(*) FROM rewrite WHERE round = (SELECT max(round) FROM rewrite)"
    first = dump_messages([Message("system", "")])[: -len('""]]')]
    system = db.execute("SELECT EXISTS (SELECT 1 FROM sample WHERE substr(messages, 1, ?) = ?)", (len(first), first))
    heldout = db.execute("SELECT count(*) FROM heldout").fetchone()[0]
    return DataFacts(
        rows,
        longest,
        bool(system.fetchone()[0]),
        prompt or 0.0,
        response or 0.0,
        db.execute(last).fetchone()[0],
        heldout,
        tuple(int(asked + said) for asked, said in each),
    )


def _counted(db: sqlite3.Connection, count: Callable[[str], float]) -> list[tuple[float, float]]:
    """Tokens of the prompts and answers of some samples: ids are hashes, so the first are random ones."""
    rows = db.execute("SELECT messages FROM sample WHERE born_round = 0 ORDER BY id LIMIT ?", (LOOKED_AT,))
    chats = (load_messages(row[0]) for row in rows)
    return [
        (count(forecast.before_answer(chat)) + cost_model.OPENING, count(chat[-1].content) + 1)
        for chat in chats
        if chat
    ]
