"""The journal of a review: what a person changed in a rewrite, what was there before, and how to take it back.

Four kinds of entry share the table ``decision``: a decision proper (the state changes), an edit (``messages`` is set),
a note (``note`` is set, '' when it was wiped off) and a sending back to the teacher (the state becomes ``owed``). A
batch is one keypress or one command, and one step of undo. Everything here runs inside the caller's transaction
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from engine.errors import StoreError

Key = tuple[int, str]  # sample id, axis
OPEN = ("proposed", "accepted", "rejected")  # states a person may change until the merge
MERGING = ("running", "done")
STANDS, UNDONE, DROPPED = 0, 1, 2  # decision.undone; what is dropped can be redone no more
# What belongs to a rewrite's text: an edit or a sending back takes it away, undo brings it back.
TEXT = (
    "prompt",
    "response",
    "messages",
    "raw",
    "original",
    "attempts",
    "answer_attempts",
    "draw",
    "draws",
    "new_loss_before",
    "new_loss_after",
    "new_similarity",
    "new_quality",
    "new_ratings",
    "improved",
    "verdict",
    "on_topic",
    "usual_similarity",
    *(f"new_{name}" for name in ("end_of_turn", "without_prompt", "ifd", "worst_window", "window_begin", "window_end")),
    "new_flaw",
    "new_flaw_lens",
)
VERDICT = TEXT[8:]
_NO_VERDICT: dict[str, object] = dict.fromkeys(VERDICT)


class Change(Struct, frozen=True):
    """What a person does to one rewrite. ``state`` None: it stays as it is."""

    round: int
    key: Key
    source: str
    state: str | None = None
    reason: str | None = None
    messages: str | None = None
    note: str | None = None


class UndoResult(Struct, frozen=True):
    """What an undo or a redo did: the rewrites it changed, and how many it left because they had changed since."""

    keys: tuple[Key, ...] = ()
    stayed: int = 0
    round: int | None = None
    source: str = ""
    kinds: frozenset[str] = field(default_factory=frozenset)


def refuse_merged(db: sqlite3.Connection, round: int) -> None:
    """Raises:
    StoreError: the merge of ``round`` has begun, so its decisions are history.
    """
    if db.execute("SELECT 1 FROM job WHERE round=? AND stage='merge' AND state IN (?,?)", (round, *MERGING)).fetchone():
        raise StoreError(f"round {round} is merged: its decisions are history and can only be looked at.")


def refuse_busy(db: sqlite3.Connection, round: int) -> None:
    """Raises:
    StoreError: rewrites of ``round`` are being written or checked, so their text cannot be changed now.
    """
    found = db.execute(
        "SELECT stage FROM job WHERE round=? AND stage IN ('rewrite','verify') AND state='running'", (round,)
    ).fetchone()
    if found:
        raise StoreError(f"{found['stage']} of round {round} is running. Edit texts when it has finished, or pause it.")


def refuse_unchecked(db: sqlite3.Connection, now: sqlite3.Row) -> None:
    """Raises:
    StoreError: the verify stage is about to say something of this very rewrite.
    """
    checking = db.execute(
        "SELECT 1 FROM job WHERE round=? AND stage='verify' AND state='running'", (now["round"],)
    ).fetchone()
    if now["verdict"] is None and checking:
        raise StoreError("verify is checking this rewrite now. Wait for its verdict, or pause the run.")


def current(db: sqlite3.Connection, round: int, key: Key) -> sqlite3.Row:
    """The rewrite as it is.

    Raises:
        StoreError: there is none.
    """
    now: sqlite3.Row | None = db.execute(
        "SELECT * FROM rewrite WHERE round=? AND sample_id=? AND axis=?", (round, *key)
    ).fetchone()
    if now is None:
        place = db.execute("SELECT seq FROM sample WHERE id=?", (key[0],)).fetchone()
        whom = f"#{place['seq']}" if place else f"a sample with the id {key[0]}, which is not in this project,"
        raise StoreError(f"round {round} has no rewrite of {whom} for {key[1]}")
    return now


def new_batch(db: sqlite3.Connection) -> int:
    """The number of the next step of undo."""
    return int(db.execute("SELECT coalesce(max(batch), 0) + 1 FROM decision").fetchone()[0])


def enter(db: sqlite3.Connection, batch: int, now: sqlite3.Row, change: Change) -> None:
    """Write ``change`` of the rewrite ``now`` into the journal and carry it out."""
    takes_text = change.messages is not None or change.state == "owed"
    # the number and no parameter: else SQLite does not see that it has an index for it
    db.execute(f"UPDATE decision SET undone=? WHERE round=? AND undone={UNDONE}", (DROPPED, change.round))  # noqa: S608
    db.execute(
        "INSERT INTO decision (batch, at, source, round, sample_id, axis, before, after, before_reason, reason,"
        " before_messages, messages, before_note, note, before_row) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            batch,
            time.time(),
            change.source,
            change.round,
            *change.key,
            now["state"],
            change.state or now["state"],
            now["reason"],
            change.reason if change.state else now["reason"],
            now["messages"] if takes_text else None,
            change.messages,
            now["note"],
            change.note,
            json.dumps({name: now[name] for name in TEXT}) if takes_text else None,
        ),
    )
    _carry_out(db, now, change)


def _carry_out(db: sqlite3.Connection, now: sqlite3.Row, change: Change) -> None:
    if change.messages is not None:
        _put_text(db, now, change.messages)
    elif change.state == "owed":
        _send_back(db, now)
    elif change.note is not None:
        _set(db, now, {"note": change.note or None})
    else:
        _set(db, now, {"state": change.state, "reason": change.reason})


def _set(db: sqlite3.Connection, which: sqlite3.Row, values: Mapping[str, object]) -> None:
    """Change columns of the rewrite that ``which`` (a row of it, or of the journal) names."""
    names = ", ".join(f"{name}=?" for name in values)
    db.execute(
        f"UPDATE rewrite SET {names} WHERE round=? AND sample_id=? AND axis=?",  # noqa: S608 - names of this file only
        (*values.values(), which["round"], which["sample_id"], which["axis"]),
    )


def _put_text(db: sqlite3.Connection, now: sqlite3.Row, messages: str) -> None:
    """A person's text in place of the teacher's. Its verdict is gone, so verify gives it one when it runs next."""
    turns = json.loads(messages)
    text = {"prompt": turns[-2][1], "response": turns[-1][1], "messages": messages}
    _set(db, now, {**text, "original": now["original"] or now["messages"], **_NO_VERDICT})
    reopen_stages(db, now["round"], ("verify",))


def _send_back(db: sqlite3.Connection, now: sqlite3.Row) -> None:
    """The teacher writes it again; its tokens and cost stay counted."""
    gone = dict.fromkeys(("prompt", "response", "messages", "raw", "reason", "original", "draws", *VERDICT))
    again = {"state": "owed", "attempts": 0, "answer_attempts": 0, "draw": _wave(db, now["round"])}
    _set(db, now, {**gone, **again})
    reopen_stages(db, now["round"], ("rewrite", "verify", "review"))


def _wave(db: sqlite3.Connection, round: int) -> int:
    """Where a rewrite that is sent back belongs: the newest wave while nothing of it was asked for, else a new one.

    A wave's number is above every batch and every wave there was, undone ones included: no reply is drawn twice.
    """
    newest, begun = db.execute(
        "SELECT draw, sum(state<>'owed' OR attempts>0) FROM rewrite WHERE round=? AND draw>0"
        " GROUP BY draw ORDER BY draw DESC LIMIT 1",
        (round,),
    ).fetchone() or (0, 1)
    if not begun:
        return int(newest)
    batches = db.execute("SELECT coalesce(max(batch), 0) FROM decision").fetchone()[0]
    draws = db.execute("SELECT coalesce(max(draw), 0) FROM rewrite").fetchone()[0]
    return max(int(batches), int(draws)) + 1


def reopen_stages(db: sqlite3.Connection, round: int, stages: Sequence[str]) -> None:
    """Stages of ``round`` that are done have something to do again. What waits for a person goes on waiting."""
    db.executemany(
        "UPDATE job SET state='pending', finished_at=NULL WHERE round=? AND stage=? AND state='done'",
        ((round, stage) for stage in stages),
    )


# ------------------------------------------------------------------------------------------------- undo and redo


def take_back(db: sqlite3.Connection, round: int | None) -> UndoResult:
    """Undo the newest batch that stands, of ``round`` or of any round that is not merged."""
    entries = _entries(db, "SELECT max(batch)", STANDS, round)
    done: list[Key] = []
    for entry in reversed(entries):
        now = current(db, entry["round"], _key(entry))
        if _as_left(entry, now):
            _restore(db, entry)
            done.append(_key(entry))
        db.execute("UPDATE decision SET undone=? WHERE id=?", (UNDONE, entry["id"]))
    if done and any(_kind(entry) in ("edit", "sent back") for entry in entries):
        _close_stages(db, entries[0]["round"])
    return _step(entries, done)


def _close_stages(db: sqlite3.Connection, round: int) -> None:
    """An edit or a rewrite that was sent back reopened stages. Once nothing is owed rewrite has nothing left to do, and
    once every rewrite that may be merged has a verdict again neither has verify.
    """
    owed = "state IN ('owed','prompted')"
    for stage, open_ in (
        ("rewrite", owed),
        ("verify", f"{owed} OR state IN ('proposed','accepted') AND verdict IS NULL"),
    ):
        db.execute(
            "UPDATE job SET state='done', finished_at=unixepoch() WHERE round=:round AND stage=:stage"  # noqa: S608
            " AND state='pending' AND started_at IS NOT NULL AND done=total"
            f" AND NOT EXISTS (SELECT 1 FROM rewrite WHERE round=:round AND ({open_}))",
            {"round": round, "stage": stage},
        )


def do_again(db: sqlite3.Connection, round: int | None) -> UndoResult:
    """Redo the batch that was undone last, if nothing was decided since."""
    entries = _entries(db, "SELECT min(batch)", UNDONE, round)
    done: list[Key] = []
    for entry in entries:
        now = current(db, entry["round"], _key(entry))
        if _as_before(entry, now):
            _carry_out(db, now, _change(entry))
            done.append(_key(entry))
        db.execute("UPDATE decision SET undone=? WHERE id=?", (STANDS, entry["id"]))
    return _step(entries, done)


def _entries(db: sqlite3.Connection, which: str, undone: int, round: int | None) -> list[sqlite3.Row]:
    """The entries of one batch, in order."""
    where = "undone=:undone AND (:round IS NULL OR round=:round) AND round NOT IN"
    where += " (SELECT round FROM job WHERE stage='merge' AND state IN ('running','done'))"
    values = {"undone": undone, "round": round}
    batch = db.execute(f"{which} FROM decision WHERE {where}", values).fetchone()[0]
    found = db.execute(f"SELECT * FROM decision WHERE batch=:batch AND {where} ORDER BY id", {**values, "batch": batch})  # noqa: S608
    entries = found.fetchall()
    if any(_kind(entry) in ("edit", "sent back") for entry in entries):
        refuse_busy(db, entries[0]["round"])
    return entries


def _key(entry: sqlite3.Row) -> Key:
    return entry["sample_id"], entry["axis"]


def _kind(entry: sqlite3.Row) -> str:
    """edit, sent back, note or decision."""
    if entry["messages"] is not None:
        return "edit"
    if entry["note"] is not None:
        return "note"
    return "sent back" if entry["after"] == "owed" else "decision"


def _as_left(entry: sqlite3.Row, now: sqlite3.Row) -> bool:
    """Whether the rewrite still is what this entry made of it; if not, there is nothing to take back."""
    kind = _kind(entry)
    if kind == "edit":
        return bool(now["messages"] == entry["messages"])
    if kind == "note":
        return bool((now["note"] or "") == entry["note"])
    # what was sent back may have been written and checked meanwhile, and that is what undo takes away
    return kind == "sent back" or (now["state"], now["reason"]) == (entry["after"], entry["reason"])


def _as_before(entry: sqlite3.Row, now: sqlite3.Row) -> bool:
    """Whether the rewrite still is what this entry changed when it was made."""
    if _kind(entry) == "note":
        return bool(now["note"] == entry["before_note"])
    text = entry["before_messages"] is None or now["messages"] == entry["before_messages"]
    return bool(text and now["state"] == entry["before"])


def _restore(db: sqlite3.Connection, entry: sqlite3.Row) -> None:
    if _kind(entry) == "note":
        _set(db, entry, {"note": entry["before_note"]})
        return
    text = json.loads(entry["before_row"]) if entry["before_row"] is not None else {}
    _set(db, entry, {"state": entry["before"], "reason": entry["before_reason"], **text})


def _change(entry: sqlite3.Row) -> Change:
    """The entry as a change, to be carried out once more."""
    state = None if _kind(entry) in ("edit", "note") else entry["after"]
    return Change(
        entry["round"], _key(entry), entry["source"], state, entry["reason"], entry["messages"], entry["note"]
    )


def _step(entries: Sequence[sqlite3.Row], done: Sequence[Key]) -> UndoResult:
    if not entries:
        return UndoResult()
    kinds = frozenset(_kind(entry) for entry in entries)
    return UndoResult(tuple(done), len(entries) - len(done), entries[0]["round"], entries[0]["source"], kinds)
