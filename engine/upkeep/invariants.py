"""What must hold between the tables of a store. Each invariant is a query for the rows that break it.

A query returns one short text per broken place. ``mend`` says what a person can do about it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

from engine.loop import CLOSING, NAMES
from engine.store.conversation import content_id, load_messages

SHOWN = 3
"""How many broken places are named; the others are counted."""
COPIES = 16
"""How many copy numbers beyond the known copies of a conversation are tried for its id: earlier copies may be gone."""

BACKUP = "Restore a backup with `middo-tui restore`."
_PLACES = ", ".join(f"('{name}', {at})" for at, name in enumerate(NAMES))


class Invariant(Struct, frozen=True):
    """``sql`` finds what breaks it, one text per place."""

    name: str
    words: str
    sql: str
    mend: str = BACKUP


def _of_sample(table: str, words: str, mend: str = BACKUP) -> Invariant:
    """Every row of ``table`` is about a sample that exists."""
    return Invariant(
        f"{table}-sample",
        f"{words} without a sample",
        f"SELECT DISTINCT 'sample ' || sample_id FROM {table} WHERE sample_id NOT IN (SELECT id FROM sample)",  # noqa: S608
        mend,
    )


def _of_round(table: str, words: str) -> Invariant:
    """Every row of ``table`` is about a round that was opened."""
    return Invariant(
        f"{table}-round",
        f"{words} of a round that does not exist",
        f"SELECT DISTINCT 'round ' || round FROM {table} WHERE round NOT IN (SELECT round FROM round)",  # noqa: S608
    )


def _redo(stage: str) -> str:
    return f"Run with --redo {stage}, or restore a backup."


INVARIANTS = (
    Invariant(
        "sample-parent",
        "rewrites whose original is not in the store",
        "SELECT '#' || seq FROM sample WHERE parent_id IS NOT NULL AND parent_id NOT IN (SELECT id FROM sample)",
    ),
    Invariant(
        "sample-rounds",
        "samples that leave before they come",
        "SELECT '#' || seq FROM departure JOIN sample ON id=sample_id WHERE round <= born_round",
    ),
    Invariant(
        "sample-future",
        "samples of a round that is not merged",
        "SELECT '#' || seq FROM sample LEFT JOIN departure ON sample_id=id WHERE max(born_round, coalesce(round, 0)) >"
        " (SELECT coalesce(max(round) + 1, 0) FROM job WHERE stage='merge' AND state<>'pending')",
        "Run the project: the merge is repeated as a whole.",
    ),
    Invariant(
        "sample-retired",
        "samples that left without a reason",
        "SELECT '#' || seq FROM departure d JOIN sample ON id=sample_id"
        " WHERE NOT EXISTS (SELECT 1 FROM retirement WHERE sample_id=d.sample_id)"
        " AND NOT EXISTS (SELECT 1 FROM sample child WHERE child.parent_id=d.sample_id AND child.born_round=d.round)"
        " AND round IN (SELECT round FROM retirement)",  # older versions kept no reasons
    ),
    Invariant(
        "sample-born",
        "samples that no accepted rewrite brought",
        "SELECT '#' || seq FROM sample WHERE born_round>0 AND NOT EXISTS (SELECT 1 FROM rewrite r"
        " WHERE r.round=sample.born_round-1 AND r.sample_id=sample.parent_id AND r.axis=sample.axis"
        " AND r.state='accepted')",
    ),
    Invariant(
        "merged-born",
        "accepted rewrites of a merged round that became no sample",
        "SELECT 'round ' || round || ', sample ' || sample_id || ', ' || axis FROM rewrite r WHERE state='accepted'"
        " AND EXISTS (SELECT 1 FROM job WHERE round=r.round AND stage='merge' AND state='done')"
        " AND NOT EXISTS (SELECT 1 FROM sample WHERE parent_id=r.sample_id AND axis=r.axis"
        " AND born_round=r.round+1)",
    ),
    Invariant(
        "rewrite-text",
        "rewrites without their text",
        "SELECT 'round ' || round || ', sample ' || sample_id || ', ' || axis FROM rewrite"
        " WHERE state IN ('proposed','accepted') AND messages IS NULL",
        _redo("rewrite"),
    ),
    Invariant(
        "rewrite-state",
        "rewrites in an unknown state",
        "SELECT DISTINCT state FROM rewrite WHERE state NOT IN"
        " ('owed','prompted','proposed','failed','kept','rejected','accepted')",
    ),
    Invariant(
        "rewrite-dataset",
        "rewrites of samples that are not in their round's dataset",
        "SELECT 'round ' || r.round || ', #' || s.seq FROM rewrite r JOIN sample s ON s.id=r.sample_id"
        " LEFT JOIN departure d ON d.sample_id=s.id WHERE s.born_round>r.round OR d.round<=r.round",
        _redo("select"),
    ),
    Invariant(
        "decision-rewrite",
        "decisions about a rewrite that does not exist",
        "SELECT 'round ' || round || ', sample ' || sample_id FROM decision d WHERE NOT EXISTS"
        " (SELECT 1 FROM rewrite WHERE round=d.round AND sample_id=d.sample_id AND axis=d.axis)",
    ),
    Invariant(
        "signal-whole",
        "rounds whose scoring is done but lacks samples",
        "SELECT 'round ' || round FROM job WHERE stage='score' AND state='done' AND EXISTS"
        " (SELECT 1 FROM sample s WHERE s.born_round<=job.round"
        " AND NOT EXISTS (SELECT 1 FROM departure WHERE sample_id=s.id AND round<=job.round)"
        " AND NOT EXISTS (SELECT 1 FROM signal WHERE round=job.round AND sample_id=s.id))",
        _redo("score"),
    ),
    Invariant(
        "round-gap",
        "rounds that are missing",
        "SELECT 'round ' || (round - 1) FROM round WHERE round>0 AND round-1 NOT IN (SELECT round FROM round)",
    ),
    Invariant(
        "job-state",
        "stages in an unknown state",
        "SELECT DISTINCT stage || ' ' || state FROM job WHERE state NOT IN"
        " ('pending','running','done','paused','waiting','failed','cancelled','interrupted','stale')",
    ),
    Invariant(
        "job-order",
        "stages that are done before an earlier one",
        f"WITH place(stage, at) AS (VALUES {_PLACES})"  # noqa: S608
        " SELECT 'round ' || a.round || ' ' || a.stage FROM job a JOIN job b ON a.round=b.round"
        " JOIN place x ON x.stage=a.stage JOIN place y ON y.stage=b.stage"
        # a final evaluation that becomes an ordinary round is evaluated already
        " WHERE a.state='done' AND a.stage<>'evaluate' AND b.state IN ('pending','running') AND y.at<x.at",
        "Run the project: stages that are not done are run again.",
    ),
    Invariant(
        "overlap-item",
        "overlaps with a held-out item that does not exist",
        "SELECT 'item ' || item FROM overlap WHERE item NOT IN (SELECT item FROM heldout)",
    ),
    Invariant(
        "index-size",
        "samples that the text search cannot find",
        "SELECT found || ' of ' || there FROM (SELECT (SELECT count(*) FROM sample_fts_docsize) AS found,"
        " (SELECT count(*) FROM sample) - (SELECT count(*) FROM unindexed) + (SELECT count(*) FROM unlisted) AS there)"
        " WHERE found<>there",
        "Only the search is affected.",
    ),
    _of_sample("signal", "signals"),
    _of_sample("selection", "selected samples"),
    _of_sample("rewrite", "rewrites"),
    _of_sample("label", "labels"),
    _of_sample("override", "overrides", mend="Clear them with `middo-tui override --clear`."),
    _of_sample("unflagged", "unflagged samples", mend="Take them back with `middo-tui override --flag`."),
    _of_sample("departure", "departures"),
    _of_sample("retirement", "retirements"),
    _of_sample("overlap", "overlaps"),
    _of_round("job", "stages"),
    _of_round("signal", "signals"),
    _of_round("rewrite", "rewrites"),
    _of_round("artifact", "artifacts"),
)


class Broken(Struct, frozen=True):
    """An invariant that does not hold: the first places, and how many there are."""

    name: str
    words: str
    places: tuple[str, ...]
    count: int
    mend: str


def broken(db: sqlite3.Connection) -> list[Broken]:
    """Every invariant that does not hold."""
    out = []
    for one in INVARIANTS:
        found = [str(row[0]) for row in db.execute(one.sql)]
        if found:
            out.append(Broken(one.name, one.words, tuple(found[:SHOWN]), len(found), one.mend))
    return [*out, *_conversations(db), *_json(db), *_types(db), *_stages(db)]


def _conversations(db: sqlite3.Connection) -> Iterator[Broken]:
    """Samples whose text is not what their id was made of: they have been changed from outside."""
    seen: Counter[int] = Counter()
    unreadable, changed = [], []
    for id, seq, text in db.execute("SELECT id, seq, messages FROM sample ORDER BY seq"):
        try:
            messages = load_messages(text)
        except (ValueError, TypeError, KeyError):
            unreadable.append(f"#{seq}")
            continue
        first = content_id(messages)
        seen[first] += 1
        if id != first and all(id != content_id(messages, copy) for copy in range(1, seen[first] + COPIES)):
            changed.append(f"#{seq}")
    for name, words, found in (
        ("sample-json", "samples that cannot be read", unreadable),
        ("sample-changed", "samples whose text was changed", changed),
    ):
        if found:
            yield Broken(name, words, tuple(found[:SHOWN]), len(found), BACKUP)


_JSON = (("rewrite", "messages"), ("artifact", "meta"), ("round", "config"), ("meta", "value"), ("heldout", "messages"))


def _json(db: sqlite3.Connection) -> Iterator[Broken]:
    """Columns of JSON that are none."""
    for table, column in _JSON:
        sql = f"SELECT rowid FROM {table} WHERE {column} IS NOT NULL AND NOT json_valid({column})"  # noqa: S608
        if table in ("rewrite", "artifact", "meta"):  # these have no rowid
            sql = sql.replace("rowid", "round" if table != "meta" else "key", 1)
        found = [f"{table} {row[0]}" for row in db.execute(sql)]
        if found:
            yield Broken(
                f"{table}-json", f"rows of {table} that cannot be read", tuple(found[:SHOWN]), len(found), BACKUP
            )


_STORED_AS = {"TEXT": "text", "INTEGER": "integer", "REAL": "real"}


def _types(db: sqlite3.Connection) -> Iterator[Broken]:
    """Values of another type than their column has: SQLite takes any, and what reads them does not."""
    tables = "SELECT name FROM sqlite_master WHERE type='table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
    for (table,) in db.execute(f"{tables} AND name NOT LIKE 'sqlite%' AND name NOT LIKE '%_fts_%'").fetchall():
        declared = {row["name"]: _STORED_AS.get(row["type"]) for row in db.execute(f"PRAGMA table_info({table})")}
        names = [name for name, kind in declared.items() if kind is not None]
        counts = ", ".join(f"sum(typeof({name}) NOT IN ('{declared[name]}', 'null'))" for name in names)
        found = {
            f"{table}.{name}": int(count or 0)
            for name, count in zip(names, db.execute(f"SELECT {counts} FROM {table}").fetchone(), strict=True)  # noqa: S608
        }
        if places := [place for place, count in found.items() if count]:
            words = f"values of {table} that are of the wrong type"
            yield Broken(f"{table}-type", words, tuple(places[:SHOWN]), sum(found.values()), BACKUP)


def _stages(db: sqlite3.Connection) -> Iterator[Broken]:
    """Rounds that lack a stage."""
    have: dict[int, set[str]] = {}
    for round, stage in db.execute("SELECT round, stage FROM job"):
        have.setdefault(round, set()).add(stage)
    found = []
    for round, closing in db.execute("SELECT round, closing FROM round"):
        if lacking := set(CLOSING if closing else NAMES) - have.get(round, set()):
            found.append(f"round {round}: {', '.join(sorted(lacking))}")
    if found:
        yield Broken("round-stages", "rounds that lack stages", tuple(found[:SHOWN]), len(found), BACKUP)
