"""A person's writes: the plan of a run and review decisions. Durable on return. Standard library only.

Everything done to a rewrite is journalled (``engine.store.journal``). A batch (one keypress, one command) is one
transaction and one step of undo. Nobody's work is written over: what changed since a person looked at it is refused.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from engine.errors import StoreError, UsageError
from engine.store import journal
from engine.store.connect import transaction, writer
from engine.store.journal import OPEN, Change, Key, UndoResult


def set_plan(
    project: Path, rounds: int, until: tuple[int, str] | None = None, auto: bool = False, hold_s: float = 0.0
) -> None:
    """Ask for at most ``rounds`` rounds, up to and including stage ``until`` = (round, stage). Asking for more rounds
    than before lifts the stop rule's last verdict. ``hold_s``: how long a merge can be undone before the next round
    begins."""
    db = writer(project, durable=True)
    try:
        with transaction(db):
            before = db.execute("SELECT rounds FROM plan WHERE id=1").fetchone()
            if before is not None and rounds > before["rounds"]:
                db.execute("UPDATE round SET stopped=NULL")
            db.execute(
                "INSERT INTO plan (id, rounds, until_round, until_stage, auto, hold_s, want) VALUES (1,?,?,?,?,?,'run')"
                " ON CONFLICT (id) DO UPDATE SET rounds=excluded.rounds, until_round=excluded.until_round,"
                " until_stage=excluded.until_stage, auto=excluded.auto, hold_s=excluded.hold_s,"
                " want='run'",
                (rounds, until[0] if until else None, until[1] if until else None, auto, hold_s),
            )
    finally:
        db.close()


def set_want(project: Path, want: str) -> None:
    """Set the desired state of the run: ``run``, ``pause`` or ``cancel``."""
    if want not in ("run", "pause", "cancel"):
        raise UsageError(f"want must be run, pause or cancel, not {want!r}")
    db = writer(project, durable=True)
    try:
        with transaction(db):
            db.execute("UPDATE plan SET want=? WHERE id=1", (want,))
    finally:
        db.close()


def begin_now(project: Path) -> None:
    """Start the next round now instead of waiting for a possible undo of the merge."""
    db = writer(project, durable=True)
    try:
        with transaction(db):
            db.execute("UPDATE plan SET hold_s=0 WHERE id=1")
    finally:
        db.close()


def set_auto(project: Path, auto: bool) -> None:
    """Set whether the policy ``improved`` replaces manual review."""
    db = writer(project, durable=True)
    try:
        with transaction(db):
            db.execute("UPDATE plan SET auto=? WHERE id=1", (auto,))
    finally:
        db.close()


class ReviewedVersion(Struct, frozen=True):
    """The version of a rewrite that a person saw when deciding. ``messages`` None: the text was not shown."""

    state: str
    messages: str | None = None


@contextmanager
def _review(project: Path, round: int) -> Iterator[tuple[sqlite3.Connection, int]]:
    """One durable transaction over an open review, with the number of its batch.

    Raises:
        StoreError: the round is merged.
    """
    db = writer(project, durable=True)
    try:
        with transaction(db):
            journal.refuse_merged(db, round)
            yield db, journal.new_batch(db)
    finally:
        db.close()


def decide(
    project: Path,
    round: int,
    keys: Sequence[Key],
    state: str,
    reason: str | None = None,
    source: str = "app",
    seen: Mapping[Key, ReviewedVersion] | None = None,
) -> int:
    """Decide rewrites ``keys`` = (sample id, axis) of ``round``: accepted, rejected or proposed (undecided). One batch.

    ``seen``: what the person looked at. One rewrite that has changed since is refused; of several, those are passed
    over.

    Returns:
        How many changed (those already in ``state`` for the same reason and failed ones do not).

    Raises:
        StoreError: the round is merged, or the only rewrite has changed since or is being checked right now.
    """
    if state not in OPEN:
        raise UsageError(f"a rewrite can be accepted, rejected or proposed, not {state!r}")
    with _review(project, round) as (db, batch):
        changed = 0
        for key in keys:
            now = journal.current(db, round, key)
            try:
                _refuse_unseen(db, now, key, (seen or {}).get(key))
                journal.refuse_unchecked(db, now)
            except StoreError:
                if len(keys) == 1:
                    raise
                continue
            if now["state"] in OPEN and (now["state"], now["reason"]) != (state, reason):
                journal.enter(db, batch, now, Change(round, key, source, state, reason))
                changed += 1
        return changed


def _refuse_unseen(db: sqlite3.Connection, now: sqlite3.Row, key: Key, seen: ReviewedVersion | None) -> None:
    if seen is None or (now["state"] == seen.state and seen.messages in (None, now["messages"])):
        return
    last = db.execute(
        "SELECT source FROM decision WHERE round=? AND sample_id=? AND axis=? ORDER BY id DESC LIMIT 1",
        (now["round"], *key),
    ).fetchone()
    what = f"is {now['state']} now" if now["state"] != seen.state else "has another text now"
    by = f" (last changed by: {last['source']})" if last else ""
    raise StoreError(f"this rewrite changed in the meantime: it {what}{by}. Nothing was changed; look again.")


def decide_open(project: Path, round: int, which: str, source: str) -> dict[str, int]:
    """Decide every rewrite of ``round`` that is still proposed, as one batch.

    ``which``: ``improved`` accepts those whose signals are better and rejects the rest with the verdict as the reason;
    ``all`` accepts all; ``none`` rejects all.

    Returns:
        Counts of accepted and rejected.
    """
    if which not in ("improved", "all", "none"):
        raise UsageError(f"--accept takes improved, all or none, not {which!r}")
    counts = {"accepted": 0, "rejected": 0}
    with _review(project, round) as (db, batch):
        for now in db.execute("SELECT * FROM rewrite WHERE round=? AND state='proposed'", (round,)).fetchall():
            good = which == "all" or (which == "improved" and bool(now["improved"]))
            state = "accepted" if good else "rejected"
            reason = None if good else (now["verdict"] if which == "improved" else "rejected in a batch")
            key = (now["sample_id"], now["axis"])
            journal.enter(db, batch, now, Change(round, key, source, state, reason))
            counts[state] += 1
    return counts


def edit(
    project: Path,
    round: int,
    key: Key,
    prompt: str,
    response: str,
    seen: ReviewedVersion | None = None,
    source: str = "app",
) -> bool:
    """Put a person's text in place of the teacher's. The verdict was about the old one: verify gives a new one.

    Returns:
        Whether anything changed.

    Raises:
        UsageError: a text is empty.
        StoreError: it changed meanwhile, has no text to edit, is merged, or is being written or checked.
    """
    for name, text in (("prompt", prompt), ("response", response)):
        if not text.strip():
            raise UsageError(f"the {name} is empty; a sample needs both a prompt and a response.")
    with _review(project, round) as (db, batch):
        now = journal.current(db, round, key)
        _refuse_unseen(db, now, key, seen)
        if now["state"] not in OPEN or now["messages"] is None:
            raise StoreError(f"a rewrite that is {now['state']} has no text to edit.")
        journal.refuse_busy(db, round)
        messages = with_exchange(now["messages"], prompt, response)
        if messages == now["messages"]:
            return False
        journal.enter(db, batch, now, Change(round, key, source, messages=messages))
        return True


def with_exchange(messages: str, prompt: str, response: str) -> str:
    """A conversation (canonical JSON) with another last exchange."""
    turns = json.loads(messages)
    turns[-2:] = [["user", prompt], ["assistant", response]]
    return json.dumps(turns, ensure_ascii=False, separators=(",", ":"))


def annotate(project: Path, round: int, key: Key, note: str) -> bool:
    """Put a person's remark beside a rewrite, in place of the one before; an empty one wipes it off.

    Returns:
        Whether anything changed.
    """
    with _review(project, round) as (db, batch):
        now = journal.current(db, round, key)
        if (now["note"] or "") == note:
            return False
        journal.enter(db, batch, now, Change(round, key, "app", note=note))
        return True


def send_back(
    project: Path,
    round: int,
    keys: Sequence[Key],
    seen: Mapping[Key, ReviewedVersion] | None = None,
    source: str = "app",
) -> int:
    """Have the teacher write rewrites again: they wait for the rewrite stage, which the next run begins with.

    Returns:
        How many are sent back; failed ones may be, those not written yet are not.

    Raises:
        StoreError: the round is merged, its rewrites are being written or checked, or the only one changed meanwhile.
    """
    with _review(project, round) as (db, batch):
        journal.refuse_busy(db, round)
        sent = 0
        for key in keys:
            now = journal.current(db, round, key)
            try:
                _refuse_unseen(db, now, key, (seen or {}).get(key))
            except StoreError:
                if len(keys) == 1:
                    raise
                continue
            if now["state"] in (*OPEN, "failed"):
                journal.enter(db, batch, now, Change(round, key, source, "owed"))
                sent += 1
        return sent


def undo(project: Path, round: int | None = None) -> UndoResult:
    """Take the newest batch that stands back, of ``round`` or of any round that is not merged."""
    return _step(project, round, journal.take_back)


def redo(project: Path, round: int | None = None) -> UndoResult:
    """Do again what was undone last, unless something was decided since."""
    return _step(project, round, journal.do_again)


def _step(project: Path, round: int | None, how: Callable[[sqlite3.Connection, int | None], UndoResult]) -> UndoResult:
    db = writer(project, durable=True)
    try:
        with transaction(db):
            return how(db, round)
    finally:
        db.close()
