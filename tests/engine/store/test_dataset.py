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
    samples = [Sample(content_id(chat), chat, seq=COUNT - i) for i, chat in enumerate(chats)]
    with connect.transaction(db):
        write.add_samples(db, samples)
        db.executemany("INSERT INTO departure VALUES (?,1)", [(one.id,) for one in samples[::7]])
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


def test_the_size_of_every_round_is_told_without_looking_at_the_samples(db: sqlite3.Connection) -> None:
    children = [(sample(f"{born}-{left}", born), left) for born in (1, 2, 4) for left in (None, *range(born + 1, 7))]
    with connect.transaction(db):
        write.add_samples(db, [one for one, _ in children])
        db.executemany("INSERT INTO departure VALUES (?,?)", [(one.id, left) for one, left in children if left])
    steps: list[None] = []
    for round in range(8):
        holds = len(read.dataset(db, round))
        db.set_progress_handler(lambda: steps.append(None), 1)
        assert read.size(db, round) == holds
        db.set_progress_handler(None, 0)
    assert len(steps) < 8 * COUNT, "SQLite's steps: rounds 1 and on look at those that left, a seventh"


def sample(text: str, born: int) -> Sample:
    """A sample that came in a round."""
    chat = (Message("user", text), Message("assistant", text))
    id = content_id(chat)
    return Sample(id, chat, seq=COUNT + 1 + id % 10**9, born_round=born)


def test_an_empty_dataset_and_a_place_beyond_its_end(db: sqlite3.Connection) -> None:
    with pytest.raises(IndexError):
        Dataset(db, 0)[COUNT]
    db.execute("DELETE FROM sample")
    assert list(Dataset(db, 0)) == []
