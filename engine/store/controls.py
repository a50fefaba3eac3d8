"""Controls of a round: what it would have brought with samples chosen at random, with what it selected left out, or
with its dataset as it was. Each is a project of its own in ``controls/``, whose scores are held against the round's.

Light imports only: ``status`` and the app read the results.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, ClassVar, Literal

from engine.store import paired_difference, read, teacher, write
from engine.store.connect import FILE, reader, transaction, writer
from engine.store.rows import Row

Kind = Literal["random", "drop", "none"]
KINDS: tuple[Kind, ...] = ("random", "drop", "none")
FOLDER = "controls"
CHANCE = 2.0
"""Standard errors of a difference that chance alone rarely exceeds (in one case of twenty)."""


class ControlArm(Row, frozen=True):
    """In a control's own store: it is the control ``kind`` of ``round``. ``origin`` tells which run of the round it was
    made from; ``plan`` (a JSON object) what its select stage needs to know of what the round selected.
    """

    TABLE: ClassVar[str] = "control_arm"
    KEY: ClassVar[tuple[str, ...]] = ("round",)
    round: int
    kind: str
    origin: str
    plan: str


class ControlScore(Row, frozen=True):
    """One figure of a control of ``round``: its ``value``, and ``ours``, both of the models trained on what came of the
    round. ``stderr``: standard error of the difference, item by item where it is ``paired``.
    """

    TABLE: ClassVar[str] = "control"
    KEY: ClassVar[tuple[str, ...]] = ("round", "kind", "task")
    round: int
    kind: str
    task: str
    value: float
    ours: float
    stderr: float | None
    paired: bool
    higher: bool
    n: int
    calls: int
    ours_calls: int

    @property
    def beyond(self) -> bool | None:
        """Whether the difference is larger than chance makes it; None: it cannot be told."""
        return None if self.stderr is None else abs(self.ours - self.value) > CHANCE * self.stderr


def folder(project: Path, round: int, kind: str) -> Path:
    """Where a control of ``round`` lies."""
    return project / FOLDER / f"round-{round}-{kind}"


def arm(db: sqlite3.Connection) -> ControlArm | None:
    """What this project is the control of; None: it is none."""
    row = db.execute("SELECT round, kind, origin, plan FROM control_arm").fetchone()
    return None if row is None else ControlArm(*row)


def origin(db: sqlite3.Connection, round: int) -> str:
    """What tells a run of ``round`` from another: when it selected and merged, as its jobs tell."""
    sql = (
        "SELECT group_concat(stage || ' ' || finished_at, ' ') FROM job WHERE round=? AND stage IN ('select', 'merge')"
    )
    return str(db.execute(sql, (round,)).fetchone()[0])


def results(db: sqlite3.Connection, round: int) -> list[ControlScore]:
    """The figures of the round's controls, by kind, the main one first; only those that the round's present figures
    were compared with.
    """
    ours = read.scores(db, round + 1)
    order = read.main_scores(read.asked_tasks(db, round + 1))
    found = [row for row in read.rows(db, ControlScore, round) if row.task in ours and ours[row.task].value == row.ours]
    places = {task: place for place, task in enumerate(order)}
    return sorted(found, key=lambda row: (KINDS.index(_kind(row)), places.get(row.task, len(order)), row.task))


def _kind(row: ControlScore) -> Kind:
    return next(kind for kind in KINDS if kind == row.kind)


def main_results(db: sqlite3.Connection, round: int) -> list[ControlScore]:
    """The main figure of each of the round's controls."""
    found: dict[str, ControlScore] = {}
    for row in results(db, round):
        found.setdefault(row.kind, row)
    return list(found.values())


BY_HAND = (
    "SELECT EXISTS (SELECT 1 FROM decision d JOIN rewrite r ON r.round=d.round AND r.sample_id=d.sample_id"
    " AND r.axis=d.axis WHERE d.round=? AND d.undone=0"
    " AND (r.original IS NOT NULL OR (r.state='accepted') <> coalesce(r.improved, 0)))"
)


def by_hand(db: sqlite3.Connection, round: int) -> bool:
    """Whether a person edited rewrites of the round, or decided otherwise than the signals would have."""
    return bool(db.execute(BY_HAND, (round,)).fetchone()[0])


def facts(db: sqlite3.Connection, round: int) -> list[dict[str, Any]]:
    """The figures for ``status --json``."""
    return [
        {
            "control": row.kind,
            "task": row.task,
            "value": row.value,
            "ours": row.ours,
            "difference": row.ours - row.value,
            "stderr": row.stderr,
            "paired": row.paired,
            "beyond_chance": row.beyond,
            "better": row.ours != row.value and (row.ours > row.value) == row.higher,
            "calls": row.calls,
            "ours_calls": row.ours_calls,
        }
        for row in results(db, round)
    ]


def compare(
    db: sqlite3.Connection, round: int, kind: str, other: sqlite3.Connection, other_round: int
) -> list[ControlScore]:
    """Hold the figures of the model after ``round`` against those of ``other_round`` in ``other``."""
    ours, theirs = read.scores(db, round + 1), read.scores(other, other_round)
    calls = [int(teacher.asked(store, round, judge=False)["calls"]) for store in (other, db)]
    out = []
    for task in sorted(ours.keys() & theirs.keys()):
        if not ours[task].comparable(theirs[task]):
            continue
        found = paired_difference.error(db, ours[task], other, theirs[task])
        error, (one, two) = found, (ours[task].stderr, theirs[task].stderr)
        if error is None and one is not None and two is not None:
            error = (one**2 + two**2) ** 0.5
        out.append(
            ControlScore(
                round=round,
                kind=kind,
                task=task,
                value=theirs[task].value,
                ours=ours[task].value,
                stderr=error,
                paired=found is not None,
                higher=ours[task].higher,
                n=ours[task].n,
                calls=0 if other is db else calls[0],
                ours_calls=calls[1],
            )
        )
    return out


def save(project: Path, rows: list[ControlScore]) -> None:
    """Keep the figures of one control instead of those that were there."""
    db = writer(project)
    try:
        with transaction(db):
            for row in rows:
                db.execute("DELETE FROM control WHERE round=? AND kind=?", (row.round, row.kind))
            write.upsert(db, rows)
    finally:
        db.close()


def report(control: Path) -> bool:
    """Write the figures of the control at ``control`` into its project's store; whether there were any to write.

    Raises:
        StoreError: a store cannot be read or written.
    """
    here = reader(control)
    try:
        made = arm(here)
        project = control.resolve().parent.parent
        if made is None or control.resolve() != folder(project, made.round, made.kind):
            return False
        if not (project / FILE).is_file():  # its project is gone: the copy is a project like others
            return False
        there = reader(project)
        try:
            same = origin(there, made.round) == made.origin
            rows = compare(there, made.round, made.kind, here, made.round + 1) if same else []
        finally:
            there.close()
        if rows:
            save(project, rows)
        return bool(rows)
    finally:
        here.close()
