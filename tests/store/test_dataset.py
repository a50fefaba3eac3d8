"""A dataset that is read on demand is the dataset that is read at once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from engine.store import connect, read, write
from engine.store.dataset import PAGE, Dataset
from engine.store.rows import Message, Sample, content_id
from engine.store.schema import migrate

COUNT = PAGE * 2 + 7


@pytest.fixture
def db(tmp_path: Path) -> sqlite3.Connection:
    """A dataset over several pages, of which every seventh sample has left by round 1."""
    migrate(tmp_path, create=True)
    db = connect.writer(tmp_path)
    chats = [(Message("user", f"say {i}"), Message("assistant", f"word {i}")) for i in range(COUNT)]
    samples = [
        Sample(content_id(chat), chat, seq=COUNT - i, retired_round=None if i % 7 else 1)
        for i, chat in enumerate(chats)
    ]
    with connect.transaction(db):
        write.add_samples(db, samples)
    return db


@pytest.mark.parametrize("round", [0, 1])
def test_it_holds_what_the_round_holds_in_order(db: sqlite3.Connection, round: int) -> None:
    whole, lazy = read.dataset(db, round), Dataset(db, round)
    assert len(lazy) == len(whole) == (COUNT if round == 0 else COUNT - len(range(0, COUNT, 7)))
    assert list(lazy) == whole
    assert [lazy[0], lazy[-1], lazy[PAGE]] == [whole[0], whole[-1], whole[PAGE]]
    assert lazy[3 : PAGE + 9] == whole[3 : PAGE + 9]
    assert lazy.take([s.id for s in whole[::-1]]) == whole[::-1]


def test_reading_in_order_is_a_query_per_page(db: sqlite3.Connection) -> None:
    lazy = Dataset(db, 0)
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    assert sum(1 for _ in lazy) == COUNT
    assert len(asked) == 3


def test_an_empty_dataset_and_a_place_beyond_its_end(db: sqlite3.Connection) -> None:
    with pytest.raises(IndexError):
        Dataset(db, 0)[COUNT]
    db.execute("DELETE FROM sample")
    assert list(Dataset(db, 0)) == []
