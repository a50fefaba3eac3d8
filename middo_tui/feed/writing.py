"""What the teacher has just written: the newest calls of a round with old and new text, and what was refused and why.

Read anew whenever the store has changed; every query is bounded, whatever the size of the round. For threads.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

from msgspec import Struct

from engine.plurals import counted
from engine.store import read, teacher
from engine.store.connect import reader
from middo_tui.feed.review import STATE_WORDS
from middo_tui.feed.rewrite import TextBlock, cached_diff
from middo_tui.terminal import guard
from middo_tui.text import reason_kind, teacher_wording
from middo_tui.text.word_diff import Part

CALLS = 200
"""Newest calls that are looked at."""
ROWS = 60
"""Rewrites that are listed."""
LATELY_S = 60.0
"""Seconds before the newest call over which the speed is taken."""
KINDS = 3
"""Kinds of refusals that are named."""
LONGEST = 20_000
"""Characters of a text that are compared."""


class WrittenRewrite(Struct, frozen=True):
    """A rewrite, by its newest call. ``state``: in the words of the screens; ``at``: wall time of the call; ``seconds``
    and ``tokens``: of its reply; ``why``: of a refusal or a false alarm. Texts are clean.
    """

    sample: int
    axis: str
    seq: int
    state: str
    at: float
    seconds: float
    tokens: int
    why: str
    text: str
    blocks: tuple[TextBlock, ...]

    @property
    def key(self) -> tuple[int, str]:
        """Which rewrite of the round it is."""
        return self.sample, self.axis


class WritingView(Struct, frozen=True):
    """``round`` None: the teacher was never asked. ``head``: what it is at, how fast, how long; ``refused``: what came
    of its replies; ``rows``: newest first.
    """

    round: int | None = None
    head: str = ""
    refused: str = ""
    rows: tuple[WrittenRewrite, ...] = ()
    problem: str = ""


def load(project: Path) -> WritingView:
    """The newest round in which the teacher was asked.

    Raises:
        StoreError: the store cannot be read.
    """
    db = reader(project)
    try:
        db.execute("BEGIN")
        newest = db.execute("SELECT round FROM call ORDER BY id DESC LIMIT 1").fetchone()
        writing = db.execute("SELECT max(round) FROM underway").fetchone()[0]
        if newest is None and writing is None:
            return WritingView()
        round = int(writing if newest is None else newest[0])
        calls = db.execute(
            "SELECT sample_id, axis, at, seconds, tokens_out FROM call WHERE round=? AND NOT lost"
            " ORDER BY id DESC LIMIT ?",
            (round, CALLS),
        ).fetchall()
        newest_calls = list({(row[0], row[1]): row for row in reversed(calls)}.values())
        newest_calls.sort(key=lambda row: -row["at"])
        rows = (_row(db, round, call) for call in newest_calls[:ROWS])
        return WritingView(round, _head(db, round, calls), _refused(db, round), tuple(one for one in rows if one))
    finally:
        db.close()


def _head(db: sqlite3.Connection, round: int, calls: list[sqlite3.Row]) -> str:
    """What a local teacher is writing, else what an endpoint sends: done of all, tokens a second, time, time left."""
    if (writing := teacher.underway(db, round)) is not None:
        return teacher_wording.writing(writing)
    job = next((one for one in read.jobs(db) if (one.round, one.stage) == (round, "rewrite")), None)
    parts = [] if job is None or not job.total else [f"{job.done:,} of {job.total:,} done"]
    per_s = speed([(row["at"], row["tokens_out"]) for row in calls])
    if job is not None and job.state == "running" and per_s is not None:
        parts.append(f"{per_s:,.{0 if per_s >= 10 else 1}f} tokens/s")
    elif job is not None and job.state != "running":
        parts.append(f"stage {job.state}")
    spent = teacher_wording.spending(teacher.asked(db, round), teacher.projected(db, round), read.evidence(db, round))
    return " · ".join([*parts, *[spent] * bool(spent)])


def speed(calls: list[tuple[float, int]]) -> float | None:
    """Tokens a second over the last ``LATELY_S``; ``calls``: (wall time, tokens), newest first. None: too few calls."""
    lately = [call for call in calls if call[0] >= calls[0][0] - LATELY_S]
    span = lately[0][0] - lately[-1][0] if lately else 0.0
    return sum(tokens for _, tokens in lately[:-1]) / span if span > 0 else None


def _refused(db: sqlite3.Connection, round: int) -> str:
    """E.g. ``12 refused: 7 × duplicate: …, 5 × too short: … · 57 originals kept: 50 × false alarm: …``."""
    states = dict(db.execute("SELECT state, count(*) FROM rewrite WHERE round=? GROUP BY state", (round,)).fetchall())
    parts = []
    if failed := states.get("failed", 0):
        parts.append(f"{failed:,} refused: {_reasons(db, round, 'failed')}")
    if kept := states.get("kept", 0):
        parts.append(f"{counted(kept, 'original')} kept: {_reasons(db, round, 'kept')}")
    return " · ".join(parts) or "nothing refused"


def _reasons(db: sqlite3.Connection, round: int, state: str) -> str:
    """The most frequent ones, with how many."""
    found = db.execute("SELECT coalesce(reason, '') FROM rewrite WHERE round=? AND state=?", (round, state))
    kinds = Counter(guard.one_line(reason_kind.kind(row[0]), 90) for row in found).most_common(KINDS)
    return ", ".join(f"{count:,} × {kind}" for kind, count in kinds)


def _row(db: sqlite3.Connection, round: int, call: sqlite3.Row) -> WrittenRewrite | None:
    sample = read.sample(db, call["sample_id"])
    row = db.execute(
        "SELECT state, prompt, response, raw, reason, attempts FROM rewrite WHERE round=? AND sample_id=? AND axis=?",
        (round, call["sample_id"], call["axis"]),
    ).fetchone()
    if sample is None or row is None:  # deselected meanwhile
        return None
    new = call["axis"] == "diversity"
    old = ("", "") if new else (sample.prompt, sample.response)
    blocks = [_compared("prompt", old[0], row["prompt"])] if row["prompt"] else []
    blocks += [_compared("response", old[1], row["response"])] if row["response"] else []
    if not blocks and row["raw"]:
        blocks = [_same("teacher's reply", row["raw"]), _same("prompt", sample.prompt)]
    if new or not blocks:
        blocks.append(_same("inspired by" if new else "prompt", sample.prompt))
    return WrittenRewrite(
        *(call["sample_id"], call["axis"], sample.seq, STATE_WORDS.get(row["state"], row["state"])),
        *(call["at"], call["seconds"], call["tokens_out"], guard.one_line(row["reason"] or "")),
        text=guard.one_line(row["prompt"] or sample.prompt, 300),
        blocks=tuple(blocks),
    )


def _compared(title: str, old: str, new: str) -> TextBlock:
    before, after = (guard.clean(text[:LONGEST]).text for text in (old, new))
    return TextBlock(title, cached_diff(before, after))


def _same(title: str, text: str) -> TextBlock:
    return TextBlock(title, (Part("same", guard.clean(text[:LONGEST]).text),))
