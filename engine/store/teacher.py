"""Rows of the teacher's work: the forecast before anything is spent, one row per call, and provider batches.

Batches that a provider works on are kept with their calls before anything is sent, so that none is given away twice.

Calls are never changed and never forgotten: when rewrites are thrown away and made anew, what the first ones took still
counts towards the round's caps. Light imports only.
"""

from __future__ import annotations

import sqlite3
from typing import Any, ClassVar

from engine.store.rows import Row

PENDING = ("new", "open", "cancelling")


class TeacherCall(Row, frozen=True):
    """One call that came back: with a reply, or with the ``error`` that it failed with in the end. Or a try that was
    ``lost``: no reply came, but one may have been written and counted, so it stands for the most that it can take.

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
    lost: bool = False
    id: int | None = None


class SentCall(Row, frozen=True):
    """The newest call for a rewrite that was sent to an endpoint, and the most that it can take.

    It is saved before it is sent. ``open``: what came of it is not in the books, so a run that finds one when it begins
    knows that an earlier run has ended meanwhile.
    """

    TABLE: ClassVar[str] = "sent_call"
    KEY: ClassVar[tuple[str, ...]] = ("round", "sample_id", "axis")
    round: int
    sample_id: int
    axis: str
    step: str
    at: float
    model: str
    tokens_in: int
    tokens_out: int
    cost: float
    open: bool


class Question(Row, frozen=True):
    """What a person was asked at the caps of a round: who goes on without a change is not asked the same again."""

    TABLE: ClassVar[str] = "question"
    KEY: ClassVar[tuple[str, ...]] = ("round",)
    round: int
    text: str


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


class UnderWay(Row, frozen=True):
    """What a teacher on this machine is writing: where it stood at ``at``, and how long it will take.

    ``done`` of ``total``: replies of this piece of work that are whole. ``tokens``: written since the stage was begun
    or gone on with, in ``seconds``; ``per_s``: as fast as of late. ``left_s``: seconds until all rewrites are made.
    ``text``: the end of what is being written.
    """

    TABLE: ClassVar[str] = "underway"
    KEY: ClassVar[tuple[str, ...]] = ("round",)
    round: int
    step: str
    attempt: int
    done: int
    total: int
    tokens: int
    seconds: float
    at: float
    per_s: float | None = None
    left_s: float | None = None
    text: str = ""


class TeacherBatch(Row, frozen=True):
    """Calls that were given to a provider together, for results within a day.

    States: new (told to nobody yet, or not known to have arrived) -> open (the provider has it) -> done (what came of
    it is saved); cancelling instead of open when its end was asked for; dropped: it never came to be.

    ``token``: our name for it, which it also carries at the provider. ``id``, ``file``: the provider's names for it and
    for its requests. ``calls``: how many. ``status``, ``completed``, ``failed``: what the provider last said of it.
    ``planned_at``: by our clock; the other times by the provider's. ``options``: the names of a request's options, as
    JSON. ``error``: what the provider calls its reason for refusing it.
    """

    TABLE: ClassVar[str] = "batch"
    KEY: ClassVar[tuple[str, ...]] = ("token",)
    token: str
    round: int
    url: str
    model: str
    state: str
    calls: int
    planned_at: float
    options: str
    id: str | None = None
    file: str | None = None
    status: str = ""
    completed: int = 0
    failed: int = 0
    created_at: float | None = None
    expires_at: float | None = None
    ended_at: float | None = None
    error: str | None = None

    @property
    def pending(self) -> bool:
        """Whether it may still return results."""
        return self.state in PENDING


class BatchCall(Row, frozen=True):
    """One call of a batch. ``name``: its custom_id there. ``tokens_in``, ``tokens_out``: what it can take at most.

    ``done``: its result is in the books.
    """

    TABLE: ClassVar[str] = "batch_call"
    KEY: ClassVar[tuple[str, ...]] = ("token", "name")
    token: str
    name: str
    round: int
    sample_id: int
    axis: str
    step: str
    tokens_in: int
    tokens_out: int
    done: bool = False


def asked(db: sqlite3.Connection, round: int, judge: bool = True) -> dict[str, Any]:
    """The teacher's calls, tokens and cost of a round, how many calls failed, and how long one took on average.

    ``judge``: with those of an endpoint that rates, which the books and the caps hold too.
    Tokens and cost are with those of tries that were lost; ``lost`` and ``lost_tokens`` are of these alone.
    """
    row = db.execute(
        "SELECT count(*) FILTER (WHERE NOT lost), coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0),"
        " coalesce(sum(cost), 0), count(error) FILTER (WHERE NOT lost), avg(seconds) FILTER (WHERE NOT lost),"
        " count(*) FILTER (WHERE lost), coalesce(sum(tokens_in + tokens_out) FILTER (WHERE lost), 0)"
        " FROM call WHERE round=? AND (? OR step<>'judge')",
        (round, judge),
    ).fetchone()
    return {
        "calls": int(row[0]),
        "tokens_in": int(row[1]),
        "tokens_out": int(row[2]),
        "cost": float(row[3]),
        "failed": int(row[4]),
        "seconds": row[5],
        "lost": int(row[6]),
        "lost_tokens": int(row[7]),
    }


def projected(db: sqlite3.Connection, round: int) -> dict[str, Any] | None:
    """The forecast of a round; None before its select stage is done."""
    row = db.execute("SELECT * FROM projection WHERE round=?", (round,)).fetchone()
    return None if row is None else {name: row[name] for name in row.keys() if name != "round"}  # noqa: SIM118


def underway(db: sqlite3.Connection, round: int) -> dict[str, Any] | None:
    """What a local teacher is writing for a round; None if it is idle."""
    row = db.execute(
        "SELECT underway.* FROM underway JOIN job USING (round) WHERE round=? AND stage='rewrite' AND state='running'",
        (round,),
    ).fetchone()
    return None if row is None else {name: row[name] for name in row.keys() if name != "round"}  # noqa: SIM118


def batches(db: sqlite3.Connection, round: int) -> dict[str, Any] | None:
    """The batches of a round that a provider works on, together; None: there are none.

    ``since``: when the first one was made. ``until``: when the last one ends at the latest, None while the provider has
    not said.
    """
    found = db.execute(
        "SELECT id, calls, completed, failed, status, state, coalesce(created_at, planned_at) AS since, expires_at"
        " FROM batch WHERE round=? AND state IN ('open', 'cancelling') ORDER BY since",
        (round,),
    ).fetchall()
    if not found:
        return None
    return {
        "batches": len(found),
        "ids": [row["id"] for row in found],
        "status": found[0]["status"] if len({row["status"] for row in found}) == 1 else "in_progress",
        "cancelling": any(row["state"] == "cancelling" for row in found),
        "calls": sum(row["calls"] for row in found),
        "completed": sum(row["completed"] for row in found),
        "failed": sum(row["failed"] for row in found),
        "since": found[0]["since"],
        "until": max((row["expires_at"] for row in found if row["expires_at"]), default=None),
    }


def within_caps(ahead: Projected) -> bool:
    """Whether the caps will probably do."""
    tokens = ahead.cap_tokens and ahead.tokens_in + ahead.tokens_out > ahead.cap_tokens
    return not (tokens or (ahead.cap_cost and ahead.cost > ahead.cap_cost))
