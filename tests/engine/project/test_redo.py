"""What `run --redo` discards of a person's work, or that was paid for, is said."""

from __future__ import annotations

from pathlib import Path

from engine.project import folder
from engine.store import commands, read, write
from engine.store.connect import reader, writer
from engine.store.teacher import TeacherCall
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


def test_paid_calls_of_this_try_are_counted_and_a_local_teachers_are_not(tmp_path: Path) -> None:
    reviewing(tmp_path / "p", 6)
    db = writer(tmp_path / "p")
    db.execute("UPDATE job SET started_at=100 WHERE stage IN ('judge', 'rewrite')")

    def call(at: float, step: str, cost: float, error: str | None = None, lost: bool = False) -> None:
        write.upsert(db, [TeacherCall(0, 1, "quality", step, at, "m", 1.0, 10, 10, cost, error, lost)])

    call(50, "answer", 5.0)  # before the stage was begun anew
    call(110, "prompt", 0.0)  # a local teacher's
    assert folder.would_discard(tmp_path / "p", "rewrite") == []
    for step, cost in (("prompt", 1.25), ("answer", 2.0), ("judge", 0.5)):
        call(120, step, cost)
    call(130, "answer", 1.0, error="refused")
    call(130, "answer", 1.0, lost=True)
    paid = "what endpoints answered in round 0 is discarded: "
    assert folder.would_discard(tmp_path / "p", "rewrite") == [f"{paid}2 calls ($3.25)"]
    assert folder.would_discard(tmp_path / "p", "judge") == [f"{paid}3 calls ($3.75)"]
    assert folder.would_discard(tmp_path / "p", "verify") == []
    db.execute("UPDATE round SET config=json_set(config, '$.teacher.backend', 'openai')")  # one without prices
    assert folder.would_discard(tmp_path / "p", "rewrite") == [f"{paid}3 calls ($3.25)"]
    said: list[str] = []
    folder.redo(tmp_path / "p", "rewrite", said.append)
    assert said[0] == f"! {paid}3 calls ($3.25)"
    assert folder.would_discard(tmp_path / "p", "rewrite") == []
    db.close()
