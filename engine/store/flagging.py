"""Which samples are flagged as possible prompt injections: what the rules find, unless a person says it is none.

Samples are searched as they are written. When the rules of this version are newer than those that searched them, all
are searched again, page by page; ``meta`` says below which place they are still to be searched: killed anywhere, it
goes on there. What a person decided is a table of its own (``unflagged``), which no search touches.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from engine.injection import RULES_VERSION
from engine.plurals import counted
from engine.store.connect import writer
from engine.store.conversation import load_messages
from engine.store.database_file import transaction
from engine.store.lock_wait import outlasting
from engine.store.read import FLAGGED, IN_ROUND

RULES = "injection_rules"
"""The key in ``meta``: the version of the rules that samples were searched by."""
UNREAD = "injection_unread"
"""The key in ``meta``: the place behind the last sample that was not searched yet."""
PAGE = 500
_PAGE = "SELECT seq, messages, injection FROM sample WHERE seq<? ORDER BY seq DESC LIMIT ?"
_AMONG = "sample_id IN (SELECT value FROM json_each(:ids))"

Searched = Callable[[int, int], None]
"""Hears how many samples are searched, of how many."""


def _nobody(done: int, total: int) -> None:
    """For who does not ask."""


class Flagged(Struct, frozen=True):
    """What a search found: how many samples were ``read``, how many of them the rules find something in (``flagged``),
    in how many of these they did not before (``new``), and in how many they no longer do (``gone``).
    """

    read: int = 0
    flagged: int = 0
    new: int = 0
    gone: int = 0

    def __str__(self) -> str:
        """``600 samples searched for prompt injection by newer rules: 3 flagged (2 new, 1 no longer)``."""
        changed = f" ({self.new:,} new, {self.gone:,} no longer)" if self.new or self.gone else ""
        some = counted(self.read, "sample")
        return f"{some} searched for prompt injection by newer rules: {self.flagged:,} flagged{changed}"


def catch_up(db: sqlite3.Connection, searched: Searched = _nobody) -> Flagged:
    """Search all samples that newer rules have not seen, from the last place down. ``searched`` may raise."""
    _begin(db)
    end = _meta(db, UNREAD)
    if not end:
        return Flagged()
    from engine.injection.detect import suspect  # its patterns take long to compile

    total = int(db.execute("SELECT count(*) FROM sample WHERE seq<?", (end,)).fetchone()[0])
    read = flagged = new = gone = 0
    searched(0, total)
    while end > 0:
        page = db.execute(_PAGE, (end, PAGE)).fetchall()
        found = [(suspect(load_messages(text)), seq, before) for seq, text, before in page]
        end = page[-1][0] if page else 0
        _save(db, [(why, seq) for why, seq, before in found if why != before], end)
        read, flagged = read + len(page), flagged + sum(bool(why) for why, _, _ in found)
        new += sum(bool(why) and not before for why, _, before in found)
        gone += sum(bool(before) and not why for why, _, before in found)
        searched(read, total)
    return Flagged(read, flagged, new, gone)


def _begin(db: sqlite3.Connection) -> None:
    """Let all samples be searched if rules that are older than these searched them last."""
    if _meta(db, RULES) < RULES_VERSION:
        _start(db)


@outlasting
def _start(db: sqlite3.Connection) -> None:
    with transaction(db):
        end = db.execute("SELECT max(seq) + 1 FROM sample").fetchone()[0] or 0
        sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?,?)"
        db.executemany(sql, ((UNREAD, str(end)), (RULES, str(RULES_VERSION))))


def _meta(db: sqlite3.Connection, key: str) -> int:
    row = db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return int(row[0]) if row else 0


@outlasting
def _save(db: sqlite3.Connection, found: list[tuple[str, int]], end: int) -> None:
    with transaction(db):
        db.executemany("UPDATE sample SET injection=? WHERE seq=?", found)
        db.execute("UPDATE meta SET value=? WHERE key=?", (str(end), UNREAD))


def count(db: sqlite3.Connection, round: int) -> int:
    """How many samples of a round's dataset are flagged."""
    sql = f"SELECT count(*) FROM sample WHERE {FLAGGED} AND {IN_ROUND}"  # noqa: S608
    return int(db.execute(sql, {"round": round}).fetchone()[0])


def flagged(db: sqlite3.Connection, round: int) -> list[int]:
    """The ids of the flagged samples of a round's dataset, rising."""
    sql = f"SELECT id FROM sample WHERE {FLAGGED} AND {IN_ROUND} ORDER BY id"  # noqa: S608
    return [int(row[0]) for row in db.execute(sql, {"round": round})]


# ---------------------------------------------------------------------------------------------- what a person says


def unflag(project: Path, ids: Sequence[int], source: str) -> int:
    """Decide that what the rules find in ``ids`` is no injection; returns how many were flagged until now.

    ``source``: where that was decided, as for other decisions: ``app`` or ``command line``.
    """
    sql = (
        "INSERT INTO unflagged (sample_id, source, at) SELECT id, :source, :now FROM sample"  # noqa: S608
        f" WHERE {FLAGGED} AND id IN (SELECT value FROM json_each(:ids))"
    )
    return _decide(project, sql, {"ids": json.dumps(list(ids)), "source": source, "now": time.time()})


def flag_again(project: Path, ids: Sequence[int]) -> int:
    """Take ``unflag`` back; returns of how many. What the rules find is their flag again."""
    return _decide(project, f"DELETE FROM unflagged WHERE {_AMONG}", {"ids": json.dumps(list(ids))})  # noqa: S608


def _decide(project: Path, sql: str, values: dict[str, object]) -> int:
    db = writer(project, durable=True)
    try:
        with transaction(db):
            return db.execute(sql, values).rowcount
    finally:
        db.close()
