"""The same held-out questions under two rounds' models: which were answered right before and after, and the replies."""

from __future__ import annotations

import sqlite3

from msgspec import Struct

from engine.store import paired_difference, read
from engine.store.conversation import Sample, distinct

GONE = "(this question is not in the held-out set)"
"""In place of a prompt, for an item that an older version counted otherwise."""


class HeldOutQuestion(Struct, frozen=True):
    """One held-out item in both rounds. ``right``: whether its reply was exactly right, None where only the loss was
    measured; ``loss``: mean loss of its response in nats per token. Each is a pair (before, after).
    """

    item: int
    right: tuple[bool | None, bool | None]
    loss: tuple[float | None, float | None]

    @property
    def flip(self) -> int:
        """1: wrong before and right after; -1: the other way round; 0: no flip."""
        before, after = self.right
        return 0 if before is None or after is None else int(after) - int(before)

    @property
    def loss_change(self) -> float:
        """By how much the loss rose; 0 where it is not known in both rounds."""
        before, after = self.loss
        return 0.0 if before is None or after is None else after - before


class QuestionComparison(Struct, frozen=True):
    """All questions that both rounds were asked."""

    before: int
    after: int
    questions: tuple[HeldOutQuestion, ...]

    @property
    def asked(self) -> int:
        """Questions whose replies were marked in both rounds; 0 without ``[evaluate] exact_match``."""
        return sum(None not in question.right for question in self.questions)

    @property
    def gained(self) -> tuple[HeldOutQuestion, ...]:
        """Those that went from wrong to right."""
        return tuple(question for question in self.questions if question.flip > 0)

    @property
    def lost(self) -> tuple[HeldOutQuestion, ...]:
        """Those that went from right to wrong."""
        return tuple(question for question in self.questions if question.flip < 0)

    @property
    def change(self) -> float | None:
        """Change of the share that is right; None without replies."""
        return (len(self.gained) - len(self.lost)) / self.asked if self.asked else None

    @property
    def stderr(self) -> float | None:
        """Standard error of ``change``, question by question (as ``paired.errors``); None with fewer than two."""
        differences = [question.flip for question in self.questions if None not in question.right]
        return paired_difference.share_error(differences) if len(differences) > 1 else None


class QuestionReplies(Struct, frozen=True):
    """A question in full: its prompt, the answer that counts as right, and both replies (None: none was asked for)."""

    item: int
    prompt: str
    wanted: str
    before: str | None
    after: str | None


def compare(db: sqlite3.Connection, before: int, after: int) -> QuestionComparison:
    """The questions that both rounds have measured, by item; none where a round has not been evaluated."""
    found = db.execute(
        "SELECT item, a.correct, b.correct, a.loss, b.loss FROM eval_item a JOIN eval_item b USING (item)"
        " WHERE a.round=? AND b.round=? ORDER BY item",
        (before, after),
    )
    marks = {None: None, 0: False, 1: True}
    rows = ((row[0], marks[row[1]], marks[row[2]], row[3], row[4]) for row in found)
    return QuestionComparison(before, after, tuple(HeldOutQuestion(item, (a, b), (x, y)) for item, a, b, x, y in rows))


def evaluated_rounds(db: sqlite3.Connection) -> list[int]:
    """The rounds whose models answered the held-out questions, oldest first; unfinished ones are left out."""
    found = db.execute(
        "SELECT DISTINCT round FROM eval_item JOIN job USING (round) WHERE stage='evaluate' AND state='done' ORDER BY 1"
    )
    return [int(row[0]) for row in found]


def evaluated(db: sqlite3.Connection) -> list[Sample]:
    """The held-out samples in the places that items name."""
    return distinct(read.heldout(db))


def replies(db: sqlite3.Connection, samples: list[Sample], before: int, after: int, item: int) -> QuestionReplies:
    """Both replies to one question. ``samples``: of ``evaluated``."""
    asked = "SELECT round, reply FROM eval_item WHERE item=? AND round IN (?, ?)"
    said = dict(db.execute(asked, (item, before, after)).fetchall())
    asked_of = samples[item] if item < len(samples) else None
    prompt, wanted = (GONE, "") if asked_of is None else (asked_of.prompt, asked_of.response)
    return QuestionReplies(item, prompt, wanted, said.get(before), said.get(after))
