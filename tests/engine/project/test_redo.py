"""What `run --redo` discards of a person's work is said."""

from __future__ import annotations

from pathlib import Path

from engine.project import folder
from engine.store import commands, read
from engine.store.connect import reader
from tests.support.reviews import reviewing


def test_decisions_and_edits_that_are_discarded_are_counted(tmp_path: Path) -> None:
    keys = reviewing(tmp_path / "p", 6)
    commands.decide(tmp_path / "p", 0, keys[:3], "accepted")
    commands.edit(tmp_path / "p", 0, keys[4], "by hand", "by hand")
    commands.decide(tmp_path / "p", 0, keys[3:4], "accepted")
    commands.undo(tmp_path / "p", 0)
    said: list[str] = []
    folder.redo(tmp_path / "p", "verify", said.append)
    assert said[0] == "! what was decided in review of round 0 is discarded: 4 rewrites"
    commands.decide(tmp_path / "p", 0, keys[:2], "rejected")
    folder.redo(tmp_path / "p", "rewrite", said.append)
    assert said[2] == "! what was decided in review of round 0 is discarded: 3 rewrites, 1 of them edited by hand"
    folder.redo(tmp_path / "p", "select", said.append)
    assert said[4:] == ["round 0: select, rewrite, verify, review, merge will be rerun"], "nothing is left to discard"
    db = reader(tmp_path / "p")
    assert {e.text for e in read.events(db) if "discarded" in e.text} == {said[0][2:], said[2][2:]}
    db.close()
