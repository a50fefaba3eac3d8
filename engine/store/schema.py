"""The tables, as append-only migrations. Never edit or rename one that was released, add another: every store holds the
names of those that it has had (there is no m005).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.store import prompt_keys
from engine.store.conversation import load_messages, unwritable
from engine.store.database_file import database, keep_before, newer, roomy, translated, writer
from engine.store.m034_by_place import BY_PLACE, SAMPLE_TEXT
from engine.store.newer_tables import (
    BEAT_CHANCE,
    BOTH_SIDES,
    CONTROLS,
    COUNT_CALLS,
    EVALUATION_TASKS,
    EVERY_OVERLAP,
    HELD_OUT,
    HOLD_AFTER_MERGE,
    INJECTION,
    JUDGE_CHECK,
    KEEP_COLUMNS,
    LABELS,
    LAST_EXCHANGE,
    LENSES,
    LOST_TRIES,
    MEASURED_ONLY,
    OF_SEVERAL,
    OVERRIDES,
    PROBES,
    PROVIDER_BATCHES,
    SEE_PROGRESS,
    SEVERAL_ASSISTANTS,
    STAGE_COST,
    UNDER_WAY,
    UNFLAGGED,
    UNWRITABLE,
    WHY_RETIRED,
)
from engine.store.search import INDEX_LATER
from engine.store.sqlite_utils_alone import Database, Migrations
from engine.store.tables import TABLES

migrations = Migrations("middo")


@migrations()  # type: ignore[untyped-decorator]  # sqlite-utils has no types
def m001_tables(db: Database) -> None:
    """The first schema."""
    for statement in TABLES.split(";"):
        if statement.strip():
            db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m002_look_closer(db: Database) -> None:
    """Full-text search, clusters, the rule behind a threshold, notes and edits of a review."""
    for statement in LOOK_CLOSER:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m003_write_again(db: Database) -> None:
    """Rewrites that a person sends back to the teacher, and what an edit or such a sending back replaced."""
    for statement in WRITE_AGAIN:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m004_list_samples(db: Database) -> None:
    """What a list of half a million samples needs to begin at once, in the dataset's order and at what went wrong."""
    for statement in LIST_SAMPLES:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m006_evaluation_tasks(db: Database) -> None:
    """Figures of evaluation tasks, and what each of their questions scored."""
    for statement in EVALUATION_TASKS:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m007_count_calls(db: Database) -> None:
    """A row per call of the teacher, and what was projected before the first."""
    for statement in COUNT_CALLS:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m008_provider_batches(db: Database) -> None:
    """Calls that a provider works on together, and which of them are in the books."""
    for statement in PROVIDER_BATCHES:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m009_keep_columns(db: Database) -> None:
    """A row's other columns, which leave with it again."""
    for statement in KEEP_COLUMNS:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m010_both_sides(db: Database) -> None:
    """Samples that are trained on although their prompt is held out; older versions let them in."""
    for statement in BOTH_SIDES:
        db.conn.execute(statement)
    held = {prompt_keys.key(load_messages(text)): item for item, text in db.conn.execute(HELD_OUT)}
    if held:
        rows = db.conn.execute("SELECT id, messages FROM sample")
        found = ((id, prompt_keys.item(load_messages(text), held)) for id, text in rows)
        both = [(id, item) for id, item in found if item is not None]
        db.conn.executemany("INSERT INTO overlap (sample_id, item) VALUES (?,?)", both)


@migrations()  # type: ignore[untyped-decorator]
def m011_last_exchange(db: Database) -> None:
    """Losses of a conversation's last answer, those of all its answers beside them.

    What was measured before is the mean over all answers: of conversations with several it is kept as that, too, and
    forgotten where it would be taken for the last answer's.
    """
    for statement in LAST_EXCHANGE:
        db.conn.execute(statement)
    rows = db.conn.execute(SEVERAL_ASSISTANTS)
    several = [(id,) for id, text in rows if sum(m.role == "assistant" for m in load_messages(text)) > 1]
    db.conn.execute("CREATE TEMP TABLE several (id INTEGER PRIMARY KEY)")
    db.conn.executemany("INSERT INTO several (id) VALUES (?)", several)
    for statement in OF_SEVERAL:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m012_see_progress(db: Database) -> None:
    """When a stage moved on lately, so that one that has stopped moving can be told."""
    for statement in SEE_PROGRESS:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m013_under_way(db: Database) -> None:
    """What a teacher on this machine is writing."""
    for statement in UNDER_WAY:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m014_beat_chance(db: Database) -> None:
    """What a verdict holds a rewrite against besides its original."""
    for statement in BEAT_CHANCE:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m015_hold_after_merge(db: Database) -> None:
    """How long a merge that the app asked for can be undone before the next round begins."""
    for statement in HOLD_AFTER_MERGE:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m016_index_later(db: Database) -> None:
    """The words of new samples are indexed after the transaction that brought them."""
    for statement in INDEX_LATER:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m017_why_retired(db: Database) -> None:
    """What a retired sample was redundant to."""
    for statement in WHY_RETIRED:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m018_unwritable(db: Database) -> None:
    """Samples that a rewrite would lose something of, with the reason."""
    for statement in UNWRITABLE:
        db.conn.execute(statement)
    rows = ((unwritable(load_messages(text)), id) for id, text in db.conn.execute("SELECT id, messages FROM sample"))
    db.conn.executemany("UPDATE sample SET unwritable=? WHERE id=?", [row for row in rows if row[0]])


@migrations()  # type: ignore[untyped-decorator]
def m019_every_overlap(db: Database) -> None:
    """All held-out items whose prompts a sample has, not one of them."""
    for statement in EVERY_OVERLAP:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m020_lost_tries(db: Database) -> None:
    """Tries without a reply that may have been counted, calls that are under way, and what a person was asked."""
    for statement in LOST_TRIES:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m021_lenses(db: Database) -> None:
    """What the base model's token losses tell of an answer: its end, its worst stretch, what the prompt brings."""
    for statement in LENSES:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m022_overrides(db: Database) -> None:
    """What a person wants of single samples."""
    for statement in OVERRIDES:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m023_labels(db: Database) -> None:
    """What a person says of samples that were drawn to be labelled."""
    for statement in LABELS:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m024_decisions_by_sample(db: Database) -> None:
    """What was decided of one sample, without reading all decisions."""
    db.conn.execute("CREATE INDEX decision_by_sample ON decision(sample_id)")


@migrations()  # type: ignore[untyped-decorator]
def m025_probes(db: Database) -> None:
    """What the teacher answers to the prompts of samples that look flawed, and of random ones."""
    for statement in PROBES:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m026_judge_check(db: Database) -> None:
    """How a round's judge was asked, and whether it tells a good answer from a foreign one."""
    for statement in JUDGE_CHECK:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m027_requests_selected(db: Database) -> None:
    """The round that selected a sample because a person asked for its rewrite."""
    db.conn.execute("ALTER TABLE override ADD COLUMN met_round INTEGER")


@migrations()  # type: ignore[untyped-decorator]
def m028_controls(db: Database) -> None:
    """What a round would have brought with another selection, or none."""
    for statement in CONTROLS:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m029_first_answer(db: Database) -> None:
    """What the teacher said the first time, of what it is asked a second time."""
    db.conn.execute("ALTER TABLE rewrite ADD COLUMN first_answer TEXT")


@migrations()  # type: ignore[untyped-decorator]
def m030_stage_cost(db: Database) -> None:
    """What a stage has cost: seconds at work, CPU seconds, peak of resident memory in bytes."""
    for statement in STAGE_COST:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m031_draws(db: Database) -> None:
    """The answers that were drawn for a rewrite, of which one is kept."""
    db.conn.execute("ALTER TABLE rewrite ADD COLUMN draws TEXT")


@migrations()  # type: ignore[untyped-decorator]
def m032_first_calls(db: Database) -> None:
    """How many calls the teacher's first answer to a sample's own prompt took."""
    db.conn.execute("ALTER TABLE rewrite ADD COLUMN first_calls INTEGER NOT NULL DEFAULT 0")


@migrations()  # type: ignore[untyped-decorator]
def m033_judge_counted(db: Database) -> None:
    """Whether the judge has a part in a round's flaw scores; NULL where an older version decided."""
    db.conn.execute("ALTER TABLE judge_check ADD COLUMN counted INTEGER")


@migrations()  # type: ignore[untyped-decorator]
def m034_by_place(db: Database) -> None:
    """Samples in the order of their places; who left in a narrow table."""
    for statement in BY_PLACE:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m035_measured_only(db: Database) -> None:
    """Indexes of signals without what is not measured."""
    for statement in MEASURED_ONLY:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m036_injection(db: Database) -> None:
    """Why a sample is flagged as a possible prompt injection."""
    for statement in INJECTION:
        db.conn.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m037_accepted_stays(db: Database) -> None:
    """A merge no longer marks the rewrites that it takes in: SQLite would write each with its texts anew."""
    db.conn.execute("UPDATE rewrite SET state='accepted' WHERE state='merged'")


@migrations()  # type: ignore[untyped-decorator]
def m038_partial(db: Database) -> None:
    """How much of a job's next unit is done: a training step of many batches takes minutes on a slow machine."""
    db.conn.execute("ALTER TABLE job ADD COLUMN partial REAL NOT NULL DEFAULT 0")


@migrations()  # type: ignore[untyped-decorator]
def m039_unflagged(db: Database) -> None:
    """What a person says is no prompt injection."""
    for statement in UNFLAGGED:
        db.conn.execute(statement)


def migrate(project: Path, create: bool = False) -> None:
    """Create the database or bring it up to date; then a copy of it as it was is kept beside it.

    Raises:
        StoreError: missing (unless ``create``), made by a newer version, or not writable.
    """
    connection = writer(project, create=create)
    try:
        db = Database(connection, execute_plugins=False)
        known = {m.name for m in migrations.applied(db)} | {m.name for m in migrations.pending(db)}
        ours = {m.name for m in migrations._migrations}
        if known - ours:
            raise newer(project, sorted(known - ours))
        if pending := migrations.pending(db):
            if migrations.applied(db):
                keep_before(connection, database(project), pending[0].name)
            roomy(connection)
            connection.execute("PRAGMA secure_delete=FAST")  # else a dropped table is written once more, as zeros
            migrations.apply(db)
    except sqlite3.Error as error:
        raise translated(error, database(project)) from error
    finally:
        connection.close()


# The words of a conversation are what its turns say, without roles and JSON. The index keeps no copy of them.
# FTS5 lets a content view use no table-valued function, so its 'rebuild', snippet() and highlight() fail here.
# Inserting, deleting, MATCH and rank do not look at the view. To make it anew: 'delete-all', then the INSERT below.
LOOK_CLOSER = (
    SAMPLE_TEXT,
    "CREATE VIRTUAL TABLE sample_fts USING fts5(text, content='sample_text', content_rowid='id')",
    "CREATE TRIGGER sample_fts_add AFTER INSERT ON sample BEGIN INSERT INTO sample_fts (rowid, text) VALUES (new.id,"
    " (SELECT group_concat(json_extract(value, '$[1]'), char(10)) FROM json_each(new.messages))"
    "); END",
    "CREATE TRIGGER sample_fts_drop AFTER DELETE ON sample BEGIN INSERT INTO sample_fts (sample_fts, rowid, text)"
    " VALUES ('delete', old.id,"
    " (SELECT group_concat(json_extract(value, '$[1]'), char(10)) FROM json_each(old.messages))"
    "); END",
    "INSERT INTO sample_fts (rowid, text) SELECT id, text FROM sample_text",
    # -1 is noise: a sample of no cluster.
    "ALTER TABLE signal ADD COLUMN cluster INTEGER",
    "ALTER TABLE signal ADD COLUMN outlier REAL",
    "CREATE INDEX signal_by_cluster ON signal(round, cluster)",
    "CREATE INDEX signal_by_outlier ON signal(round, outlier)",
    # change: born, kept, grew, shrank, split, merged or died (then size is 0 and cluster is below -1).
    "CREATE TABLE cluster (round INTEGER NOT NULL, cluster INTEGER NOT NULL, size INTEGER NOT NULL,"
    " exemplar INTEGER, change TEXT, previous INTEGER, previous_size INTEGER, PRIMARY KEY (round, cluster))"
    " WITHOUT ROWID",
    "ALTER TABLE threshold ADD COLUMN rule TEXT NOT NULL DEFAULT 'sigma'",
    "ALTER TABLE threshold ADD COLUMN detail TEXT",
    # What the teacher wrote before a person edited it (NULL: nobody did), and a person's remark.
    "ALTER TABLE rewrite ADD COLUMN original TEXT",
    "ALTER TABLE rewrite ADD COLUMN note TEXT",
    # A decision may also be an edit (the conversation before and after) or a note.
    "ALTER TABLE decision ADD COLUMN before_messages TEXT",
    "ALTER TABLE decision ADD COLUMN messages TEXT",
    "ALTER TABLE decision ADD COLUMN before_note TEXT",
    "ALTER TABLE decision ADD COLUMN note TEXT",
)

WRITE_AGAIN = (
    # Which wave of sending back a rewrite belongs to; 0: the round's own. Waves are asked for apart from each other.
    "ALTER TABLE rewrite ADD COLUMN draw INTEGER NOT NULL DEFAULT 0",
    # What an edit or a sending back took away (a JSON object of the rewrite's columns), so that undo can restore it.
    "ALTER TABLE decision ADD COLUMN before_row TEXT",
)

LIST_SAMPLES = (
    # covers "who is in this round's dataset, in its order": no look at the conversations, which are most of the file
    "CREATE INDEX sample_by_place ON sample(seq, born_round, retired_round)",
    "CREATE INDEX signal_by_error ON signal(round, sample_id) WHERE score_error IS NOT NULL OR judge_error IS NOT NULL",
    "CREATE INDEX rewrite_by_edit ON rewrite(round, sample_id) WHERE original IS NOT NULL",
)
