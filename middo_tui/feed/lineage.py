"""Where a sample comes from and what became of it: its family by parent, with rewrites, decisions and signals.

A rewrite never changes a sample: it makes a new one. For complexity and quality that one takes the old one's place; for
diversity the old one stays and the new one was only inspired by it. What was tried and came to nothing is part of the
story. Six queries per family, whatever its size. For threads.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from engine.store import read
from engine.store.connect import reader
from engine.store.rows import AXES, Message, load_messages
from middo_tui.terminal import guard
from middo_tui.text.word_diff import Part, diff

SIGNALS = ("loss_before", "loss_after", "similarity", "quality", "flaw")
MOST = 400
"""Members of a family that are read; a chain has one per round."""
DEEPEST = 200
FOUND = 60
TEXT_LIMIT = 300
TURN_LIMIT = 20_000
POLICY = "policy"
ENDED = ("accepted", "rejected")


class Signals(Struct, frozen=True):
    """What was measured of a sample in one round; None where it was not."""

    round: int
    loss_before: float | None
    loss_after: float | None
    similarity: float | None
    quality: float | None
    flaw: float | None = None


class Attempt(Struct, frozen=True):
    """One rewrite of ``sample``. ``by``: app, command line or policy, with ``at`` (None for a policy), once decided.

    ``reason`` is why it was refused or failed, ``note`` a person's remark; ``measured`` are the rewrite's own signals.
    """

    round: int
    sample: int
    axis: str
    state: str
    reason: str
    verdict: str
    note: str
    edited: bool
    by: str
    at: float | None
    measured: Signals
    calls: int
    written: bool


class Version(Struct, frozen=True):
    """One sample of the family. ``made_by``: the rewrite that it is; ``tried``: rewrites of it that made no sample.

    ``depth``: rewrites between it and the first one. ``text``: how its prompt begins, clean; ``hidden``: characters in
    the whole conversation that could not be seen.
    """

    id: int
    seq: int
    parent: int | None
    axis: str
    born: int
    retired: int | None
    depth: int
    text: str
    hidden: int
    signals: tuple[Signals, ...]
    made_by: Attempt | None
    tried: tuple[Attempt, ...]
    replaced: bool
    why_retired: str = ""


class Family(Struct, frozen=True):
    """``versions``: parents before their children, each child with its own behind it. ``chosen``: who was asked for."""

    chosen: int
    versions: tuple[Version, ...]
    cut: bool = False

    def at(self, id: int | None) -> Version | None:
        """One member."""
        return next((version for version in self.versions if version.id == id), None)


class Start(Struct, frozen=True):
    """A family to begin with: its first sample, rewrites in a row, samples in all, how the prompt begins."""

    id: int
    seq: int
    longest: int
    versions: int
    text: str


class Section(Struct, frozen=True):
    """One turn of a conversation against the same turn of another; ``cut``: it goes on beyond what was compared."""

    role: str
    parts: tuple[Part, ...]
    cut: bool = False


def family(project: Path, id: int) -> Family | None:
    """Everyone who descends from the first ancestor of sample ``id``; None: there is no such sample.

    Raises:
        StoreError: the store cannot be read.
    """
    db = reader(project)
    try:
        db.execute("BEGIN")
        return _family(db, id)
    finally:
        db.close()


def _family(db: sqlite3.Connection, id: int) -> Family | None:
    root = db.execute(
        "WITH RECURSIVE up(id, parent, n) AS (SELECT id, parent_id, 0 FROM sample WHERE id=? UNION ALL"
        " SELECT s.id, s.parent_id, n + 1 FROM up JOIN sample s ON s.id = up.parent WHERE n < ?)"
        " SELECT id FROM up ORDER BY n DESC LIMIT 1",
        (id, DEEPEST),
    ).fetchone()
    if root is None:
        return None
    found = db.execute(
        "WITH RECURSIVE down(id, depth) AS (VALUES (?, 0) UNION ALL"
        " SELECT s.id, depth + 1 FROM down JOIN sample s ON s.parent_id = down.id WHERE depth < ?)"
        " SELECT s.id, s.seq, s.parent_id, s.axis, s.born_round, d.round AS retired, s.messages, down.depth"
        " FROM down JOIN sample s ON s.id = down.id LEFT JOIN departure d ON d.sample_id = s.id LIMIT ?",
        (root[0], DEEPEST, MOST + 1),
    ).fetchall()
    cut = len(found) > MOST
    rows = {row["id"]: row for row in found[:MOST]}
    signals, attempts = _signals(db, rows), _attempts(db, rows)
    why = read.why_retired(db, rows)
    ordered = _ordered(rows, root[0])
    versions = [_version(rows, row, signals, attempts, why.get(row["id"], "")) for row in ordered]
    return Family(id, tuple(versions), cut)


def _ordered(rows: Mapping[int, sqlite3.Row], root: int) -> list[sqlite3.Row]:
    """Depth first, so that every branch stays together."""
    children: dict[int, list[sqlite3.Row]] = {}
    for row in rows.values():
        if row["id"] != root:
            children.setdefault(row["parent_id"], []).append(row)
    out, stack = [], [rows[root]]
    while stack:
        out.append(stack.pop())
        mine = children.get(out[-1]["id"], [])
        stack += sorted(mine, key=lambda row: (row["born_round"], _rank(row["axis"]), row["seq"]), reverse=True)
    return out


def _rank(axis: str | None) -> int:
    return AXES.index(axis) if axis in AXES else len(AXES)


def _version(
    rows: Mapping[int, sqlite3.Row],
    row: sqlite3.Row,
    signals: Mapping[int, list[Signals]],
    attempts: Mapping[int, list[Attempt]],
    redundant: str,
) -> Version:
    id, parent, axis, born = row["id"], row["parent_id"], row["axis"] or "", row["born_round"]
    messages = load_messages(row["messages"])
    prompt = next((m.content for m in reversed(messages) if m.role == "user"), "")
    mine = [(one["axis"], one["born_round"]) for one in rows.values() if one["parent_id"] == id]
    made = [one for one in attempts.get(parent, []) if (one.axis, one.round) == (axis, born - 1)]
    tried = [one for one in attempts.get(id, []) if one.state != "accepted" or (one.axis, one.round + 1) not in mine]
    return Version(
        id=id,
        seq=row["seq"],
        parent=parent,
        axis=guard.one_line(axis, 20),
        born=born,
        retired=row["retired"],
        depth=row["depth"],
        text=guard.one_line(prompt.strip(), TEXT_LIMIT),
        hidden=sum(guard.clean(message.content).hidden for message in messages),
        signals=tuple(signals.get(id, ())),
        made_by=made[0] if made else None,
        tried=tuple(tried),
        replaced=any(axis != "diversity" and born == row["retired"] for axis, born in mine),
        why_retired=redundant,
    )


def _signals(db: sqlite3.Connection, ids: Iterable[int]) -> dict[int, list[Signals]]:
    out: dict[int, list[Signals]] = {}
    found = db.execute(
        f"SELECT sample_id, round, {', '.join(SIGNALS)} FROM signal WHERE round IN (SELECT round FROM round)"  # noqa: S608
        " AND sample_id IN (SELECT value FROM json_each(?)) ORDER BY round",
        (json.dumps(list(ids)),),
    )
    for row in found:
        out.setdefault(row[0], []).append(Signals(*row[1:]))
    return out


def _attempts(db: sqlite3.Connection, ids: Iterable[int]) -> dict[int, list[Attempt]]:
    """Every rewrite of the samples, by sample, oldest first."""
    asked = json.dumps(list(ids))
    who: dict[tuple[int, int, str], tuple[str, float]] = {}
    for row in db.execute(
        "SELECT round, sample_id, axis, source, at FROM decision WHERE undone=0 AND before<>after"
        " AND after IN ('accepted', 'rejected') AND sample_id IN (SELECT value FROM json_each(?)) ORDER BY id",
        (asked,),
    ):
        who[row[0], row[1], row[2]] = (guard.one_line(row[3], 40), row[4])
    out: dict[int, list[Attempt]] = {}
    for row in db.execute(
        "SELECT * FROM rewrite WHERE sample_id IN (SELECT value FROM json_each(?)) ORDER BY round, axis", (asked,)
    ):
        decided = row["state"] in ENDED
        by, at = who.get((row["round"], row["sample_id"], row["axis"]), (POLICY, None)) if decided else ("", None)
        out.setdefault(row["sample_id"], []).append(_attempt(row, by, at))
    return out


def _attempt(row: sqlite3.Row, by: str, at: float | None) -> Attempt:
    def said(name: str) -> str:
        return guard.one_line(row[name] or "", TEXT_LIMIT)

    new = (row[f"new_{name}"] for name in SIGNALS)
    return Attempt(
        round=row["round"],
        sample=row["sample_id"],
        axis=said("axis"),
        state=said("state"),
        reason=said("reason"),
        verdict=said("verdict"),
        note=said("note"),
        edited=row["original"] is not None,
        by=by,
        at=at,
        measured=Signals(row["round"], *new),
        calls=row["attempts"] + row["answer_attempts"],
        written=row["messages"] is not None,
    )


# ------------------------------------------------------------------------------------------ where to begin


def most_changed(project: Path) -> tuple[Start, ...]:
    """The families with the most rewrites in a row, then with the most samples.

    Raises:
        StoreError: the store cannot be read.
    """
    db = reader(project)
    try:
        found = db.execute(
            "WITH RECURSIVE chain(root, id, depth) AS (SELECT p.id, p.id, 0 FROM sample p WHERE p.parent_id IS NULL"
            " AND p.id IN (SELECT parent_id FROM sample WHERE parent_id IS NOT NULL) UNION ALL"
            " SELECT root, s.id, depth + 1 FROM chain JOIN sample s ON s.parent_id = chain.id WHERE depth < ?),"
            " family AS (SELECT root, max(depth) AS longest, count(*) AS versions FROM chain GROUP BY root"
            " ORDER BY longest DESC, versions DESC, root LIMIT ?)"
            " SELECT s.id, s.seq, longest, versions, messages FROM family JOIN sample s ON s.id = root"
            " ORDER BY longest DESC, versions DESC, s.seq",
            (DEEPEST, FOUND),
        )
        return tuple(_start(row) for row in found)
    finally:
        db.close()


def search(project: Path, typed: str) -> tuple[Start, ...]:
    """Samples by their place (``#120`` or ``120``), by their id, or by words in their text, best first.

    Raises:
        StoreError: the store cannot be read.
    """
    number = typed.strip().removeprefix("#").replace(",", "")
    db = reader(project)
    try:
        columns = "s.id, s.seq, 0 AS longest, 0 AS versions, s.messages"
        if number.isdecimal() and int(number) < 1 << 63:
            found = db.execute(f"SELECT {columns} FROM sample s WHERE id=? OR seq=?", (int(number),) * 2)  # noqa: S608
        else:
            words = " ".join('"' + word.replace('"', '""') + '"' for word in typed.replace("\0", " ").split())
            if not words:
                return ()
            found = db.execute(
                f"SELECT {columns} FROM sample_fts f JOIN sample s ON s.id = f.rowid"  # noqa: S608
                " WHERE sample_fts MATCH ? ORDER BY rank LIMIT ?",
                (words, FOUND),
            )
        return tuple(_start(row) for row in found)
    finally:
        db.close()


def _start(row: sqlite3.Row) -> Start:
    messages = load_messages(row["messages"])
    prompt = next((m.content for m in reversed(messages) if m.role == "user"), "")
    return Start(row["id"], row["seq"], row["longest"], row["versions"], guard.one_line(prompt.strip(), TEXT_LIMIT))


# ------------------------------------------------------------------------------------------------ the texts


def compared(project: Path, id: int, attempt: Attempt | None = None, heir: int | None = None) -> tuple[Section, ...]:
    """A version against its parent (alone when it has none), or what ``attempt`` made of it against it, turn by turn.

    ``heir``: the version that stands beside one without a parent.

    Raises:
        StoreError: the store cannot be read.
    """
    db = reader(project)
    try:
        own = db.execute("SELECT messages, parent_id FROM sample WHERE id=?", (id,)).fetchone()
        if own is None:
            return ()
        if attempt is not None:
            made = db.execute(
                "SELECT messages FROM rewrite WHERE round=? AND sample_id=? AND axis=?",
                (attempt.round, id, attempt.axis),
            ).fetchone()
            old, new = own["messages"], made["messages"] if made else None
        else:
            parent = db.execute("SELECT messages FROM sample WHERE id=?", (own["parent_id"],)).fetchone()
            after = (
                db.execute("SELECT messages FROM sample WHERE id=?", (heir,)).fetchone() if heir is not None else None
            )
            old = parent["messages"] if parent else own["messages"]
            new = after["messages"] if after and not parent else own["messages"]
    finally:
        db.close()
    return sections(load_messages(old), load_messages(new)) if new is not None else ()


def sections(old: Sequence[Message], new: Sequence[Message]) -> tuple[Section, ...]:
    """Turn by turn; turns that only one of them has are wholly old or new."""
    out = []
    for at in range(max(len(old), len(new))):
        role = (new[at] if at < len(new) else old[at]).role
        was, is_ = (turns[at].content if at < len(turns) else "" for turns in (old, new))
        parts = diff(guard.clean(was[:TURN_LIMIT]).text, guard.clean(is_[:TURN_LIMIT]).text)
        out.append(Section(guard.one_line(role, 20), parts, max(len(was), len(is_)) > TURN_LIMIT))
    return tuple(out)
