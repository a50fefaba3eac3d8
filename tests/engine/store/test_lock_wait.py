"""A lock of another program and a full disk: the run's connection outlasts both, everybody else gets a sentence."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import StoreBlocked, StoreError, WorkerGone
from engine.store import commands, connect, database_file, lock_wait, read, writable, write
from engine.store.rows import Losses, Message, Sample, content_id
from engine.store.schema import migrate

ROWS = [Losses(0, i, 1.0, 0.5, 3, 4) for i in range(400)]


class Watched:
    """Counts the waits; at the third it does what ends them."""

    def __init__(self, ends: Callable[[], object]) -> None:
        self.ends = ends
        self.seen: list[str] = []
        self.done: list[str] = []

    def waits(self, trouble: str) -> None:
        self.seen.append(trouble)
        if len(self.seen) == 3:
            self.ends()

    def over(self, trouble: str, seconds: float) -> None:
        self.done.append(trouble)


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_file, "LOOK_MS", 1)
    monkeypatch.setattr(database_file, "BUSY_MS", 1)
    monkeypatch.setattr(lock_wait, "PAUSE_S", 0.0)


def test_an_error_of_the_disk_is_not_laid_on_the_owner_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "middo.db").touch()
    opening, reading = sqlite3.OperationalError("unable to open database file"), sqlite3.OperationalError("disk I/O")
    reading.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
    assert "unable to open database file, although its permissions allow it" in said(opening, tmp_path)
    assert "the disk reports an error (disk I/O)" in said(reading, tmp_path)
    for error in (opening, reading):
        assert "Check the disk" in said(error, tmp_path)
        assert "owner" not in said(error, tmp_path)


def test_a_folder_that_cannot_be_written_to_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    opening = sqlite3.OperationalError("unable to open database file")
    for number, words in (
        (errno.EACCES, "(Permission denied). Check the folder's owner"),
        (errno.EIO, "Check the disk"),
    ):
        refusal = OSError(number, os.strerror(number))
        monkeypatch.setattr(database_file, "unwritable", lambda folder, refusal=refusal: refusal)
        assert words in said(opening, Path("p"))


def said(error: sqlite3.Error, folder: Path) -> str:
    return str(database_file.translated(error, folder / "middo.db"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    migrate(tmp_path, create=True)
    db = connect.writer(tmp_path)
    write.open_round(db, 0, "{}", ["score", "merge"], closing=False, stopped=None)
    db.close()
    commands.set_plan(tmp_path, 1)
    return tmp_path


@pytest.fixture
def other(project: Path) -> Iterator[sqlite3.Connection]:
    """Another program, which holds the write lock."""
    db = connect.writer(project)
    db.execute("BEGIN IMMEDIATE")
    yield db
    db.close()


@pytest.mark.parametrize(
    "asked",
    [
        lambda db: write.save(db, 0, "score", ROWS, 400),
        lambda db: write.event(db, "one statement"),
        lambda db: write.start_job(db, 0, "score", "key", "{}"),
        lambda db: write.gauges(db, [(1.0, "cpu", 0.5, 1, 2, None, None)], 5),
    ],
)
def test_the_run_waits_for_a_foreign_lock_and_goes_on(
    project: Path, other: sqlite3.Connection, asked: Callable[[sqlite3.Connection], None]
) -> None:
    watch = Watched(lambda: other.execute("ROLLBACK"))
    db = connect.patient(project, watch)
    asked(db)
    assert watch.seen == ["locked"] * 3
    assert watch.done == ["locked"]
    db.close()


def test_a_full_disk_is_outlasted_and_nothing_is_doubled_or_half_written(project: Path) -> None:
    def room(more: int) -> None:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count={pages + more}")

    watch = Watched(lambda: room(10_000))
    db = connect.patient(project, watch)
    room(1)
    write.save(db, 0, "score", ROWS, 400)
    assert watch.seen == ["full"] * 3
    assert read.rows(db, Losses, 0) == ROWS
    assert next(j.done for j in read.jobs(db) if j.stage == "score") == 400
    db.close()


def test_a_merge_is_done_whole_after_a_full_disk(project: Path) -> None:
    def chat(i: int) -> Sample:
        messages = (Message("user", f"say {i}"), Message("assistant", "word " * 400))
        return Sample(content_id(messages), messages, i, born_round=1)

    watch = Watched(lambda: db.execute("PRAGMA max_page_count=100000"))
    db = connect.patient(project, watch)
    db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0] + 3}")
    born = [chat(i) for i in range(60)]
    write.replace(db, 0, born, [], [])
    assert watch.done == ["full"]
    assert read.dataset(db, 1) == born
    db.close()


def test_who_watches_can_give_up(project: Path, other: sqlite3.Connection) -> None:
    def gone() -> None:
        raise WorkerGone("the folder is gone")

    db = connect.patient(project, Watched(gone))
    with pytest.raises(WorkerGone):
        write.save(db, 0, "score", ROWS, 400)
    db.close()


def test_a_person_gets_a_sentence_that_says_nothing_was_done(project: Path, other: sqlite3.Connection) -> None:
    with pytest.raises(StoreBlocked, match=r"locked by another program.*nothing was changed.*retry") as found:
        commands.set_want(project, "pause")
    assert found.value.trouble == "locked"
    other.execute("ROLLBACK")
    commands.set_want(project, "pause")


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("no such table: x"), ValueError("full"), OSError(28, "full")]
)
def test_other_errors_are_not_waited_for(error: Exception) -> None:
    assert lock_wait.trouble(error) is None


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO])
def test_a_disk_that_is_broken_is_not_taken_for_a_full_one(
    project: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """SQLite says SQLITE_IOERR_WRITE of both; waiting for space would never end."""
    refused = sqlite3.OperationalError("disk I/O error")
    refused.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE

    def work() -> None:
        raise refused

    monkeypatch.setattr(writable, "unwritable", lambda folder: OSError(number, os.strerror(number)))
    db = connect.patient(project, Watched(lambda: None))
    try:
        with pytest.raises(StoreError) as told:
            lock_wait.outlast(db, work)
    finally:
        db.close()
    assert str(told.value) == f"{project / 'middo.db'}: cannot write ({os.strerror(number)}). {writable.CHECK_DISK}"
    assert str(database_file.translated(refused, project / "middo.db")) == str(told.value)
