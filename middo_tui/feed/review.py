"""What the Review screen shows, read from the store: the queue of a round's rewrites, its counts and its pace.

Read-only. Text in here has been through ``guard.one_line``. One rewrite in full is ``feed.rewrite``.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from threading import Event

from msgspec import Struct, field

from engine.errors import MiddoError
from engine.store import read
from engine.store.connect import reader
from middo_tui.feed.review_order import ALIKE, DOUBT, EDITED, SORTS, where
from middo_tui.terminal import guard

Key = tuple[int, str]  # sample id, axis
REASONS = (
    "wrong facts",
    "different task than the original",
    "no better than the original",
    "does not answer the prompt",
    "incomplete",
    "too long",
    "wrong tone or format",
    "unsafe or private",
    "too similar to another sample",
)
"""Why a rewrite is rejected, by digit. What is not in here goes into a note."""
STATE_WORDS = {"proposed": "undecided", "owed": "pending", "prompted": "being written"}
"""What a person reads for a stored state; every other state is its own word."""
HEAD = 120
EVERY_S = 0.5
SITTING_S = 600.0  # a longer break begins another sitting
LEAST_PACED = 3
BREAK_S = 60.0
BREAK_TIMES = 5
"""A gap longer than both, the second in terms of the usual gap, was a break: nobody decided anything meanwhile."""


class QueueEntry(Struct, frozen=True):
    """One rewrite in the queue. ``improved`` None: it has no verdict. ``doubt``: drifted, off topic or nothing.
    ``alike``: the same for rewrites of one axis, cluster and verdict; empty: it is in no cluster.
    """

    key: Key
    seq: int
    state: str
    improved: bool | None
    edited: bool
    noted: bool
    head: str
    doubt: str = ""
    alike: str = ""

    @property
    def axis(self) -> str:
        """What it was selected for."""
        return self.key[1]


class ReviewCounts(Struct, frozen=True):
    """All rewrites of the round, whatever is listed. ``edited`` ones are in the other numbers too.

    ``refused``: the rejected ones that the checks of verify have rejected, and nobody else.
    """

    open: int = 0
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    pending: int = 0
    edited: int = 0
    unchecked: int = 0
    refused: int = 0

    @property
    def decided(self) -> int:
        """Accepted or rejected."""
        return self.accepted + self.rejected

    @property
    def total(self) -> int:
        """All that can be decided."""
        return self.open + self.decided


class Query(Struct, frozen=True):
    """What to list. ``round`` None: the newest that has rewrites."""

    round: int | None = None
    filter: str = ""
    sort: str = "place"
    search: str = ""


class Queue(Struct, frozen=True):
    """The answer to ``query``. ``hits``: places in ``rows`` that the search found. ``per_min`` None: no pace yet.

    ``busy``: the stage that is writing or checking rewrites of this round. ``known``: the store was read at all.
    """

    query: Query = field(default_factory=Query)
    round: int | None = None
    rounds: tuple[int, ...] = ()
    merged: bool = False
    busy: str = ""
    rows: tuple[QueueEntry, ...] = ()
    counts: ReviewCounts = field(default_factory=ReviewCounts)
    per_min: float | None = None
    hits: tuple[int, ...] = ()
    problem: str = ""
    known: bool = True

    @property
    def left_s(self) -> float | None:
        """Seconds that the open ones will take at this pace."""
        return self.counts.open / self.per_min * 60 if self.per_min else None


# --------------------------------------------------------------------------------------------------- reading


def read_queue(db: sqlite3.Connection, query: Query, now: float) -> Queue:
    """The queue as the store has it, in one snapshot. ``now``: wall time in seconds."""
    db.execute("BEGIN")
    try:
        rounds = tuple(row[0] for row in db.execute("SELECT DISTINCT round FROM rewrite ORDER BY round"))
        round = query.round if query.round in rounds else (rounds[-1] if rounds else None)
        if round is None:
            return Queue(query)
        jobs = {job.stage: job.state for job in read.jobs(db) if job.round == round}
        rows = tuple(_rows(db, round, query))
        return Queue(
            query=query,
            round=round,
            rounds=rounds,
            merged=jobs.get("merge") in ("running", "done"),
            busy=next((name for name in ("rewrite", "verify") if jobs.get(name) == "running"), ""),
            rows=rows,
            counts=_counts(db, round),
            per_min=pace(_singles(db, round), now),
            hits=_hits(db, round, query, rows),
        )
    finally:
        db.execute("ROLLBACK")


def _rows(db: sqlite3.Connection, round: int, query: Query) -> list[QueueEntry]:
    condition, values = where(query.filter)
    order = next((sort.sql for sort in SORTS if sort.name == query.sort), SORTS[0].sql)
    sql = (
        f"SELECT r.sample_id, r.axis, r.state, r.improved, {EDITED} AS edited, r.note IS NOT NULL AS noted, s.seq,"  # noqa: S608 - our own words and orders
        f" {DOUBT} AS doubt, coalesce({ALIKE}, '') AS alike,"
        f" substr(r.prompt, 1, {HEAD}) AS head, substr(r.reason, 1, {HEAD}) AS reason FROM rewrite r"
        " JOIN sample s ON s.id=r.sample_id"
        " LEFT JOIN signal g ON g.round=r.round AND g.sample_id=r.sample_id"
        f" WHERE {condition} ORDER BY {order}"
    )
    return [
        QueueEntry(
            (row["sample_id"], row["axis"]),
            row["seq"],
            row["state"],
            None if row["improved"] is None else bool(row["improved"]),
            bool(row["edited"]),
            bool(row["noted"]),
            guard.one_line(row["head"] or row["reason"] or "", HEAD),
            row["doubt"],
            row["alike"],
        )
        for row in db.execute(sql, {"round": round, **values})
    ]


_BY_HAND = (
    "SELECT count(*) FROM (SELECT max(id), after FROM decision WHERE round=? AND NOT undone"
    " AND after IN ('accepted', 'rejected', 'proposed') AND messages IS NULL AND note IS NULL"
    " GROUP BY sample_id, axis) WHERE after='rejected'"
)
"""Rewrites whose newest decision is somebody's rejection."""


def _counts(db: sqlite3.Connection, round: int) -> ReviewCounts:
    found = {"edited": 0, "unchecked": 0}
    names = {"proposed": "open", "owed": "pending", "prompted": "pending"}
    sql = (
        f"SELECT state, {EDITED} AS edited, verdict IS NULL AND messages IS NOT NULL AS unchecked, count(*) AS n"  # noqa: S608
        " FROM rewrite r WHERE round=? AND state<>'kept' GROUP BY 1, 2, 3"
    )
    for row in db.execute(sql, (round,)):
        name = names.get(row["state"], row["state"])
        found[name] = found.get(name, 0) + row["n"]
        found["edited"] += row["n"] * row["edited"]
        found["unchecked"] += row["n"] * row["unchecked"] * row["edited"]
    found["refused"] = max(0, found.get("rejected", 0) - db.execute(_BY_HAND, (round,)).fetchone()[0])
    return ReviewCounts(**found)


def _singles(db: sqlite3.Connection, round: int) -> list[float]:
    """When single rewrites were decided in an app, newest first: a batch says nothing of how fast a person reads."""
    sql = (
        "SELECT max(at) FROM decision WHERE round=? AND undone=0 AND source='app' AND after IN ('accepted', 'rejected')"
        " AND messages IS NULL AND note IS NULL GROUP BY batch HAVING count(*)=1 ORDER BY batch DESC LIMIT 200"
    )
    return [row[0] for row in db.execute(sql, (round,))]


def pace(at: list[float], now: float) -> float | None:
    """Decisions a minute of this sitting, from their times (newest first), without its breaks; None if too few."""
    sitting, last = [], now
    for moment in at:
        if last - moment > SITTING_S:
            break
        sitting.append(moment)
        last = moment
    if len(sitting) < LEAST_PACED or sitting[0] <= sitting[-1]:
        return None
    gaps = sorted(newer - older for newer, older in pairwise(sitting))
    worked = [gap for gap in gaps if gap <= max(BREAK_S, BREAK_TIMES * gaps[len(gaps) // 2])]
    return len(worked) / sum(worked) * 60 if sum(worked) else None


def _hits(db: sqlite3.Connection, round: int, query: Query, rows: tuple[QueueEntry, ...]) -> tuple[int, ...]:
    """The places of the rewrites whose old or new text holds what is searched for, in any case."""
    if not query.search:
        return ()
    wanted = query.search.casefold()
    found = set()
    sql = (
        "SELECT r.sample_id, r.axis, r.prompt, r.response, r.raw, t.text FROM rewrite r"
        " JOIN sample_text t ON t.id=r.sample_id WHERE r.round=?"
    )
    for id, axis, *texts in db.execute(sql, (round,)):
        if any(wanted in text.casefold() for text in texts if text):
            found.add((id, axis))
    return tuple(at for at, row in enumerate(rows) if row.key in found)


class ReviewRequests:
    """Between the screen and its reading thread: what is asked for, and when to look again."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.looks = 0
        self._wake = Event()
        self._closed = False

    def ask(self, query: Query) -> None:
        """List something else."""
        self.query = query
        self._wake.set()

    def look(self) -> None:
        """Look at the store now, and answer even if nothing is new."""
        self.looks += 1
        self._wake.set()

    def close(self) -> None:
        """Let the thread end."""
        self._closed = True
        self._wake.set()

    def follow(
        self, project: Path, post: Callable[[Queue, int], object], clock: Callable[[], float] = time.time
    ) -> None:
        """Post what is new, with the number of looks asked for before it was read, until closed.

        Looks twice a second (0.08 ms when nothing was committed), and whenever it is woken.
        """
        source = _Source(project)
        last: Queue | None = None
        answered = 0
        try:
            while not self._closed:
                looks = self.looks
                queue = source.read(self.query, clock)
                if queue != last or looks != answered:
                    last, answered = queue, looks
                    post(queue, looks)
                self._wake.wait(EVERY_S)
                self._wake.clear()
        finally:
            source.close()


class _Source:
    """The store, read again only when somebody has committed to it. Trouble is part of the answer."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._db: sqlite3.Connection | None = None
        self._seen: tuple[int, Query] | None = None
        self._queue = Queue()

    def read(self, query: Query, clock: Callable[[], float]) -> Queue:
        """The queue as it is now; the very same object when nothing was committed."""
        try:
            self._db = self._db or reader(self._project)
            now = (self._db.execute("PRAGMA data_version").fetchone()[0], query)
            if now != self._seen:
                self._queue = read_queue(self._db, query, clock())
                self._seen = now
        except (MiddoError, sqlite3.Error) as error:
            self.close()
            self._queue = Queue(query, problem=guard.one_line(str(error)))
        return self._queue

    def close(self) -> None:
        """Give the connection back."""
        if self._db is not None:
            self._db.close()
        self._db, self._seen = None, None
