"""Flags samples that came before there were flags, page by page; new ones are flagged as they are written.

``meta`` says below which place samples are still to be looked at: killed anywhere, it goes on there.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from engine.store.conversation import load_messages
from engine.store.database_file import transaction
from engine.store.lock_wait import outlasting
from engine.store.read import IN_ROUND

UNREAD = "injection_unread"
"""The key in ``meta``: the place behind the last sample that was not looked at."""
PAGE = 500
_PAGE = "SELECT seq, messages FROM sample WHERE seq<? ORDER BY seq DESC LIMIT ?"


class Flagged(NamedTuple):
    """How many samples were looked at, and how many of them are flagged."""

    read: int
    flagged: int


def catch_up(db: sqlite3.Connection) -> Flagged:
    """Look at all samples that are left, from the last place down."""
    if not _unread(db):
        return Flagged(0, 0)
    from engine.injection.detect import suspect  # its patterns take long to compile, and the app only counts

    read = flagged = 0
    while (end := _unread(db)) > 0:
        page = db.execute(_PAGE, (end, PAGE)).fetchall()
        found = [(why, seq) for seq, text in page if (why := suspect(load_messages(text)))]
        _save(db, found, page[-1][0] if page else 0)
        read, flagged = read + len(page), flagged + len(found)
    return Flagged(read, flagged)


def _unread(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT value FROM meta WHERE key=?", (UNREAD,)).fetchone()
    return int(row[0]) if row else 0


@outlasting
def _save(db: sqlite3.Connection, found: list[tuple[str, int]], end: int) -> None:
    with transaction(db):
        db.executemany("UPDATE sample SET injection=? WHERE seq=?", found)
        db.execute("UPDATE meta SET value=? WHERE key=?", (str(end), UNREAD))


def count(db: sqlite3.Connection, round: int) -> int:
    """How many samples of a round's dataset are flagged."""
    sql = f"SELECT count(*) FROM sample WHERE injection<>'' AND {IN_ROUND}"  # noqa: S608
    return int(db.execute(sql, {"round": round}).fetchone()[0])
