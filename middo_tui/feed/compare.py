"""Several projects side by side: what each cost and reached, how far their scores differ from the first's, and which
settings differ. For threads and the command line.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from engine.config import schema as configs
from engine.config.renamed import RENAMED
from engine.errors import ConfigError, UsageError
from engine.store import paired_difference, read
from engine.store.connect import reader
from engine.store.rows import EvalScore
from middo_tui.feed.round_config import defaults, settings
from middo_tui.feed.rounds import RoundDetail, RoundsReader
from middo_tui.text.score_changes import ScoreChange


class ComparedProject(Struct, frozen=True):
    """One project. ``label``: as short as tells it from the others; ``round``: the newest that was evaluated, None
    before the first; ``scores``: that round's, each against the first project's newest, by task.
    """

    label: str
    folder: str
    model: str
    rounds: tuple[RoundDetail, ...]
    round: int | None
    scores: dict[str, ScoreChange]

    @property
    def calls(self) -> int:
        """Teacher calls of all rounds."""
        return sum(one.teacher.calls for one in self.rounds)

    @property
    def tokens(self) -> int:
        """Teacher tokens of all rounds, in and out."""
        return sum(one.teacher.tokens_in + one.teacher.tokens_out for one in self.rounds)

    @property
    def cost(self) -> float:
        """What the teacher cost, in dollars."""
        return sum(one.teacher.cost for one in self.rounds)

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(one.seconds or 0.0 for one in self.rounds)

    @property
    def accepted(self) -> int:
        """Accepted rewrites of all rounds."""
        return sum(one.total("accepted") for one in self.rounds)

    @property
    def rewritten(self) -> int:
        """Rewrites of all rounds."""
        return sum(one.total("rewritten") for one in self.rounds)


OWN_QUESTIONS = ("accuracy", "heldout_loss")
"""Scores over the project's own held-out samples; every other task asks the same of all projects."""


class SideBySide(Struct, frozen=True):
    """``tasks``: all scores that a project has; ``settings``: (key, a value per project) where they differ in what
    the newest rounds ran with or, if not there, in config.toml; empty where a project had no such setting yet.
    ``same_questions``: every project holds out what the first does.
    """

    projects: tuple[ComparedProject, ...]
    tasks: tuple[str, ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]
    same_questions: bool

    def comparable(self, task: str) -> bool:
        """Whether a difference of ``task`` can be held against chance: only where the same was asked."""
        return self.same_questions or task not in OWN_QUESTIONS


def compare(folders: Sequence[Path]) -> SideBySide:
    """All projects, the first as what the others are held against.

    Raises:
        UsageError: fewer than two. StoreError: one of them cannot be read.
    """
    if len(folders) < 2:
        raise UsageError("compare needs at least two projects: middo-tui compare DIR DIR")
    rounds = [RoundsReader(folder).read().rounds for folder in folders]
    stores = [reader(folder) for folder in folders]
    try:
        held = [heldout_digest(db) for db in stores]
        newest = [_newest(db) for db in stores]
        first = stores[0], newest[0]
        scores = [_scores(db, at, first, own == held[0]) for db, at, own in zip(stores, newest, held, strict=True)]
        models = [str(read.meta(db).get("model") or "") for db in stores]
    finally:
        for db in stores:
            db.close()
    columns = zip(_labels(folders), map(str, folders), models, rounds, newest, scores, strict=True)
    projects = tuple(ComparedProject(*column) for column in columns)
    tasks = tuple(dict.fromkeys(task for found in scores for task, one in found.items() if one.main))
    ran = [_newest_settings(own) for own in rounds]
    next_ones = [_next_settings(folder, own) for folder, own in zip(folders, ran, strict=True)]
    differing = dict(_differing(next_ones)) | dict(_differing([a or b for a, b in zip(ran, next_ones, strict=True)]))
    return SideBySide(projects, tasks, tuple(sorted(differing.items())), len(set(held)) == 1)


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folders' names; their paths where two have one name."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def heldout_digest(db: sqlite3.Connection) -> str:
    """A hash of the held-out samples in their order: questions can only be paired where it is the same."""
    digest = hashlib.blake2b(digest_size=16)
    for (messages,) in db.execute("SELECT messages FROM heldout ORDER BY item"):
        digest.update(messages.encode() + b"\x00")
    return digest.hexdigest()


def _newest(db: sqlite3.Connection) -> int | None:
    found = db.execute("SELECT max(round) FROM score").fetchone()[0]
    return None if found is None else int(found)


def _scores(
    db: sqlite3.Connection, at: int | None, first: tuple[sqlite3.Connection, int | None], same: bool
) -> dict[str, ScoreChange]:
    """The scores of round ``at`` against those of the first project. ``same``: both hold out the same samples."""
    if at is None:
        return {}
    other, other_round = first
    theirs = {} if other is db or other_round is None else read.scores(other, other_round)
    out = {}
    for task, one in sorted(read.scores(db, at).items()):
        was = theirs.get(task)
        error = None
        if was is not None and (same or task not in OWN_QUESTIONS):
            error = paired_difference.error(db, one, other, was)
        out[task] = _change(one, was, error)
    return out


def _change(one: EvalScore, was: EvalScore | None, error: float | None) -> ScoreChange:
    if was is None or not one.comparable(was):
        return ScoreChange(one.task, one.value, one.stderr, higher=one.higher, main=one.main)
    both = error
    if both is None and one.stderr is not None and was.stderr is not None:
        both = math.hypot(one.stderr, was.stderr)
    change = one.value - was.value
    return ScoreChange(one.task, one.value, one.stderr, change, both, error is not None, one.higher, one.main)


def _differing(found: Sequence[dict[str, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Settings that are not the same in all projects. One that a version did not know was as it is by default."""
    usual = dict(defaults())
    keys = sorted({key for one in found for key in one})
    rows = ((key, tuple(one.get(key, "") for one in found)) for key in keys)
    return tuple((key, values) for key, values in rows if len({one or usual.get(key, "") for one in values}) > 1)


def _newest_settings(rounds: tuple[RoundDetail, ...]) -> dict[str, str]:
    """What the newest round ran with, by the names of today."""
    found = next((one.settings for one in reversed(rounds) if one.settings), ())
    return {f"{key.partition('.')[0]}.{RENAMED[key]}" if key in RENAMED else key: value for key, value in found}


def _next_settings(folder: Path, ran: dict[str, str]) -> dict[str, str]:
    """What config.toml says now: the next stage runs with it. ``ran`` where that cannot be read."""
    try:
        return dict(settings(configs.snapshot(configs.load(folder))))
    except ConfigError:
        return ran
