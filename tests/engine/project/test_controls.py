"""Controls of a round: what is made for them, when they are refused, and what comes back to the project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from engine.config import schema as configs
from engine.errors import UsageError
from engine.loop import spec
from engine.project.controls import measured, prepare
from engine.runtime import worker
from engine.store import connect, controls, read
from engine.store.connect import reader, writer
from middo_tui.cli.commands import main
from middo_tui.feed.rounds import RoundsReader
from middo_tui.text import status
from middo_tui.text.control_wording import sentence
from middo_tui.widgets.round_panels import Panel, panel_lines
from tests.support import invented_project


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds; the results of the first two are measured."""
    made = invented_project.make(tmp_path_factory.mktemp("controls") / "p", 200)
    config = configs.placed(configs.load(made), made)
    with writer(made) as db:
        for job in read.jobs(db):
            stage = spec(job.stage)
            key = f"x:{configs.slice_hash(config, stage.config)}:{stage.version}"
            db.execute("UPDATE job SET input_key=? WHERE round=? AND stage=?", (key, job.round, job.stage))
        for round in range(3):
            db.execute(
                "INSERT OR REPLACE INTO artifact (round, name, path) VALUES (?, 'checkpoint', ?)",
                (round, f"artifacts/round-{round}/checkpoint"),
            )
            (made / f"artifacts/round-{round}/checkpoint").mkdir(parents=True)
    db.close()
    return made


@pytest.fixture
def project(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "P"))


def sql(project: Path, text: str, *values: object) -> list[Any]:
    db = writer(project)
    try:
        return db.execute(text, values).fetchall()
    finally:
        db.close()


def items(project: Path, round: int, right: set[int]) -> None:
    """40 held-out items of which those in ``right`` are answered."""
    db = writer(project)
    with db:
        db.execute("DELETE FROM eval_item WHERE round=?", (round,))
        db.executemany(
            "INSERT INTO eval_item (round, item, tokens, correct) VALUES (?,?,0,?)",
            [(round, item, item in right) for item in range(40)],
        )
        db.execute("DELETE FROM score WHERE round=?", (round,))
        db.execute(
            "INSERT INTO score (round, task, value, stderr, n) VALUES (?, 'accuracy', ?, 0.07, 40)",
            (round, len(right) / 40),
        )
        db.execute("UPDATE job SET state='done' WHERE round=? AND stage='evaluate'", (round,))
        db.execute("INSERT OR IGNORE INTO job (round, stage, state) VALUES (?, 'evaluate', 'done')", (round,))
    db.close()


def test_a_control_is_a_fork_that_knows_its_round(project: Path) -> None:
    assert measured(project, None) == 1
    ready = prepare(project, "random", 1)
    assert ready.folder == project / "controls" / "round-1-random"
    db = reader(ready.folder)
    arm = controls.arm(db)
    assert arm is not None
    plan = json.loads(arm.plan)
    rows = sql(project, "SELECT axis, count(*) FROM rewrite WHERE round=1 AND probe=0 GROUP BY axis")
    assert {axis: n for axis, n in plan["rewrites"].items() if n} == dict(rows)
    assert db.execute("SELECT count(*) FROM selection WHERE round=1").fetchone()[0] == 0
    db.close()
    assert ready.cost.calls == sql(project, "SELECT count(*) FROM call WHERE round=1")[0][0]


def test_a_round_that_a_person_decided_is_told_from_its_control(project: Path) -> None:
    sql(project, "DELETE FROM decision")
    sql(project, "UPDATE rewrite SET original=NULL, improved=(state='accepted') WHERE round=1")
    assert not prepare(project, "random", 1).by_hand
    ((sample, axis),) = sql(project, "SELECT sample_id, axis FROM rewrite WHERE round=1 AND state='accepted' LIMIT 1")
    entry = (
        "INSERT INTO decision (batch, at, source, round, sample_id, axis, before, after) VALUES (1,0,'a',1,?,?,'',?)"
    )
    sql(project, entry, sample, axis, "accepted")
    assert not prepare(project, "random", 1).by_hand, "as the signals would have"
    sql(project, "UPDATE rewrite SET improved=0 WHERE round=1 AND sample_id=? AND axis=?", sample, axis)
    assert prepare(project, "random", 1).by_hand
    row = controls.ControlScore(1, "random", "accuracy", 0.4, 0.5, None, False, True, 40, 0, 0)
    assert sentence(row, by_hand=True).endswith("; a person reviewed the round's rewrites but not the control's")
    assert "a person" not in sentence(msgspec.structs.replace(row, kind="drop"), by_hand=True)
    sql(project, "UPDATE decision SET undone=1")
    assert not prepare(project, "random", 1).by_hand


def test_its_cost_is_the_teacher_alone_and_time_at_work(project: Path) -> None:
    """An endpoint that rates has its calls in the same books, and a paused stage is not at work."""
    names = ", ".join(row[1] for row in sql(project, "PRAGMA table_info(call)") if row[1] not in ("id", "step"))
    before = sql(project, "SELECT count(*) FROM call WHERE round=1")[0][0]
    sql(project, f"INSERT INTO call ({names}, step) SELECT {names}, 'judge' FROM call WHERE round=1")
    assert sql(project, "SELECT count(*) FROM call WHERE round=1")[0][0] == 2 * before
    sql(project, "UPDATE job SET seconds=0, started_at=1000, finished_at=1010")
    sql(project, "UPDATE job SET seconds=3, finished_at=9000 WHERE stage='train'")
    ready = prepare(project, "random", 1)
    assert ready.cost.calls == before
    stages = sql(project, "SELECT count(*) FROM job WHERE round=2 AND stage IN ('train', 'evaluate')")[0][0]
    assert ready.cost.seconds == 3 + 10 * (stages - 1) + 10 * 4
    items(project, 2, set(range(24)))
    db = reader(project)
    assert {row.ours_calls for row in controls.compare(db, 1, "drop", db, 2)} == {before}
    db.close()


def test_a_begun_control_goes_on_unless_its_round_was_run_again(project: Path) -> None:
    folder = prepare(project, "drop", 0).folder
    assert folder is not None
    (folder / "mine").touch()
    (folder.parent / ".round-0-none").mkdir()
    assert prepare(project, "drop", 0).folder == folder
    assert (folder / "mine").exists()
    assert configs.load(folder).merge.flawed == "drop"
    sql(project, "UPDATE job SET finished_at=finished_at+9 WHERE round=0 AND stage='merge'")
    assert prepare(project, "drop", 0).folder == folder
    assert not (folder / "mine").exists()


def test_the_difference_is_told_item_by_item(project: Path) -> None:
    folder = prepare(project, "drop", 0).folder
    assert folder is not None
    items(project, 1, set(range(24)))
    items(folder, 1, set(range(18)))
    assert controls.report(folder)
    (found,) = (row for row in status.gather(project)["rounds"][0]["controls"] if row["task"] == "accuracy")
    assert (found["control"], found["paired"], found["beyond_chance"], found["better"]) == ("drop", True, True, True)
    assert found["difference"] == pytest.approx(6 / 40)
    assert found["stderr"] == pytest.approx((6 * 0.85**2 + 34 * 0.15**2) ** 0.5 / 40)
    said = "selection +15.0 ±5.6 points over dropping the selected samples (accuracy 60.0 against 45.0 %"
    text = CliRunner().invoke(main, ["status", str(project)]).output
    assert f"round 0: {said}" in text
    view = RoundsReader(project).read()
    lines = panel_lines(Panel(view, 0, "scores"), 140)
    assert any(said in "".join(run.text for run in line) for line in lines)
    narrow = ["".join(run.text for run in line) for line in panel_lines(Panel(view, 0, "scores"), 80)]
    assert max(map(len, narrow)) <= 80
    _, found_it, rest = " ".join(line.strip() for line in narrow).partition(said)
    assert found_it
    assert "): better" in rest[:60], "with the verdict, on a second line"


def test_a_round_with_nothing_to_leave_out_names_one_that_has(project: Path) -> None:
    sql(project, "DELETE FROM selection WHERE round=1 AND axis<>'diversity'")
    with pytest.raises(UsageError, match=r"round 1 selected no sample to replace.* --round 0 works\."):
        prepare(project, "drop", 1)
    sql(project, "DELETE FROM selection WHERE round=0")
    with pytest.raises(UsageError, match=r"nothing to leave out\.$"):
        prepare(project, "drop", 1)


def test_a_result_goes_with_the_scores_that_it_was_compared_with(project: Path) -> None:
    folder = prepare(project, "drop", 0).folder
    assert folder is not None
    items(project, 1, set(range(24)))
    items(folder, 1, set(range(18)))
    controls.report(folder)
    items(project, 1, set(range(30)))
    assert status.gather(project)["rounds"][0]["controls"] == []
    sql(project, "UPDATE job SET finished_at=1 WHERE round=0 AND stage='select'")
    assert not controls.report(folder), "the round was run again since"


def test_an_unchanged_dataset_was_measured_by_the_round_itself(project: Path) -> None:
    items(project, 1, set(range(24)))
    items(project, 0, set(range(20)))
    ready = prepare(project, "none", 0)
    assert ready.folder is None
    assert not (project / "controls").exists()
    db = reader(project)
    (row,) = controls.main_results(db, 0)
    db.close()
    assert (row.kind, row.value, row.ours, row.calls) == ("none", 0.5, 0.6, 0)


@pytest.mark.parametrize(
    ("change", "round", "reason"),
    [
        (
            "UPDATE job SET state='pending' WHERE round=2 AND stage='evaluate'",
            1,
            "the result of round 1 is not measured",
        ),
        (
            "UPDATE job SET input_key='x:other:2' WHERE round=2 AND stage='train'",
            1,
            "changed since train of round 2 ran",
        ),
        ("DELETE FROM artifact WHERE round=1", 1, "the model of round 1 was removed"),
        (
            "UPDATE job SET input_key='x:other:2' WHERE round=1 AND stage='rewrite'",
            1,
            "changed since rewrite of round 1",
        ),
        ("DELETE FROM rewrite WHERE round=1", 1, "asked the teacher about nothing"),
    ],
)
def test_what_cannot_be_compared_is_refused(project: Path, change: str, round: int, reason: str) -> None:
    sql(project, change)
    with pytest.raises(UsageError, match=reason):
        prepare(project, "random", measured(project, round))
    assert not (project / "controls").exists()


def test_the_command_refuses_what_a_control_does_not_take(project: Path) -> None:
    found = CliRunner().invoke(main, ["run", str(project), "--control", "drop", "--rounds", "3"])
    assert (found.exit_code, "leave out --rounds" in found.output) == (2, True)
    found = CliRunner().invoke(main, ["run", str(project), "--round", "0"])
    assert (found.exit_code, "--round belongs to --control" in found.output) == (2, True)


def test_a_model_that_is_gone_from_the_disk_is_named(project: Path) -> None:
    shutil.rmtree(project / "artifacts" / "round-1")
    with pytest.raises(UsageError, match="the checkpoint of round 1 is missing, and round 1 needs it"):
        prepare(project, "drop", 1)
    assert not list((project / "controls").iterdir())


def test_a_worker_tells_the_project_of_its_control_when_it_ends(project: Path) -> None:
    """Here it finds everything done already."""
    folder = prepare(project, "drop", 0).folder
    assert folder is not None
    items(project, 1, set(range(24)))
    items(folder, 1, set(range(18)))
    sql(folder, "INSERT OR IGNORE INTO job (round, stage, state) VALUES (1, 'train', 'done')")
    sql(folder, "UPDATE job SET state='done'")
    sql(folder, "INSERT OR REPLACE INTO plan (id, rounds, auto, want) VALUES (1, 1, 1, 'run')")
    sql(folder, "UPDATE round SET closing=1 WHERE round=1")
    sql(folder, "INSERT OR IGNORE INTO round (round, config, closing, started_at) VALUES (1, '{}', 1, 0)")
    db = connect.patient(folder, None)
    sql(folder, "INSERT INTO worker (id, pid, started, boot, heartbeat) VALUES (1, 0, 0, '', 0)")
    one = worker.Supervisor(folder, db, -1)
    assert "1 round is done" in one.run()
    db.close()
    assert sql(project, "SELECT kind FROM control WHERE round=0")[0][0] == "drop"
