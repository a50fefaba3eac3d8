"""The journal: every change can be taken back and done again, nobody's work is written over, kills lose nothing."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import StoreError, UsageError
from engine.loop import NAMES, Limits, RunStages, next_step
from engine.store import commands, connect, read, write
from engine.store.commands import ReviewedVersion
from engine.store.rows import Message, Plan, Rewrite, Sample, Verdict, content_id, dump_messages
from engine.store.schema import migrate
from tests.support import ROOT

KEYS = [(1, "quality"), (2, "quality"), (3, "complexity"), (4, "diversity")]


def conversation(prompt: str, response: str) -> tuple[Message, ...]:
    return (Message("system", "be kind"), Message("user", prompt), Message("assistant", response))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A round that waits for a person: four proposals with verdicts, one failure."""
    migrate(tmp_path, create=True)
    db = connect.writer(tmp_path)
    samples = [conversation(f"ask {i}", f"say {i}") for i in range(6)]
    with connect.transaction(db):
        write.add_samples(db, [Sample(content_id(m), m, i) for i, m in enumerate(samples)])
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    with connect.transaction(db):
        db.execute("UPDATE job SET state='done', started_at=1 WHERE stage NOT IN ('review', 'merge')")
        db.execute("UPDATE job SET state='waiting' WHERE stage='review'")
    rows: list[Any] = [
        Rewrite(0, *key, "proposed", 1, f"p{i}", f"r{i}", dump_messages(conversation(f"p{i}", f"r{i}")), tokens_in=20)
        for i, key in enumerate(KEYS)
    ]
    rows += [Verdict(0, *key, 1.0, 0.5, 0.7, 6.0, "[1,2,3,4,5,6]", True, "improved: much") for key in KEYS]
    rows.append(Rewrite(0, 5, "quality", "failed", 3, reason="no tags", raw="blah"))
    write.save(db, 0, "verify", rows, None)
    db.close()
    return tmp_path


def dump(project: Path) -> list[tuple[object, ...]]:
    """All rewrites, whole; of a wave only whether there is one, since no wave comes twice."""
    db = connect.reader(project)
    rows = map(dict, db.execute("SELECT * FROM rewrite ORDER BY sample_id"))
    found = [tuple({**row, "draw": row["draw"] > 0}.values()) for row in rows]
    db.close()
    return found


def one(project: Path, key: tuple[int, str]) -> sqlite3.Row:
    db = connect.reader(project)
    row: sqlite3.Row = db.execute("SELECT * FROM rewrite WHERE sample_id=? AND axis=?", key).fetchone()
    db.close()
    return row


def jobs(project: Path) -> dict[str, str]:
    db = connect.reader(project)
    found = {job.stage: job.state for job in read.jobs(db)}
    db.close()
    return found


def a_whole_sitting(project: Path) -> list[list[tuple[object, ...]]]:
    """One step after the other; the rewrites after each."""
    steps: list[Callable[[], object]] = [
        lambda: commands.decide(project, 0, KEYS[:1], "accepted"),
        lambda: commands.decide(project, 0, KEYS[1:2], "rejected", "too long"),
        lambda: commands.edit(project, 0, KEYS[0], "p0 better", "r0"),
        lambda: commands.annotate(project, 0, KEYS[2], "ask Jo"),
        lambda: commands.decide(project, 0, KEYS, "accepted"),
        lambda: commands.send_back(project, 0, KEYS[2:]),
        lambda: commands.annotate(project, 0, KEYS[2], ""),
    ]
    seen = [dump(project)]
    for step in steps:
        step()
        seen.append(dump(project))
    assert all(a != b for a, b in itertools.pairwise(seen))
    return seen


def test_every_step_is_undone_and_redone_to_the_byte(project: Path) -> None:
    seen = a_whole_sitting(project)
    for before in reversed(seen[:-1]):
        assert commands.undo(project).stayed == 0
        assert dump(project) == before
    assert commands.undo(project).keys == ()
    for after in seen[1:]:
        assert commands.redo(project).stayed == 0
        assert dump(project) == after
    assert commands.redo(project).keys == ()


def test_a_new_decision_drops_what_could_be_redone(project: Path) -> None:
    commands.decide(project, 0, KEYS[:1], "accepted")
    commands.undo(project)
    commands.decide(project, 0, KEYS[1:2], "rejected")
    assert commands.redo(project).keys == ()
    assert one(project, KEYS[0])["state"] == "proposed"
    assert len(commands.undo(project).keys) == 1
    assert commands.redo(project).keys == (KEYS[1],)


def test_a_decision_for_another_reason_is_a_decision(project: Path) -> None:
    commands.decide(project, 0, KEYS[:1], "rejected")
    assert commands.decide(project, 0, KEYS[:1], "rejected", "too long") == 1
    assert commands.decide(project, 0, KEYS[:1], "rejected", "too long") == 0
    commands.undo(project)
    assert (one(project, KEYS[0])["state"], one(project, KEYS[0])["reason"]) == ("rejected", None)


# -------------------------------------------------------------------------------------------------- texts


def test_an_edit_keeps_the_teachers_text_and_owes_a_verdict(project: Path) -> None:
    first = one(project, KEYS[0])["messages"]
    assert commands.edit(project, 0, KEYS[0], "new prompt", "new response")
    row = one(project, KEYS[0])
    assert (row["prompt"], row["response"], row["state"]) == ("new prompt", "new response", "proposed")
    assert row["messages"] == dump_messages(conversation("new prompt", "new response")), "earlier turns stay"
    assert row["original"] == first
    assert row["verdict"] is row["improved"] is row["new_quality"] is None
    assert jobs(project)["verify"] == "pending"
    assert jobs(project)["review"] == "waiting"
    commands.edit(project, 0, KEYS[0], "newer", "newest")
    assert one(project, KEYS[0])["original"] == first


def test_an_undone_edit_owes_no_verdict(project: Path) -> None:
    commands.edit(project, 0, KEYS[0], "new prompt", "new response")
    commands.edit(project, 0, KEYS[1], "another prompt", "another response")
    commands.undo(project)
    assert jobs(project)["verify"] == "pending", "the first edit still owes one"
    commands.undo(project)
    assert jobs(project)["verify"] == "done"
    commands.redo(project)
    assert jobs(project)["verify"] == "pending"


def test_what_was_not_sent_back_after_all_owes_nothing(project: Path) -> None:
    before = jobs(project)
    commands.send_back(project, 0, KEYS[:1])
    commands.send_back(project, 0, KEYS[1:2])
    commands.undo(project)
    assert (jobs(project)["rewrite"], jobs(project)["verify"]) == ("pending", "pending"), "the first is still owed"
    commands.undo(project)
    assert jobs(project) == before
    commands.redo(project)
    assert (jobs(project)["rewrite"], jobs(project)["verify"]) == ("pending", "pending")


def test_a_stage_that_never_ran_is_not_done_by_an_undo(project: Path) -> None:
    db = connect.writer(project)
    write.reset(db, 0, ["verify"])
    db.execute("UPDATE rewrite SET verdict='{}' WHERE state IN ('proposed', 'accepted')")
    db.close()
    commands.edit(project, 0, KEYS[0], "new prompt", "new response")
    commands.undo(project)
    assert jobs(project)["verify"] == "pending"


def test_an_edit_that_changes_nothing_is_none(project: Path) -> None:
    before = dump(project)
    assert not commands.edit(project, 0, KEYS[0], "p0", "r0")
    assert dump(project) == before
    assert commands.undo(project).keys == ()


@pytest.mark.parametrize(
    ("prompt", "response", "says"), [("", "x", "prompt is empty"), ("x", " \n", "response is empty")]
)
def test_an_empty_text_is_refused(project: Path, prompt: str, response: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        commands.edit(project, 0, KEYS[0], prompt, response)


def test_what_is_sent_back_is_owed_with_its_costs_counted(project: Path) -> None:
    assert commands.send_back(project, 0, [KEYS[0], (5, "quality")]) == 2
    row = one(project, KEYS[0])
    assert (row["state"], row["attempts"], row["answer_attempts"], row["tokens_in"]) == ("owed", 0, 0, 20)
    assert row["messages"] is row["verdict"] is row["prompt"] is None
    assert one(project, (5, "quality"))["state"] == "owed"
    assert (jobs(project)["rewrite"], jobs(project)["verify"], jobs(project)["review"]) == (
        "pending",
        "pending",
        "waiting",
    )


def test_the_run_goes_on_with_what_is_owed_and_comes_back_to_the_review(project: Path) -> None:
    def comes(plan: Plan) -> object:
        db = connect.reader(project)
        step = next_step(read.jobs(db), {}, plan, None, Limits(True, 0.0, 0.0))
        db.close()
        return step

    assert comes(Plan()) == RunStages(0, ("review", "merge"))
    commands.edit(project, 0, KEYS[1], "mine", "mine")
    assert comes(Plan()) == RunStages(0, ("verify", "review", "merge"))
    assert comes(Plan(until_round=0, until_stage="verify")) == RunStages(0, ("verify",))
    commands.send_back(project, 0, KEYS[:1])
    assert comes(Plan()) == RunStages(0, ("rewrite",))
    assert jobs(project)["review"] == "waiting", "the review goes on meanwhile"


def test_waves_join_until_they_begin_and_no_number_comes_twice(project: Path) -> None:
    commands.send_back(project, 0, KEYS[:1])
    commands.send_back(project, 0, KEYS[1:2])
    first = one(project, KEYS[0])["draw"]
    assert first > 0
    assert one(project, KEYS[1])["draw"] == first
    db = connect.writer(project)
    db.execute("UPDATE rewrite SET state='proposed', attempts=1, messages='[]', prompt='x' WHERE draw=?", (first,))
    db.close()
    commands.send_back(project, 0, KEYS[2:3])
    second = one(project, KEYS[2])["draw"]
    assert second > first
    commands.undo(project)
    commands.send_back(project, 0, KEYS[2:3])
    assert one(project, KEYS[2])["draw"] > second


def test_undo_takes_the_second_reply_away_again(project: Path) -> None:
    before = dump(project)
    commands.send_back(project, 0, KEYS[:1])
    db = connect.writer(project)
    db.execute("UPDATE rewrite SET state='proposed', prompt='other', messages='[]' WHERE state='owed'")
    db.close()
    commands.undo(project)
    assert dump(project) == before


def test_texts_are_left_alone_while_a_stage_is_at_work_on_them(project: Path) -> None:
    commands.edit(project, 0, KEYS[0], "mine", "mine")
    db = connect.writer(project)
    db.execute("UPDATE job SET state='running' WHERE stage='verify'")
    db.close()
    for refused in (
        lambda: commands.edit(project, 0, KEYS[1], "x", "y"),
        lambda: commands.send_back(project, 0, KEYS[1:2]),
        lambda: commands.decide(project, 0, KEYS[:1], "accepted"),  # it has no verdict: verify is about to give one
        lambda: commands.undo(project),
    ):
        with pytest.raises(StoreError, match=r"verify (of round 0 )?is"):
            refused()
    assert commands.decide(project, 0, KEYS[1:2], "accepted") == 1


# ------------------------------------------------------------------------------------------- two at once


def test_what_changed_meanwhile_is_refused_and_says_by_whom(project: Path) -> None:
    seen = {KEYS[0]: ReviewedVersion("proposed", one(project, KEYS[0])["messages"])}
    commands.decide(project, 0, KEYS[:1], "rejected", "no", source="command line")
    with pytest.raises(StoreError, match=r"changed in the meantime: it is rejected now .*command line"):
        commands.decide(project, 0, KEYS[:1], "accepted", seen=seen)
    assert one(project, KEYS[0])["state"] == "rejected"


def test_another_text_than_was_seen_is_refused(project: Path) -> None:
    messages = one(project, KEYS[0])["messages"]
    commands.edit(project, 0, KEYS[0], "theirs", "theirs")
    known = ReviewedVersion("proposed", messages)
    steps: tuple[Callable[[], object], ...] = (
        lambda: commands.decide(project, 0, KEYS[:1], "accepted", seen={KEYS[0]: known}),
        lambda: commands.edit(project, 0, KEYS[0], "mine", "mine", known),
        lambda: commands.send_back(project, 0, KEYS[:1], {KEYS[0]: known}),
    )
    for late in steps:
        with pytest.raises(StoreError, match="has another text now"):
            late()
    assert one(project, KEYS[0])["prompt"] == "theirs"


def test_a_batch_passes_over_what_changed(project: Path) -> None:
    seen = {key: ReviewedVersion("proposed") for key in KEYS}
    commands.decide(project, 0, KEYS[:1], "rejected")
    assert commands.decide(project, 0, KEYS, "accepted", seen=seen) == 3
    assert one(project, KEYS[0])["state"] == "rejected"


def test_undo_leaves_what_changed_since(project: Path) -> None:
    commands.decide(project, 0, KEYS[:2], "accepted")
    db = connect.writer(project)
    db.execute("UPDATE rewrite SET state='rejected', reason='a check' WHERE sample_id=1")
    db.close()
    step = commands.undo(project)
    assert (step.keys, step.stayed) == ((KEYS[1],), 1)
    assert one(project, KEYS[0])["state"] == "rejected"


def test_a_merged_round_is_history(project: Path) -> None:
    commands.decide(project, 0, KEYS[:1], "rejected")
    db = connect.writer(project)
    db.execute("UPDATE job SET state='done' WHERE stage='merge'")
    db.close()
    before = dump(project)
    for refused in (
        lambda: commands.decide(project, 0, KEYS[:1], "accepted"),
        lambda: commands.edit(project, 0, KEYS[0], "x", "y"),
        lambda: commands.annotate(project, 0, KEYS[0], "late"),
        lambda: commands.send_back(project, 0, KEYS[:1]),
        lambda: commands.decide_open(project, 0, "all", "test"),
    ):
        with pytest.raises(StoreError, match="round 0 is merged"):
            refused()
    assert commands.undo(project).keys == ()
    assert dump(project) == before


# -------------------------------------------------------------------------------------------------- kills

DECIDES = """
import sys
from pathlib import Path
from engine.store import commands
project = Path(sys.argv[1])
keys = [(1, "quality"), (2, "quality"), (3, "complexity"), (4, "diversity")]
n = 0
while True:
    key = keys[n % 4]
    {
        0: lambda: commands.decide(project, 0, [key], "rejected", f"first {n} {sys.argv[2]}"),
        1: lambda: commands.decide(project, 0, [key], "rejected", f"reason {n} {sys.argv[2]}"),
        2: lambda: commands.annotate(project, 0, key, f"note {n} {sys.argv[2]}"),
        3: lambda: commands.edit(project, 0, key, f"prompt {n} {sys.argv[2]}", "r"),
        4: lambda: commands.undo(project, 0),
    }[n % 5]()
    n += 1
    print(n, flush=True)
"""


def test_a_kill_between_commands_loses_nothing_that_was_said_to_be_done(project: Path) -> None:
    for told_before in (3, 7, 12):
        start = entries(project)
        child = subprocess.Popen(
            [sys.executable, "-c", DECIDES, str(project), str(told_before)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(told_before)]
        os.kill(child.pid, signal.SIGKILL)
        done = len(told) + len(child.stdout.read().splitlines())
        child.wait()
        undone = sum(n % 5 == 4 for n in range(done))
        assert done - undone <= entries(project) - start <= done - undone + 1
    while commands.undo(project, 0).round is not None:
        pass
    row = one(project, KEYS[0])
    assert (row["prompt"], row["state"], row["verdict"]) == ("p0", "proposed", "improved: much")


def entries(project: Path) -> int:
    db = connect.reader(project)
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    count = int(db.execute("SELECT count(*) FROM decision").fetchone()[0])
    db.close()
    return count
