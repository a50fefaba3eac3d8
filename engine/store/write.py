"""The worker's writes: rows, progress, rounds, the merge. Each function is one transaction unless it says otherwise."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import astuple

from engine.store.connect import roomy, transaction
from engine.store.lock_wait import outlasting
from engine.store.rows import Row, Sample, dump_messages, unwritable


def upsert(db: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Insert or update rows of any row class, inside the caller's transaction. Only the class' own columns change."""
    by_kind: dict[type[Row], list[tuple[Any, ...]]] = {}
    for row in rows:
        by_kind.setdefault(type(row), []).append(astuple(row))
    for kind, values in by_kind.items():
        db.executemany(_upsert_sql(kind), values)


def _upsert_sql(kind: type[Row]) -> str:
    names, key = kind.__struct_fields__, kind.KEY
    changes = ", ".join(f"{n}=excluded.{n}" for n in names if n not in key)
    conflict = f"DO UPDATE SET {changes}" if changes else "DO NOTHING"
    return (
        f"INSERT INTO {kind.TABLE} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(key)}) {conflict}"
    )


STEPS_KEPT = 32
"""How many of a stage's last steps are kept with their times."""
_MOVE = (
    "UPDATE job SET done=:done, partial=:partial, moved=CASE WHEN done=:done AND partial=:partial THEN moved"
    " WHEN json_array_length(moved) > :kept THEN json_insert(json_remove(moved, '$[0]'), '$[#]', :now)"
    " ELSE json_insert(moved, '$[#]', :now) END WHERE round=:round AND stage=:stage"
)


@outlasting
def save(
    db: sqlite3.Connection, round: int, stage: str, rows: Sequence[Row], done: int | None, partial: float = 0.0
) -> None:
    """Rows and progress in one transaction; ``partial``: how much of the next unit is done, 0 to 1."""
    with transaction(db):
        upsert(db, rows)
        if done is not None:
            at = {"done": done, "partial": partial, "now": time.time(), "kept": STEPS_KEPT}
            db.execute(_MOVE, {**at, "round": round, "stage": stage})


def add_samples(db: sqlite3.Connection, samples: Iterable[Sample]) -> None:
    """Insert new samples, inside the caller's transaction."""
    from engine.injection.detect import suspect  # its patterns take long to compile, and the app adds none

    insert_samples(
        db,
        (
            (
                s.id,
                dump_messages(s.messages),
                s.seq,
                s.parent_id,
                s.axis,
                s.born_round,
                s.source,
                s.input_chars,
                s.extra,
                unwritable(s.messages),
                suspect(s.messages),
            )
            for s in sorted(samples, key=lambda sample: sample.seq)
        ),
    )


def insert_samples(db: sqlite3.Connection, values: Iterable[tuple[Any, ...]]) -> None:
    """Insert the columns of new samples, inside the caller's transaction. They come ordered by place, as they lie."""
    db.executemany(
        "INSERT INTO sample (id, messages, seq, parent_id, axis, born_round, source, input_chars, extra, unwritable,"
        " injection) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        values,
    )


def add_heldout(db: sqlite3.Connection, samples: Iterable[Sample], own_file: bool) -> None:
    """Append held-out samples, inside the caller's transaction. ``own_file``: they were never part of the dataset."""
    insert_heldout(
        db,
        ((dump_messages(s.messages), s.input_chars, s.source, None if own_file else s.seq, s.extra) for s in samples),
    )


def insert_heldout(db: sqlite3.Connection, values: Iterable[tuple[Any, ...]]) -> None:
    """Append held-out samples: messages, input_chars, source, seq (None: of a file of its own), extra."""
    db.executemany("INSERT INTO heldout (messages, input_chars, source, seq, extra) VALUES (?,?,?,?,?)", values)


@outlasting
def replace(
    db: sqlite3.Connection, round: int, born: Sequence[Sample], retired: Sequence[int], rows: Sequence[Row]
) -> None:
    """The merge of ``round``: undo what an earlier try did, then bear, retire and record in one transaction."""
    roomy(db)
    with transaction(db):
        for table in ("departure", "retirement"):
            db.execute(f"DELETE FROM {table} WHERE round=?", (round + 1,))  # noqa: S608
        db.execute("DELETE FROM sample WHERE born_round=?", (round + 1,))
        add_samples(db, born)
        db.executemany("INSERT INTO departure VALUES (?,?)", ((id, round + 1) for id in sorted(retired)))
        upsert(db, rows)


def event(
    db: sqlite3.Connection, text: str, level: str = "info", round: int | None = None, stage: str | None = None
) -> None:
    """Write a log line."""
    db.execute(
        "INSERT INTO event (at, level, round, stage, text) VALUES (?,?,?,?,?)",
        (time.time(), level, round, stage, text),
    )


@outlasting
def open_round(
    db: sqlite3.Connection, round: int, config: str, names: Sequence[str], closing: bool, stopped: str | None
) -> None:
    """Begin a round, or turn a closing round into an ordinary one: jobs that are there stay.

    Nothing is begun when the merge before it was undone a moment ago.
    """
    with transaction(db):
        review = db.execute("SELECT state FROM job WHERE round=? AND stage='review'", (round - 1,)).fetchone()
        if review is not None and review["state"] == "waiting":
            return
        db.execute(
            "INSERT INTO round (round, config, closing, started_at, stopped) VALUES (?,?,?,?,?)"
            " ON CONFLICT (round) DO UPDATE SET closing=excluded.closing, config=excluded.config, finished_at=NULL, "
            "stopped=NULL",
            (round, config, closing, time.time(), stopped),
        )
        db.executemany(
            "INSERT OR IGNORE INTO job (round, stage, state) VALUES (?,?,'pending')",
            ((round, name) for name in names),
        )


def finish_round(db: sqlite3.Connection, round: int) -> None:
    """Mark a round as finished; does nothing the second time."""
    db.execute("UPDATE round SET finished_at=? WHERE round=? AND finished_at IS NULL", (time.time(), round))


@outlasting
def start_job(db: sqlite3.Connection, round: int, stage: str, input_key: str, config: str) -> None:
    """pending, paused, failed, … → running. The first start time is kept over a resume."""
    with transaction(db):
        db.execute(
            "UPDATE job SET seconds=iif(started_at IS NULL, 0, seconds),"
            " cpu_seconds=iif(started_at IS NULL, 0, cpu_seconds), peak_bytes=iif(started_at IS NULL, NULL, peak_bytes)"
            " WHERE round=? AND stage=?",
            (round, stage),
        )
        db.execute(
            "UPDATE job SET state='running', started_at=coalesce(started_at, :now), finished_at=NULL, error=NULL, "
            "input_key=:key, moved=json_array(:now) WHERE round=:round AND stage=:stage",
            {"now": time.time(), "key": input_key, "round": round, "stage": stage},
        )
        db.execute("UPDATE round SET config=? WHERE round=?", (config, round))


@outlasting
def end_job(db: sqlite3.Connection, round: int, stage: str, state: str, error: str | None = None) -> None:
    """running → done, paused, waiting, failed, cancelled or interrupted, with its log line."""
    with transaction(db):
        db.execute(
            "UPDATE job SET state=?, finished_at=?, error=? WHERE round=? AND stage=?",
            (state, time.time(), error, round, stage),
        )
        if error:
            event(db, error, "warning" if state == "waiting" else "error", round, stage)


@outlasting
def add_cost(db: sqlite3.Connection, round: int, stage: str, seconds: float, cpu_seconds: float, peak: int) -> None:
    """Add what a stage has cost since it was last started. ``peak``: bytes."""
    with transaction(db):
        db.execute(
            "UPDATE job SET seconds=seconds+?, cpu_seconds=cpu_seconds+?, peak_bytes=max(coalesce(peak_bytes, 0), ?)"
            " WHERE round=? AND stage=?",
            (seconds, cpu_seconds, peak, round, stage),
        )


@outlasting
def set_total(db: sqlite3.Connection, round: int, stage: str, total: int, done: int) -> None:
    """Set a stage's total number of units and how many are done."""
    with transaction(db):
        db.execute(
            "UPDATE job SET total=?, done=?, partial=0, resumed_at=? WHERE round=? AND stage=?",
            (total, done, done, round, stage),
        )


def interrupt(db: sqlite3.Connection) -> list[tuple[int, str]]:
    """Jobs that a dead worker left running become interrupted; returns them."""
    left = [(r["round"], r["stage"]) for r in db.execute("SELECT round, stage FROM job WHERE state='running'")]
    for round, stage in left:
        end_job(db, round, stage, "interrupted")
        event(db, "interrupted: the worker had died; resuming from saved work", "warning", round, stage)
    return left


def withdraw(db: sqlite3.Connection, round: int, name: str) -> None:
    """Delete an artifact's row."""
    db.execute("DELETE FROM artifact WHERE round=? AND name=?", (round, name))


def drop_metrics_after(db: sqlite3.Connection, round: int, step: int) -> None:
    """Delete logged steps after the checkpoint's, which will be trained again."""
    db.execute("DELETE FROM metric WHERE round=? AND step>?", (round, step))


def register(db: sqlite3.Connection, pid: int, started: float, boot: str) -> None:
    """Register this process as the project's worker."""
    db.execute(
        "INSERT OR REPLACE INTO worker (id, pid, started, boot, heartbeat, child_pid) VALUES (1,?,?,?,?,NULL)",
        (pid, started, boot, time.monotonic()),
    )


def sign_off(db: sqlite3.Connection) -> None:
    """Remove the worker's row. A killed worker leaves its row behind."""
    db.execute("DELETE FROM worker WHERE id=1")


@outlasting
def gauges(db: sqlite3.Connection, readings: Sequence[tuple[object, ...]], keep: int) -> None:
    """Save machine readings (rows of ``gauge`` without id); keeps the newest ``keep``."""
    with transaction(db):
        db.executemany(
            "INSERT INTO gauge (at, device, util, memory_used, memory_total, power, temperature)"
            " VALUES (?,?,?,?,?,?,?)",
            readings,
        )
        db.execute("DELETE FROM gauge WHERE id <= (SELECT max(id) FROM gauge) - ?", (keep,))


def set_meta(db: sqlite3.Connection, **values: object) -> None:
    """Set facts about the project, as JSON values, inside the caller's transaction."""
    db.executemany(
        "INSERT INTO meta (key, value) VALUES (?,?) ON CONFLICT (key) DO UPDATE SET value=excluded.value",
        ((key, json.dumps(value)) for key, value in values.items()),
    )


# What a stage wrote, to reset it for a rerun. Later stages of the round are reset with it.
_WRITTEN: dict[str, tuple[str, ...]] = {
    "train": ("DELETE FROM metric WHERE round=?", "DELETE FROM artifact WHERE round=? AND name='checkpoint'"),
    "score": (
        "DELETE FROM signal WHERE round=?",
        "DELETE FROM cluster WHERE round=?",
        "DELETE FROM artifact WHERE round=? AND name IN ('embeddings', 'map', 'preview')",
    ),
    "judge": (
        "UPDATE signal SET prompt_clarity=NULL, prompt_completeness=NULL, prompt_factuality=NULL, "
        "response_clarity=NULL,"
        " response_completeness=NULL, response_factuality=NULL, quality=NULL, digit_mass=NULL, judge_error=NULL WHERE "
        "round=?",
        "DELETE FROM judge_check WHERE round=?",
        "DELETE FROM artifact WHERE round=? AND name='preview'",
    ),
    "evaluate": (
        "DELETE FROM score WHERE round=?",
        "DELETE FROM eval_item WHERE round=?",
        "DELETE FROM task_item WHERE round=?",
    ),
    "select": (
        "DELETE FROM selection WHERE round=?",
        "DELETE FROM threshold WHERE round=?",
        "DELETE FROM rewrite WHERE round=?",
        "DELETE FROM decision WHERE round=?",
        "DELETE FROM underway WHERE round=?",
        "DELETE FROM question WHERE round=?",
    ),
    "rewrite": (
        # What came of the answers so far: the stage begins with the first batch again.
        "DELETE FROM selection WHERE round=?1"
        " AND EXISTS (SELECT 1 FROM threshold WHERE threshold.round=?1 AND rule='evidence')"
        " AND (sample_id, axis) NOT IN"
        " (SELECT sample_id, axis FROM rewrite WHERE round=?1 AND NOT probe AND NOT batch)",
        "DELETE FROM rewrite WHERE round=? AND (probe OR batch)",
        "UPDATE threshold SET cut=9e999, detail=json_remove(detail, '$.stopped') WHERE round=? AND rule='evidence'",
        "UPDATE rewrite SET state='owed', attempts=0, answer_attempts=0, prompt=NULL, response=NULL, messages=NULL, "
        "raw=NULL, reason=NULL,"
        " tokens_in=0, tokens_out=0, cost=0, original=NULL, draw=0, draws=NULL WHERE round=?",
        "DELETE FROM underway WHERE round=?",
        "DELETE FROM question WHERE round=?",
    ),
    "verify": (
        "UPDATE rewrite SET new_loss_before=NULL, new_loss_after=NULL, new_similarity=NULL, new_quality=NULL,"
        " new_ratings=NULL, improved=NULL, verdict=NULL, on_topic=NULL, usual_similarity=NULL,"
        " new_end_of_turn=NULL, new_without_prompt=NULL, new_ifd=NULL, new_worst_window=NULL, new_window_begin=NULL,"
        " new_window_end=NULL, new_flaw=NULL, new_flaw_lens=NULL,"
        " state=CASE WHEN messages IS NULL THEN state ELSE 'proposed' END WHERE round=?",
    ),
    "review": (),
    "merge": (),
}


@outlasting
def reset(db: sqlite3.Connection, round: int, stages: Sequence[str]) -> None:
    """Delete what ``stages`` of ``round`` wrote and set their jobs to pending, in one transaction."""
    with transaction(db):
        for stage in stages:
            for statement in _WRITTEN[stage]:
                db.execute(statement, (round,))
            db.execute(
                "UPDATE job SET state='pending', done=0, total=0, started_at=NULL, finished_at=NULL, input_key=NULL, "
                "error=NULL"
                " WHERE round=? AND stage=?",
                (round, stage),
            )
