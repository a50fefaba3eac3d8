"""What reading a round costs: no statement goes through the conversations of a dataset, no number comes in a row of its
own where it can come in an array.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from engine.config.schema import Config
from engine.selection.preview import facts, round_arrays
from engine.store import connect
from engine.store.connect import reader, transaction, writer
from tests.support import rounds as stored

FEW = (
    "sample_by_parent",
    "sample_unwritable",
    "sample_injection",
    "sample_by_id (id=?)",
    "INTEGER PRIMARY KEY (rowid=?)",
)
"""Ways to the rows of samples that were rewritten or are held, and to single ones."""


def read_and_plans(project: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[round_arrays.Round, list[str]]:
    """Round 1, and how SQLite found samples for it."""
    said: list[str] = []

    def traced(folder: Path) -> sqlite3.Connection:
        db = reader(folder)
        db.set_trace_callback(said.append)
        return db

    monkeypatch.setattr(round_arrays, "reader", traced)
    found = round_arrays.read_round(project, 1, True, Config())
    with traced(project) as db:
        facts.of_round(db, 1, Config())
    with connect.reader(project) as db:
        plans = [row[3] for one in said if one != "BEGIN " for row in db.execute(f"EXPLAIN QUERY PLAN {one}")]
    return found, [step for step in plans if " sample " in f"{step} "]


def test_no_conversation_is_looked_at_to_read_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.project(tmp_path, 30)
    _, steps = read_and_plans(tmp_path, monkeypatch)
    assert len(steps) >= 3
    assert [step for step in steps if "COVERING INDEX" not in step and not any(way in step for way in FEW)] == []


def test_a_round_is_read_in_dataset_order_without_the_retired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.project(tmp_path, 5)
    db = writer(tmp_path)
    with transaction(db):
        by_place = [row[0] for row in db.execute("SELECT id FROM sample ORDER BY seq")]
        db.execute("INSERT INTO departure VALUES (?,1)", (by_place[2],))
        for id, value in zip(by_place[:2], (0.1 + 0.2, None), strict=True):
            db.execute(
                "INSERT INTO signal (round, sample_id, quality, prompt_tokens, response_tokens) VALUES (1, ?, ?, 7, 9)",
                (id, value),
            )
    db.close()
    found, _ = read_and_plans(tmp_path, monkeypatch)
    assert found.ids.tolist() == [*by_place[:2], *by_place[3:]]
    assert found.values["quality"].tolist()[0] == 0.1 + 0.2
    assert [value != value for value in found.values["quality"].tolist()] == [False, True, True, True]
    assert found.tokens.tolist() == [[7, 7, 0, 0], [9, 9, 0, 0]]


@pytest.mark.parametrize("judge_tells", [True, False])
def test_the_ratings_of_a_judge_that_cannot_tell_are_left_out(tmp_path: Path, judge_tells: bool) -> None:
    stored.project(tmp_path, 5)
    db = writer(tmp_path)
    with transaction(db):
        db.execute("INSERT INTO signal (round, sample_id, quality) SELECT 1, id, 7.0 FROM sample")
        check = (1, "self", "", 1, 40, 0.95 if judge_tells else 0.5)
        columns = "round, judge, begun, done, pairs, auc, rated, errors"
        db.execute(f"INSERT INTO judge_check ({columns}) VALUES (?, ?, ?, ?, ?, ?, 5, 0)", check)
    db.close()
    with reader(tmp_path) as told:
        told.row_factory = None
        believed = facts.of_round(told, 1, Config()).believed
    assert believed == judge_tells
    found = round_arrays.read_round(tmp_path, 1, believed, Config())
    assert (found.values["quality"] == 7.0).tolist() == [judge_tells] * 5
