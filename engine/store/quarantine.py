"""Rows of dataset files that could not be used: where they are, why, and what they say."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from msgspec import Struct


class Refused(Struct, frozen=True):
    """A row that an import set aside. ``row`` counts from 1, in line-based files by line. ``raw``: its text, cut."""

    id: int
    file: str
    row: int | None
    reason: str
    raw: str


class Reason(Struct, frozen=True):
    """So many rows have this reason; ``file`` and ``row`` are those of the first."""

    reason: str
    rows: int
    file: str
    row: int | None


def refused(db: sqlite3.Connection, reason: str = "", file: str = "", exact: str = "") -> Iterator[Refused]:
    """The rows whose reason and file contain these words, in the order of their import; ``exact`` is a whole reason."""
    sql = (
        "SELECT id, file, row, reason, ifnull(raw, '') FROM quarantine"
        " WHERE instr(lower(reason), lower(?)) AND instr(lower(file), lower(?)) AND ? IN ('', reason) ORDER BY id"
    )
    return (Refused(*row) for row in db.execute(sql, (reason, file, exact)))


def count(db: sqlite3.Connection, reason: str = "", file: str = "") -> int:
    """How many rows ``refused`` gives."""
    sql = "SELECT count(*) FROM quarantine WHERE instr(lower(reason), lower(?)) AND instr(lower(file), lower(?))"
    return int(db.execute(sql, (reason, file)).fetchone()[0])


def reasons(db: sqlite3.Connection, reason: str = "", file: str = "") -> list[Reason]:
    """The reasons of these rows, the most frequent first."""
    sql = (
        "SELECT q.reason, n, f.file, f.row FROM (SELECT reason, count(*) AS n, min(id) AS first FROM quarantine"
        " WHERE instr(lower(reason), lower(?)) AND instr(lower(file), lower(?)) GROUP BY reason) q"
        " JOIN quarantine f ON f.id = q.first ORDER BY n DESC, q.first"
    )
    return [Reason(*row) for row in db.execute(sql, (reason, file))]
