"""The migration m034_by_place: samples lie in the order of their places, and who left stands in a table of its own.

Before, they lay in the order of their ids, which are hashes: 50,000 new ones, and the mark on those that they replace,
rewrote nearly every page of 500,000. New samples have the highest places, so now they are written at the end.
"""

from __future__ import annotations

from engine.store.search import COMES, GOES

SAMPLE_TEXT = (
    "CREATE VIEW sample_text AS SELECT id,"
    " (SELECT group_concat(json_extract(value, '$[1]'), char(10)) FROM json_each(sample.messages))"
    " AS text FROM sample"
)
"""The words of a conversation: what its turns say, without roles and JSON."""

BY_PLACE = (
    "DROP TRIGGER sample_comes",
    "DROP TRIGGER sample_goes",
    "DROP VIEW sample_text",
    "CREATE TABLE departure (sample_id INTEGER PRIMARY KEY, round INTEGER NOT NULL)",
    "INSERT INTO departure SELECT id, retired_round FROM sample WHERE retired_round IS NOT NULL ORDER BY id",
    "CREATE INDEX departure_by_round ON departure(round)",
    "CREATE TABLE placed_sample (seq INTEGER PRIMARY KEY, id INTEGER NOT NULL, messages TEXT NOT NULL,"
    " parent_id INTEGER REFERENCES sample(id), axis TEXT, born_round INTEGER NOT NULL, source TEXT NOT NULL DEFAULT '',"
    " input_chars INTEGER NOT NULL DEFAULT 0, extra TEXT NOT NULL DEFAULT '', unwritable TEXT NOT NULL DEFAULT '')",
    "INSERT INTO placed_sample SELECT seq, id, messages, parent_id, axis, born_round, source, input_chars, extra,"
    " unwritable FROM sample ORDER BY seq",
    "DROP TABLE sample",
    "ALTER TABLE placed_sample RENAME TO sample",
    # after the rows: an index is written once from what is sorted
    "CREATE UNIQUE INDEX sample_by_id ON sample(id)",
    "CREATE INDEX sample_by_parent ON sample(parent_id) WHERE parent_id IS NOT NULL",
    "CREATE INDEX sample_by_birth ON sample(born_round)",
    # covers "who is in this round's dataset, in its order": no look at the conversations, which are most of the file
    "CREATE INDEX sample_by_place ON sample(seq, born_round, id)",
    "CREATE INDEX sample_unwritable ON sample(id) WHERE unwritable<>''",
    SAMPLE_TEXT,
    COMES,
    GOES,
)
