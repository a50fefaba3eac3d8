"""What the teacher will be asked and was asked: a projection before anything is spent, then one row per call.

Calls are never changed and never forgotten: when rewrites are thrown away and made anew, what the first ones took still
counts towards the round's caps. Light imports only.
"""

from __future__ import annotations

import sqlite3
from typing import Any, ClassVar

from engine.store.rows import Row


class TeacherCall(Row, frozen=True):
    """One call that came back: with a reply, or with the ``error`` that it failed with in the end.

    ``step``: prompt or answer. ``model``: by the name that has a price. ``cost``: in the currency of the prices.
    ``seconds``: from sending it to its reply; of a batch on this machine, how long the whole batch took.
    ``id``: None until it is saved.
    """

    TABLE: ClassVar[str] = "call"
    KEY: ClassVar[tuple[str, ...]] = ("id",)
    round: int
    sample_id: int
    axis: str
    step: str
    at: float
    model: str
    seconds: float
    tokens_in: int
    tokens_out: int
    cost: float
    error: str | None = None
    id: int | None = None


class Projected(Row, frozen=True):
    """What all rewrites of a round will probably take, as it was reckoned before the first call.

    ``sent_to``: the host that texts are sent to; empty: they stay on this machine.
    """

    TABLE: ClassVar[str] = "projection"
    KEY: ClassVar[tuple[str, ...]] = ("round",)
    round: int
    rewrites: int
    calls: int
    tokens_in: int
    tokens_out: int
    cost: float
    cap_tokens: int
    cap_cost: float
    sent_to: str = ""


def asked(db: sqlite3.Connection, round: int) -> dict[str, Any]:
    """The teacher's calls, tokens and cost of a round, how many calls failed, and how long one took on average."""
    row = db.execute(
        "SELECT count(*), coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0), coalesce(sum(cost), 0),"
        " count(error), avg(seconds) FROM call WHERE round=?",
        (round,),
    ).fetchone()
    return {
        "calls": int(row[0]),
        "tokens_in": int(row[1]),
        "tokens_out": int(row[2]),
        "cost": float(row[3]),
        "failed": int(row[4]),
        "seconds": row[5],
    }


def projected(db: sqlite3.Connection, round: int) -> dict[str, Any] | None:
    """The projection of a round; None before its select stage is done."""
    row = db.execute("SELECT * FROM projection WHERE round=?", (round,)).fetchone()
    return None if row is None else {name: row[name] for name in row.keys() if name != "round"}  # noqa: SIM118


def fits(ahead: Projected) -> bool:
    """Whether the caps will probably do."""
    tokens = ahead.cap_tokens and ahead.tokens_in + ahead.tokens_out > ahead.cap_tokens
    return not (tokens or (ahead.cap_cost and ahead.cost > ahead.cap_cost))
