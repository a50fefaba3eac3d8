"""What a round's judge is: how it is asked, whether it can tell a good answer from a bad one, what it could not rate.
Light imports only.
"""

from __future__ import annotations

import sqlite3
from typing import ClassVar

from engine.store import read
from engine.store.rows import Row


class JudgeCheck(Row, frozen=True):
    """How a round's judge is asked, and whether it can tell a good answer from a bad one.

    ``judge``: who rates ([judge] model). ``begun``: what its replies are begun with; empty: they are not.
    ``plain_mass``, ``begun_mass``: the mean probability of the digits on a few samples, unbegun and begun (None: not
    asked so). ``auc``: how often it rates a sample above a copy with another sample's answer, over ``pairs`` of them;
    None before it was tried (``done``), or without pairs. ``rated``, ``errors``: samples with a rating, and with a
    judge error in its place; ``digit_mass``: the mean of their least digit masses. ``counted``: whether it has a
    part in the round's flaw scores (None: an older version decided). All four are known once it is done.
    """

    TABLE: ClassVar[str] = "judge_check"
    KEY: ClassVar[tuple[str, ...]] = ("round",)
    round: int
    judge: str
    begun: str
    plain_mass: float | None = None
    begun_mass: float | None = None
    done: bool = False
    pairs: int = 0
    auc: float | None = None
    rated: int = 0
    errors: int = 0
    digit_mass: float | None = None
    counted: bool | None = None


def check(db: sqlite3.Connection, round: int) -> JudgeCheck | None:
    """What is known of a round's judge; None before its judge stage has begun, and of rounds of an older version."""
    return next(iter(read.rows(db, JudgeCheck, round)), None)
