"""What a merge and a batch of signals write, and how m034 brings samples and those that left into its tables."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.store import connect, read, search, write
from engine.store.rows import Losses, Message, Sample, content_id, dump_messages
from engine.store.schema import migrate, migrations

COUNT, BORN = 2000, 100


def sample(seq: int, born: int = 0) -> Sample:
    """A sample of about a kilobyte."""
    chat = (Message("user", f"ask {seq} " * 40), Message("assistant", f"said {seq} " * 60))
    return Sample(content_id(chat), chat, seq, born_round=born)


def test_a_merge_writes_the_pages_of_what_comes_and_few_others(tmp_path: Path) -> None:
    migrate(tmp_path, create=True)
    db = connect.writer(tmp_path)
    old = [sample(i) for i in range(COUNT)]
    with connect.transaction(db):
        write.add_samples(db, old)
    search.catch_up(db)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("PRAGMA wal_autocheckpoint=0")
    log, page = connect.database(tmp_path).with_name("middo.db-wal"), 4096
    write.replace(db, 0, [sample(COUNT + i, 1) for i in range(BORN)], [one.id for one in old[:: COUNT // BORN]], [])
    text = BORN * len(dump_messages(old[0].messages))
    assert log.stat().st_size < text + 40 * page, "before: a page for nearly each that came and each that left"
    assert read.size(db, 1) == COUNT
    assert [one.seq for one in read.dataset(db, 1)][-BORN:] == list(range(COUNT, COUNT + BORN))


def test_a_batch_of_losses_writes_no_index_of_what_comes_later(tmp_path: Path) -> None:
    migrate(tmp_path, create=True)
    db = connect.writer(tmp_path)
    rng = random.Random(0)
    rows = [Losses(0, rng.getrandbits(62), rng.random(), rng.random(), 30, 120) for _ in range(6 * COUNT)]
    write.save(db, 0, "score", rows[8:], None)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log, page = connect.database(tmp_path).with_name("middo.db-wal"), 4096
    write.save(db, 0, "score", rows[:8], None)
    assert log.stat().st_size <= (8 * 3 + 2) * page, "a row, its two losses; before: ten more"


def test_an_older_projects_samples_are_the_same_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [one.name for one in migrations._migrations]
    with monkeypatch.context() as older:
        older.setattr(migrations, "_migrations", migrations._migrations[: names.index("m034_by_place")])
        migrate(tmp_path, create=True)
    db = connect.writer(tmp_path)
    chats = [(Message("user", f"ask {i}"), Message("assistant", f"say {i}")) for i in range(6)]
    ids = [content_id(chat) for chat in chats]
    columns = "id, messages, seq, parent_id, axis, born_round, retired_round, source, input_chars, extra, unwritable"
    for i, (id, chat) in enumerate(zip(ids, chats, strict=True)):
        born, left = int(i > 3), {1: 1, 2: 2}.get(i)
        row = (id, dump_messages(chat), 9 - i, ids[1] if born else None, "quality" if born else None, born, left)
        db.execute(f"INSERT INTO sample ({columns}) VALUES ({','.join('?' * 11)})", (*row, f"f:{i}", i, "{}", "why"))
    search.catch_up(db)
    before = db.execute(f"SELECT {columns} FROM sample ORDER BY id").fetchall()
    migrate(tmp_path)
    joined = "sample LEFT JOIN departure ON sample_id=id ORDER BY id"
    after = db.execute(f"SELECT {columns.replace('retired_round', 'round')} FROM {joined}").fetchall()
    assert [tuple(row) for row in after] == [tuple(row) for row in before]
    assert [[one.seq for one in read.dataset(db, round)] for round in (0, 1, 2)] == [
        [6, 7, 8, 9],
        [4, 5, 6, 7, 9],
        [4, 5, 6, 9],
    ]
    found = db.execute("SELECT count(*) FROM sample_fts WHERE sample_fts MATCH 'say'").fetchone()[0]
    assert (found, search.count_unindexed(db)) == (6, 0)
    db.execute("DELETE FROM sample WHERE seq=9")
    search.catch_up(db)
    assert db.execute("SELECT count(*) FROM sample_fts WHERE sample_fts MATCH 'say'").fetchone()[0] == 5
