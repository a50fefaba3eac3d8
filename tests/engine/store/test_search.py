"""The index of words follows the samples, part by part, and ends as if it had never lagged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from engine.store import connect, read, search, write
from engine.store.rows import Message, Sample, content_id
from engine.store.schema import migrate


def chat(word: str, seq: int, born: int = 0) -> Sample:
    messages = (Message("user", f"say {word}"), Message("assistant", word))
    return Sample(content_id(messages), messages, seq, born_round=born)


@pytest.fixture
def db(tmp_path: Path) -> sqlite3.Connection:
    migrate(tmp_path, create=True)
    db = connect.writer(tmp_path)
    with connect.transaction(db):
        write.add_samples(db, [chat(f"old{i}", i) for i in range(7)])
    search.catch_up(db)
    return db


def found(db: sqlite3.Connection, word: str) -> list[int]:
    return [row[0] for row in db.execute("SELECT rowid FROM sample_fts WHERE sample_fts MATCH ?", (word,))]


def test_what_a_merge_brings_is_indexed_after_it_in_parts(db: sqlite3.Connection) -> None:
    born = [chat(f"new{i}", 10 + i, 1) for i in range(5)]
    write.replace(db, 0, born, [], [])
    assert read.dataset(db, 1)[-5:] == born
    assert search.count_unindexed(db) == 5
    assert found(db, "new3") == []
    pending = []
    while search.index(db, part=2):
        pending.append(search.count_unindexed(db))
    assert pending == [3, 1, 0]
    assert [found(db, f"new{i}") for i in range(5)] == [[sample.id] for sample in born]


@pytest.mark.parametrize("parts", range(6))
def test_a_merge_done_again_in_the_middle_of_the_indexing_leaves_no_word_of_what_is_gone(
    db: sqlite3.Connection, parts: int
) -> None:
    write.replace(db, 0, [chat(f"new{i}", 10 + i, 1) for i in range(5)], [], [])
    for _ in range(parts):
        search.index(db, part=1)
    again = [chat(f"new{i}", 10 + i, 1) for i in (0, 1, 2)] + [chat("other", 13, 1)]
    write.replace(db, 0, again, [], [])
    search.catch_up(db)
    assert [bool(found(db, word)) for word in ("new0", "new2", "new3", "new4", "other")] == [True] * 2 + [False] * 2 + [
        True
    ]
    db.execute("INSERT INTO sample_fts (sample_fts) VALUES ('integrity-check')")
    assert len(found(db, "say")) == db.execute("SELECT count(*) FROM sample").fetchone()[0] == 11
    assert db.execute("SELECT count(*) FROM unlisted").fetchone()[0] == 0


def test_the_same_merge_again_owes_nothing_more(db: sqlite3.Connection) -> None:
    born = [chat(f"new{i}", 10 + i, 1) for i in range(5)]
    write.replace(db, 0, born, [], [])
    search.catch_up(db)
    write.replace(db, 0, born, [], [])
    assert search.count_unindexed(db) == 0
    assert not search.index(db)
    assert found(db, "new1") == [born[1].id]


def test_an_id_that_comes_back_with_other_words_is_found_by_those(db: sqlite3.Connection) -> None:
    old = chat("old0", 0)
    with connect.transaction(db):
        db.execute("DELETE FROM sample WHERE id=?", (old.id,))
        db.execute(
            "INSERT INTO sample (id, messages, seq, born_round) VALUES (?,?,0,0)",
            (old.id, '[["user","say"],["assistant","changed"]]'),
        )
    search.catch_up(db)
    assert found(db, "old0") == []
    assert found(db, "changed") == [old.id]
