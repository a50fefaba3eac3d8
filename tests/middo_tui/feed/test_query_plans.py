"""Nothing that the app asks of the store looks at every row of a table that grows: the plans of all statements of a
walk over every screen.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from benchmarks.world import project as world
from engine.store import connect, database_file
from middo_tui.app import MiddoApp
from middo_tui.look.preferences import Preferences
from tests.support.screens import settle_all

# What has a row per sample, rewrite, decision, call, step or line of the log; other tables have one per round or file.
GROWING = {
    *(
        "sample",
        "signal",
        "rewrite",
        "decision",
        "call",
        "batch_call",
        "selection",
        "departure",
        "retirement",
        "overlap",
    ),
    *("heldout", "label", "metric", "gauge", "event", "eval_item", "task_item", "loss_cache", "quarantine", "unlisted"),
}
# Part of a statement -> why it may look at all rows.
ALLOWED = {
    "SELECT (SELECT count(*) FROM sample) -": "SQLite counts a whole table by the pages of its smallest index",
    "SELECT json_group_array(id) FROM (SELECT s.id AS id FROM sample s": "the list's order, once, in a thread",
    "instr(lower(reason)": "rows that were set aside, by any part of their reason, while the quarantine is looked at",
    "SELECT json_group_array(id) FROM (SELECT id FROM sample INDEXED BY": (
        "a preview of thresholds, once a round, in a process of its own"
    ),
    "sum(id >> 32)": "whether a map's file is of this dataset: an index, when the map is opened, in a thread",
    "sum(sample_id >> 32)": "the same of those that left",
    "SELECT sample_id FROM label": "what a person labelled by hand",
    "FROM label CROSS JOIN sample": "what was drawn to be labelled by hand",
}
SMALL_INDEXES = ("decision_to_redo", "signal_by_error", "rewrite_by_edit", "sample_unwritable", "sample_injection")
"""Indexes of few rows whatever the table has: undone decisions, errors, edits."""
WALK = (
    *("2", "enter", "j", "j", "G", "g", "o", "q", "o", "w", "slash", "escape", "L", "escape"),
    *("3", "l", "m", "v", "s", "4", "j", "enter", "5", "x", "escape", "6", "enter", "j"),
    *("exclamation_mark", "escape", "comma", "escape", "7", *"ccccccc", "t", "v", "right", "enter", "1"),
)


def scans(db: sqlite3.Connection, statement: str) -> list[str]:
    """The steps of its plan that look at every row of a growing table."""
    try:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
    except sqlite3.Error:
        return []  # no query of the store: PRAGMA, ATTACH, a temporary table
    alias = {short: name for name, short in re.findall(r"\b(?:FROM|JOIN) (\w+) (?:AS )?([a-z])\b", statement)}
    found = []
    for step in plan:
        table = re.match(r"SCAN (\w+)", step)
        if table and alias.get(table[1], table[1]) in GROWING and not step.endswith(SMALL_INDEXES):
            found.append(step)
    return found


@pytest.mark.usefixtures("prepared_here")
async def test_no_statement_of_the_app_scans_a_table_that_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.make(tmp_path / "P", samples=120, seed=0)
    said: list[str] = []

    def traced(path: Path, how: str) -> sqlite3.Connection:
        db = database_file.opened(path, how)
        db.set_trace_callback(said.append)
        return db

    monkeypatch.setattr(connect, "opened", traced)
    app: MiddoApp = MiddoApp(tmp_path / "P", preferences=Preferences())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle_all(pilot)
        for key in WALK:
            await pilot.press(key)
            await settle_all(pilot)
    monkeypatch.undo()
    asked = {statement for statement in said if statement.lstrip()[:6].upper() in ("SELECT", "WITH R")}
    assert len(asked) > 80, "the walk reaches every screen"
    with connect.reader(tmp_path / "P") as db:
        unknown = [one for one in asked if not any(part in one for part in ALLOWED)]
        wrong = {one: found for one in unknown if (found := scans(db, one))}
    assert wrong == {}


def test_a_scan_is_found_whatever_the_table_is_called(tmp_path: Path) -> None:
    world.make(tmp_path / "P", samples=60, seed=0)
    with connect.reader(tmp_path / "P") as db:
        assert scans(db, "SELECT sum(seq) FROM sample")
        assert scans(db, "SELECT 1 FROM signal g WHERE g.quality > 3")
        assert scans(db, "SELECT sum(undone) FROM decision")
        assert not scans(db, "SELECT 1 FROM sample s WHERE s.id=7")
        assert not scans(db, "SELECT count(*) FROM decision WHERE undone=1")
