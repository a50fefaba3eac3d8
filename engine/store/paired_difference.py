"""How far a difference of two evaluation figures is from chance, told from the differences of their single items.

The same items are hard in every round and in every control: their differences vary far less than what the two figures'
own standard errors add up to. Light imports only.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence

from engine.store import read
from engine.store.rows import EvalScore, error_of_unanimous

Items = dict[int, tuple[float, float]]
"""By item: its value, and its weight in the figure."""


def errors(db: sqlite3.Connection, round: int) -> dict[str, float]:
    """Standard error of the change since the round before, by task; only where both rounds measured the same items and
    the figure is made of them.
    """
    now, before = read.scores(db, round), read.scores(db, round - 1)
    found = {task: error(db, now[task], db, before[task]) for task in sorted(now.keys() & before.keys())}
    return {task: value for task, value in found.items() if value is not None}


def error(one: sqlite3.Connection, score: EvalScore, other: sqlite3.Connection, against: EvalScore) -> float | None:
    """Standard error of the difference of a task's figure between two rounds, of one store or of two; None where they
    have other items.
    """
    if score.n != against.n or score.n < 2:
        return None
    now, before = items(one, score.round, score.task), items(other, against.round, against.task)
    both = [item for item in now if item in before and now[item][1] == before[item][1]]
    if len(both) != score.n:
        return None
    differences = [now[item][0] - before[item][0] for item in both]
    if score.higher and all(0 <= value <= 1 for value, _ in (*now.values(), *before.values())):
        return share_error(differences)
    return standard_error(differences, [now[item][1] for item in both])


def items(db: sqlite3.Connection, round: int, task: str) -> Items:
    """What a task's figure of a round is the mean of."""
    sql = {"accuracy": _ACCURACY, "heldout_loss": _HELDOUT}.get(task, _TASK)
    found = db.execute(sql, {"round": round, "task": task})
    return {item: (value, weight) for item, value, weight in found}


_ACCURACY = "SELECT item, correct, 1 FROM eval_item WHERE round=:round AND correct IS NOT NULL ORDER BY item"
_HELDOUT = (
    "SELECT item, loss, tokens FROM eval_item WHERE round=:round AND tokens > 0 AND loss IS NOT NULL ORDER BY item"
)
_TASK = "SELECT item, value, 1 FROM task_item WHERE round=:round AND task=:task ORDER BY item"


def share_error(differences: Sequence[float]) -> float:
    """Standard error of a mean difference between two shares, item by item. Where all items say the same (none changed,
    or all did), that is no proof that others would: as for a share, Wilson's interval tells.
    """
    return standard_error(differences, [1] * len(differences)) or error_of_unanimous(len(differences))


def standard_error(differences: Sequence[float], weights: Sequence[float]) -> float:
    """Standard error of a weighted mean over items, as a ratio of two sums."""
    total = math.fsum(weights)
    pairs = list(zip(differences, weights, strict=True))
    mean = math.fsum(d * w for d, w in pairs) / total
    return math.sqrt(math.fsum((w * (d - mean)) ** 2 for d, w in pairs)) / total
