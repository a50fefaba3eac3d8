"""Undoing a merge: the store is as before it, until the next round has begun; a worker waits and then ends."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.loop import NAMES, Open
from engine.runtime import launch
from engine.runtime.worker import Supervisor
from engine.store import commands, read, write
from engine.store.connect import patient, writer
from engine.store.rows import AXES, Message, Retirement, Rewrite, Sample, content_id, dump_messages
from engine.store.schema import migrate
from engine.store.unmerge import undo_merge, undoable

NEVER = 1e12


def sample(text: str, seq: int, **more: object) -> Sample:
    messages = (Message("user", text), Message("assistant", f"Reply to {text}"))
    return Sample(content_id(messages), messages, seq=seq, **more)  # type: ignore[arg-type]


OLD = [sample(f"old {n}", n) for n in range(4)]
NEW = [sample(f"new {n}", 10 + n, parent_id=OLD[n].id, axis=AXES[n], born_round=1) for n in range(2)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Round 0 is decided: two rewrites are accepted, one is rejected."""
    migrate(tmp_path, create=True)
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    db = writer(tmp_path)
    write.add_samples(db, OLD)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    rows = [
        Rewrite(0, OLD[n].id, AXES[n], state, 1, messages=dump_messages(one.messages))
        for n, (one, state) in enumerate(zip([*NEW, NEW[0]], ("accepted", "accepted", "rejected"), strict=True))
    ]
    write.save(db, 0, "rewrite", rows, None)
    db.execute("UPDATE job SET state='done', finished_at=1 WHERE stage<>'merge'")
    db.close()
    commands.set_plan(tmp_path, 3)
    return tmp_path


def merge(project: Path) -> sqlite3.Connection:
    """As the merge stage does; the connection."""
    db = writer(project)
    gone = Retirement(OLD[3].id, 1, "near-duplicate", OLD[2].id)
    write.start_job(db, 0, "merge", "key", "{}")
    write.replace(db, 0, NEW, [OLD[0].id, OLD[3].id], [gone])
    write.end_job(db, 0, "merge", "done")
    write.finish_round(db, 0)
    return db


def content(db: sqlite3.Connection) -> list[str]:
    """What a merge changes, and the words to search for."""
    tables = ("sample ORDER BY id", "rewrite ORDER BY sample_id, axis", "departure", "retirement", "round")
    rows = [str(tuple(row)) for table in tables for row in db.execute(f"SELECT * FROM {table}")]
    found = db.execute("SELECT rowid FROM sample_fts WHERE sample_fts MATCH 'new OR old' ORDER BY rowid").fetchall()
    return [*rows, str([row[0] for row in found])]


def test_all_is_as_it_was_before_the_merge_and_can_be_merged_again(project: Path) -> None:
    db = writer(project)
    before = content(db)
    merge(project).close()
    after = content(db)
    assert after != before
    assert undo_merge(project, launch.alive) == 0
    states = dict(db.execute("SELECT stage, state FROM job WHERE stage IN ('review', 'merge')").fetchall())
    assert states == {"review": "waiting", "merge": "pending"}
    assert [event.text for event in read.events(db, 0, 9)] == [
        "the merge of round 0 was undone; its review decisions are kept"
    ]
    assert [line for line in content(db) if "{}" not in line] == [line for line in before if "{}" not in line]
    merge(project).close()
    assert content(db)[:-2] == after[:-2]
    db.close()


@pytest.mark.parametrize(("begun", "alive", "can"), [
    ("", False, True), ("", True, True),
    ("opened", False, True), ("opened", True, False),
    ("started", False, False), ("started", True, False),
])  # fmt: skip
def test_until_when(project: Path, begun: str, alive: bool, can: bool) -> None:
    db = merge(project)
    if begun:
        write.open_round(db, 1, "{}", NAMES, closing=False, stopped=None)
    if begun == "started":
        write.start_job(db, 1, "train", "key", "{}")
    assert undoable(db, alive) == (0 if can else None)
    if can:
        assert undo_merge(project, lambda worker: alive) == 0
        assert db.execute("SELECT count(*) FROM job WHERE round=1").fetchone()[0] == 0
        assert db.execute("SELECT want FROM plan").fetchone()[0] == ("pause" if alive else "run")
    else:
        with pytest.raises(UsageError, match="round 1 has started"):
            undo_merge(project, lambda worker: alive)
    db.close()


def test_without_a_merge_there_is_nothing_to_undo(project: Path) -> None:
    with pytest.raises(UsageError, match="no merge to undo"):
        undo_merge(project, launch.alive)


def test_a_worker_holds_after_a_merge_that_asked_for_it_and_ends_when_it_is_undone(project: Path) -> None:
    merge(project).close()
    db = patient(project, None)
    db.execute("INSERT INTO worker (id, pid, started, boot, heartbeat) VALUES (1, 1, 1, 'b', 1)")
    worker = Supervisor(project, db, lock=-1)
    assert worker.next_step() == Open(1, closing=False)
    assert not worker.holds(1)
    commands.set_plan(project, 3, hold_s=NEVER)
    assert worker.holds(1)
    assert db.execute("SELECT holds_until FROM worker").fetchone()[0] > time.time()
    commands.begin_now(project)
    assert not worker.holds(1)
    assert db.execute("SELECT holds_until FROM worker").fetchone()[0] is None
    commands.set_plan(project, 3, hold_s=NEVER)
    undo_merge(project, lambda one: True)
    assert worker.run() == "pause requested"
    assert db.execute("SELECT max(round) FROM job").fetchone()[0] == 0
    db.close()


def test_a_round_is_not_opened_behind_a_merge_that_was_undone_meanwhile(project: Path) -> None:
    db = merge(project)
    undo_merge(project, launch.alive)
    write.open_round(db, 1, "{}", NAMES, closing=False, stopped=None)
    assert db.execute("SELECT max(round) FROM job").fetchone()[0] == 0
    db.close()
