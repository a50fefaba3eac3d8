"""A copy of a project as it was before a round selected: what it keeps, what it forgets, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from shlex import quote

import pytest
from click.testing import CliRunner

from engine.config.edit import edit
from engine.config.schema import load
from engine.errors import ConfigError, UsageError
from engine.project.fork import MEASURED, fork
from engine.store import read
from engine.store.connect import reader
from middo_tui.cli.commands import main
from tests.support import invented_project

LATER = {
    "threshold", "selection", "rewrite", "decision", "call", "projection", "underway", "sent_call", "question", "batch",
    "batch_call", "control_arm", "control",
}  # fmt: skip
"""Tables of a round that its select stage and later ones write."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invented_project.make(tmp_path_factory.mktemp("fork") / "p")


def count(project: Path, sql: str) -> int:
    db = reader(project)
    try:
        return int(db.execute(sql).fetchone()[0])
    finally:
        db.close()


def test_the_copy_knows_nothing_of_what_came_after(project: Path, tmp_path: Path) -> None:
    fork(project, tmp_path / "F", 1, {"merge.size": "grow"})
    for table in ("selection", "rewrite", "threshold"):
        assert count(tmp_path / "F", f"SELECT count(*) FROM {table} WHERE round>=1") == 0
        assert count(project, f"SELECT count(*) FROM {table} WHERE round=1") > 0
    same = "SELECT count(*) FROM {} WHERE round<1"
    for table in ("selection", "rewrite", "signal"):
        assert count(tmp_path / "F", same.format(table)) == count(project, same.format(table)) > 0
    assert count(tmp_path / "F", "SELECT count(*) FROM signal WHERE round=1") > 0
    db, copy = reader(project), reader(tmp_path / "F")
    assert [s.id for s in read.dataset(copy, 1)] == [s.id for s in read.dataset(db, 1)]
    assert count(tmp_path / "F", "SELECT max(born_round) FROM sample") == 1
    assert {job.state for job in read.jobs(copy) if job.round == 1} == {"done", "pending"}
    db.close()
    copy.close()
    assert load(tmp_path / "F").merge.size == "grow"
    assert load(project).merge.size == "fixed"
    assert (tmp_path / "F").stat().st_mode & 0o777 == 0o700


def test_programs_in_the_project_are_found_from_the_copy(project: Path, tmp_path: Path) -> None:
    """They are run in the project's folder, and the copy has no files but its own."""
    for name in ("check.py", "sh"):
        (project / name).touch()
    command = ["sh", "-c", "x" * 5_000, "check.py", "gone.py", "artifacts"]
    try:
        edit(project, {"verify.command": command, "notify.command": ["./check.py", "sh"]})
        fork(project, tmp_path / "F", 1, {})
    finally:
        edit(project, {"verify.command": [], "notify.command": []})
    there, made = str((project / "check.py").resolve()), load(tmp_path / "F")
    assert made.verify.command == ("sh", "-c", "x" * 5_000, there, "gone.py", "artifacts")
    assert made.notify.command == (there, str((project / "sh").resolve()))


def test_the_command_changes_settings_and_says_what_is_next(project: Path, tmp_path: Path) -> None:
    words = ["fork", str(project), str(tmp_path / "F"), "--round", "1", "--set"]
    found = CliRunner().invoke(main, [*words, "merge.size=grow", "--set", "select.m_quality = 2.5"])
    assert found.exit_code == 0, found.output
    at = quote(str(tmp_path / "F"))
    assert f"Run it: middo-tui run {at} --rounds 2 --wait\nThen compare: middo-tui compare " in found.output
    config = load(tmp_path / "F")
    assert (config.merge.size, config.select.m_quality) == ("grow", 2.5)
    refused = CliRunner().invoke(main, [*words, "merge.size"])
    assert refused.exit_code == 2
    assert "give KEY=VALUE" in refused.output
    for bad in ("verify.command=[1", "merge.size='grow", "merge.size=grow\nx = 1", "merge.size=" + "[" * 5_000):
        refused = CliRunner().invoke(main, [*words, bad])
        assert refused.exit_code == 2
        assert "not a valid value. Write a list as" in refused.output


def test_every_table_of_rounds_is_known_to_the_fork(project: Path) -> None:
    db = reader(project)
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    per_round = {t for t in tables if "round" in {row[1] for row in db.execute(f"PRAGMA table_info('{t}')")}}
    db.close()
    assert per_round == MEASURED | LATER


def test_a_round_that_was_not_evaluated_cannot_be_forked(project: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="round 9 is not evaluated yet"):
        fork(project, tmp_path / "F", 9, {})
    assert not (tmp_path / "F").exists()


def test_a_wrong_change_leaves_nothing_behind(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        fork(project, tmp_path / "F", 1, {"merge.size": "huge"})
    assert "unfinished" not in str(refused.value), "a place that nobody knows"
    assert not (tmp_path / "F").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(UsageError, match="not empty"):
        fork(project, tmp_path / "full", 1, {})
    assert (tmp_path / "full" / "mine").exists()


def test_a_lost_map_is_no_reason_not_to_fork(project: Path, tmp_path: Path) -> None:
    fork(project, tmp_path / "whole", 1, {})
    assert (tmp_path / "whole" / "artifacts" / "round-1" / "map" / "coordinates.map").exists()
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    (copy / "artifacts" / "round-1" / "map" / "coordinates.map").unlink()
    fork(copy, tmp_path / "F", 1, {})
    assert count(tmp_path / "F", "SELECT count(*) FROM artifact WHERE round=1 AND name='map'") == 0
