"""The full-text index of samples. It is updated later in small transactions, so that a merge stays short.

Triggers note what is to be indexed (``engine.store.schema``); ``index`` indexes a part of it, in a transaction of its
own. Killed anywhere it goes on: the worker does a part whenever it looks after its child, and who imports does all at
once.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from engine.store.database_file import transaction
from engine.store.lock_wait import outlasting

if TYPE_CHECKING:
    from engine.files.progress import Seen

COMES = (
    "CREATE TRIGGER sample_comes AFTER INSERT ON sample BEGIN"
    " INSERT INTO unindexed (id) SELECT new.id"
    " WHERE NOT EXISTS (SELECT 1 FROM unlisted WHERE id=new.id AND messages=new.messages);"
    " DELETE FROM unlisted WHERE id=new.id AND messages=new.messages; END"
)
GOES = (
    "CREATE TRIGGER sample_goes AFTER DELETE ON sample BEGIN"
    " INSERT INTO unlisted (id, messages) SELECT old.id, old.messages"
    " WHERE NOT EXISTS (SELECT 1 FROM unindexed WHERE id=old.id);"
    " DELETE FROM unindexed WHERE id=old.id; END"
)
# The migration m016_index_later. To be indexed: the ids whose words are not in sample_fts yet, and the conversations of
# samples that are gone while their words still are. An id that leaves and comes back the same is not among them.
INDEX_LATER = (
    "DROP TRIGGER sample_fts_add",
    "DROP TRIGGER sample_fts_drop",
    "CREATE TABLE unindexed (id INTEGER PRIMARY KEY)",
    "CREATE TABLE unlisted (id INTEGER PRIMARY KEY, messages TEXT NOT NULL)",
    COMES,
    GOES,
    # undone=1 of a round is looked for at every entry of a batch
    "CREATE INDEX decision_to_redo ON decision(round) WHERE undone=1",
)
PART = 500
"""Samples per transaction: a tenth of a second."""
_GONE = "SELECT id FROM unlisted ORDER BY id LIMIT :part"
_NEW = "SELECT id FROM unindexed ORDER BY id LIMIT :part"
# The words as they went in (see the view sample_text), else they would stay.
_TEXT = "(SELECT group_concat(json_extract(value, '$[1]'), char(10)) FROM json_each(unlisted.messages))"
_FORGET = (
    f"INSERT INTO sample_fts (sample_fts, rowid, text) SELECT 'delete', id, {_TEXT} FROM unlisted"  # noqa: S608
    f" WHERE id IN ({_GONE})"
)
_LEARN = f"INSERT INTO sample_fts (rowid, text) SELECT id, text FROM sample_text WHERE id IN ({_NEW})"  # noqa: S608


AT_ONCE = 10_000
"""Samples per step where nobody else waits."""
USUAL, HASHED = 1 << 20, 16 << 20
"""Bytes of words that are gathered before they are written: SQLite's own figure, and where many are indexed at once."""


def count_unindexed(db: sqlite3.Connection) -> int:
    """Number of samples that are not in the text index yet."""
    return int(db.execute("SELECT count(*) FROM unindexed").fetchone()[0])


def index(db: sqlite3.Connection, part: int = PART) -> bool:
    """Index one batch of pending samples. Returns whether more are pending."""
    values = {"part": part}
    for table, which, pay in (("unlisted", _GONE, _FORGET), ("unindexed", _NEW, _LEARN)):  # an id may be in both tables
        if db.execute(f"SELECT 1 FROM {table}").fetchone():  # noqa: S608
            _index_part(db, pay, f"DELETE FROM {table} WHERE id IN ({which})", values)  # noqa: S608
            return True
    return False


@outlasting
def _index_part(db: sqlite3.Connection, pay: str, settle: str, values: dict[str, int]) -> None:
    with transaction(db):
        db.execute(pay, values)
        db.execute(settle, values)


def catch_up(db: sqlite3.Connection, seen: Seen | None = None) -> None:
    """Index all pending samples, many at once and with few writes. ``seen`` hears which share of them is indexed."""
    pending = count_unindexed(db)
    many = pending > AT_ONCE
    if many:
        _gather(db, HASHED)
    done = 0
    while index(db, AT_ONCE):
        done += AT_ONCE
        if seen is not None:
            seen(min(1.0, done / max(pending, 1)))
    if many:
        _gather(db, USUAL)


def _gather(db: sqlite3.Connection, size: int) -> None:
    """How many bytes of words FTS5 keeps in memory before it writes them. Killed in between, it keeps more; no harm."""
    db.execute("INSERT INTO sample_fts (sample_fts, rank) VALUES ('hashsize', ?)", (size,))
