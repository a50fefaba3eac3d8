"""``check`` finds every broken invariant, every cut-off file and every leftover, and nothing in a sound project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.store import write
from engine.store.connect import writer
from engine.upkeep.check import CheckReport, check
from engine.upkeep.invariants import INVARIANTS
from engine.upkeep.prune import prune
from tests.support.processes import cli
from tests.support.whole_project import EMBEDDINGS, FINAL, whole

ONE = "(SELECT id FROM sample WHERE born_round=0 ORDER BY seq LIMIT 1)"
BREAKS = {
    "sample-parent": "UPDATE sample SET parent_id=5 WHERE seq=(SELECT max(seq) FROM sample)",
    "sample-rounds": f"INSERT OR REPLACE INTO departure VALUES ({ONE}, 0)",
    "sample-future": f"INSERT OR REPLACE INTO departure VALUES ({ONE}, 9)",
    "sample-retired": "INSERT INTO retirement VALUES ((SELECT sample_id FROM departure WHERE round=1"
    " AND sample_id NOT IN (SELECT parent_id FROM sample WHERE parent_id NOT NULL) LIMIT 1), 1, 'copy', 0)",
    "sample-born": "UPDATE sample SET axis='none' WHERE seq=(SELECT max(seq) FROM sample)",
    "merged-born": "DELETE FROM sample WHERE seq=(SELECT max(seq) FROM sample)",
    "rewrite-text": "UPDATE rewrite SET messages=NULL WHERE state='accepted'",
    "rewrite-state": "UPDATE rewrite SET state='lost' WHERE state='rejected'",
    "rewrite-dataset": "UPDATE rewrite SET sample_id=(SELECT id FROM sample WHERE born_round=1 LIMIT 1)"
    " WHERE (sample_id, axis) IN (SELECT sample_id, axis FROM rewrite WHERE state='rejected' LIMIT 1)",
    "decision-rewrite": "INSERT INTO decision (batch, at, source, round, sample_id, axis, before, after)"
    f" VALUES (99, 0, 'app', 0, {ONE}, 'nothing', 'proposed', 'accepted')",
    "signal-whole": f"DELETE FROM signal WHERE sample_id={ONE}",
    "round-gap": "INSERT INTO round (round, config, started_at) VALUES (7, '{}', 0)",
    "round-stages": "DELETE FROM job WHERE stage='verify'",
    "job-state": "UPDATE job SET state='asleep' WHERE stage='merge'",
    "job-order": "UPDATE job SET state='pending' WHERE stage='select'",
    "overlap-item": f"INSERT INTO overlap VALUES ({ONE}, 900)",
    "index-size": "DELETE FROM sample_fts_docsize WHERE id=(SELECT min(id) FROM sample)",
    "sample-json": f"UPDATE sample SET messages='[[' WHERE id={ONE}",
    "sample-changed": f"UPDATE sample SET messages=replace(messages, 'a', 'b') WHERE id={ONE}",
    "rewrite-json": "UPDATE rewrite SET messages='{' WHERE state='rejected'",
    "artifact-json": "UPDATE artifact SET meta='{'",
    "job-type": "UPDATE job SET total='many' WHERE stage='train'",
    "signal-type": f"UPDATE signal SET flaw=x'ff' WHERE sample_id={ONE}",
    "round-type": "UPDATE round SET stopped=x'ff00'",
    "round-json": "UPDATE round SET config=''",
    **{
        f"{table}-sample": f"INSERT INTO {table} ({names}) VALUES ({values})"
        for table, names, values in (
            ("signal", "round, sample_id", "0, 3"),
            ("selection", "round, sample_id, axis, value, threshold", "0, 3, 'quality', 0, 0"),
            ("rewrite", "round, sample_id, axis", "0, 3, 'quality'"),
            ("label", "sample_id, round, place, stratum, share", "3, 0, 0, 0, 1"),
            ("override", "sample_id, action, at", "3, 'drop', 0"),
            ("unflagged", "sample_id, source, at", "3, 'app', 0"),
            ("departure", "sample_id, round", "3, 1"),
            ("retirement", "sample_id, round, reason, kept", "3, 1, 'copy', 0"),
            ("overlap", "sample_id, item", "3, 1"),
        )
    },
    "job-round": "INSERT INTO job (round, stage, state) VALUES (8, 'train', 'done')",
    "signal-round": f"INSERT INTO signal (round, sample_id) VALUES (8, {ONE})",
    "rewrite-round": f"INSERT INTO rewrite (round, sample_id, axis) VALUES (8, {ONE}, 'quality')",
    "artifact-round": "INSERT INTO artifact (round, name, path) VALUES (8, 'embeddings', 'middo.db')",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("sound") / "P")


@pytest.fixture
def project(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "P"))


def names(found: CheckReport, level: str = "damage") -> set[str]:
    return {fault.name for fault in found.faults if fault.level == level}


def test_a_sound_project_has_no_fault_and_is_left_as_it_is(sound: Path) -> None:
    before = (sound / "middo.db").read_bytes()
    found = check(sound)
    assert (found.faults, found.sound) == ((), True)
    assert (sound / "middo.db").read_bytes() == before
    assert found.rounds[0].artifacts > 0
    assert sum(found.tables.values()) == found.database


def test_every_invariant_has_a_break_here() -> None:
    assert {one.name for one in INVARIANTS} <= BREAKS.keys()


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_invariant_is_named(name: str, project: Path) -> None:
    db = writer(project)
    db.execute("PRAGMA foreign_keys=OFF")
    db.execute(BREAKS[name])
    db.close()
    found = check(project)
    assert name in names(found)
    assert not found.sound
    fault = next(one for one in found.faults if one.name == name)
    assert fault.where
    assert fault.mend


@pytest.mark.parametrize("file", [f"{FINAL}/model.safetensors", EMBEDDINGS, f"{FINAL}/config.json"])
def test_a_file_that_is_cut_off_anywhere_is_found(file: str, project: Path) -> None:
    whole_file = (project / file).read_bytes()
    for size in range(0, len(whole_file), 7):
        (project / file).write_bytes(whole_file[:size])
        (fault,) = (one for one in check(project).faults if one.name == "artifact")
        assert fault.where == file
    (project / file).unlink()
    if file == EMBEDDINGS:
        assert names(check(project)) == {"artifact"}


def test_damaged_pages_are_damage_and_nothing_else_is_said_of_them(project: Path) -> None:
    with (project / "middo.db").open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * 8192)
    found = check(project)
    assert names(found) == {"database"}
    said = cli("check", project)
    assert said.returncode == 1
    assert "Restore a backup" in said.stdout


def test_leftovers_are_notes_and_prune_removes_them(project: Path) -> None:
    left = project / "artifacts" / "round-0" / "checkpoint" / "checkpoint-3"
    left.mkdir()
    (left / "optimizer.pt").write_bytes(b"x" * 100)
    (project / "artifacts" / "round-0" / "ratings").mkdir()
    (project / "middo.db.before-m002").write_bytes(b"x" * 1000)
    found = check(project)
    assert found.sound
    assert names(found, "note") == {"leftover", "old-database", "rights"}
    done = prune(project)
    assert sorted(done.removed) == [
        "artifacts/round-0/checkpoint/checkpoint-3",
        "artifacts/round-0/ratings",
        "middo.db.before-m002",
    ]
    assert done.freed >= 1100
    assert names(check(project), "note") <= {"rights"}
    assert (project / FINAL / "model.safetensors").is_file()


@pytest.mark.parametrize("link", ["artifacts", "artifacts/round-5", "artifacts/round-0/ratings"])
def test_what_a_link_leads_to_outside_is_nobodys_leftover(project: Path, tmp_path: Path, link: str) -> None:
    """A project of somebody else's may hold links into your home: ``prune`` empties nothing there."""
    home = tmp_path / "home"
    if link == "artifacts":
        shutil.move(project / "artifacts", home)
        (home / "round-5" / "Documents").mkdir(parents=True)
    else:
        (home / "Documents").mkdir(parents=True)
    (project / link).symlink_to(home)
    there = sorted(home.rglob("*"))
    prune(project)
    assert sorted(home.rglob("*")) == there


def test_a_stage_that_may_go_on_leaves_nothing_behind(project: Path) -> None:
    db = writer(project)
    db.execute("UPDATE job SET state='paused' WHERE stage IN ('verify','review','merge')")
    db.close()
    (project / "artifacts" / "round-0" / "ratings").mkdir()
    assert "leftover" not in names(check(project), "note")


def test_old_models_go_when_asked_but_not_the_newest(project: Path) -> None:
    db = writer(project)
    db.execute("INSERT INTO round (round, config, started_at) SELECT 1, config, started_at FROM round")
    db.execute("INSERT INTO job (round, stage, state) SELECT 1, stage, state FROM job")
    db.execute("INSERT INTO artifact SELECT 1, name, replace(path, 'round-0', 'round-1'), meta FROM artifact")
    db.execute("UPDATE score SET value=0 WHERE round=0 AND task='accuracy'")
    db.execute("INSERT INTO score SELECT 1, task, value + higher, stderr, n, metric, higher, source FROM score")
    db.close()
    shutil.copytree(project / "artifacts" / "round-0", project / "artifacts" / "round-1")
    done = prune(project, checkpoints=1)
    assert done.removed == ("artifacts/round-0/checkpoint",)
    assert (project / "artifacts" / "round-1" / "checkpoint" / "final").is_dir()
    assert "artifact" not in names(check(project))


def test_the_command_says_how_to_mend_and_its_exit_code_tells(project: Path) -> None:
    assert cli("check", project).returncode == 0
    (project / EMBEDDINGS).unlink()
    said = cli("check", project)
    assert said.returncode == 1
    assert f"✘ {EMBEDDINGS}: missing" in said.stdout
    assert "--redo score" in said.stdout
    told = json.loads(cli("check", project, "--json").stdout)
    assert told["sound"] is False
    assert told["faults"][0]["name"] == "artifact"
    assert cli("check", project / "none").returncode == 1


def test_a_database_of_no_bytes_is_no_reason_to_begin_anew(project: Path) -> None:
    (project / "middo.db").write_bytes(b"")
    said = cli("check", project)
    assert said.returncode != 0
    assert "Restore a backup with `middo-tui restore`" in said.stdout + said.stderr
    assert "init" not in said.stdout + said.stderr


def test_a_stage_that_failed_is_a_note_with_its_reason(project: Path) -> None:
    db = writer(project)
    db.execute("UPDATE job SET state='failed', error='the disk is full.' WHERE stage='verify'")
    db.execute("UPDATE job SET state='interrupted' WHERE stage='merge'")
    db.close()
    found = {one.where: one for one in check(project).faults if one.name == "stage"}
    assert {one.level for one in found.values()} == {"note"}
    assert found["verify of round 0"].what == "the disk is full"
    assert found["merge of round 0"].what == "it was interrupted"
    assert all("Run the project" in one.mend for one in found.values())


def test_a_worker_that_died_between_two_stages_is_told_too(project: Path) -> None:
    db = writer(project)
    write.register(db, pid=2**22 + 1, started=1.0, boot="")
    db.close()
    (found,) = [one for one in check(project).faults if one.name == "worker"]
    assert (found.level, found.where, found.what) == ("note", "between two stages", "its worker has died")
