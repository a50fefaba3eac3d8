"""Who can read a project, and what was taken out of one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.project import folder as projects
from engine.runtime import launch
from engine.store import connect, permissions


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def made(folder: Path) -> Path:
    rows = folder / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "say {i}", "response": "word {i}"}}\n' for i in range(20)), encoding="utf-8")
    projects.create(folder / "p", [rows], {"model": {"name": "some/model"}})
    return folder / "p"


def test_a_new_project_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    project = made(tmp_path)
    db = connect.writer(project)
    db.execute("INSERT INTO event (at, level, text) VALUES (0, 'info', 'so that there is a log')")
    os.close(launch.lock(project))
    places = list(project.rglob("*"))
    assert {"middo.db", "middo.db-wal", "middo.db-shm", "worker.lock", "config.toml", "logs"} <= {
        p.name for p in places
    }
    assert {rights(path) for path in places if path.is_file()} == {0o600}
    assert {rights(path) for path in (project, *places) if path.is_dir()} == {0o700}
    db.close()
    assert permissions.tighten(project) == 0


def test_an_older_project_is_tightened_when_it_is_opened_and_that_is_said(tmp_path: Path) -> None:
    project = made(tmp_path)
    outside = tmp_path / "outside.txt"
    outside.write_text("somebody else's", encoding="utf-8")
    outside.chmod(0o644)
    (project / "link").symlink_to(outside)
    for path in (project, project / "logs"):
        path.chmod(0o755)
    (project / connect.FILE).chmod(0o664)
    assert permissions.note(project).startswith(f"3 files and folders of {project} were readable by other users")
    assert [rights(p) for p in (project, project / "logs", project / connect.FILE)] == [0o700, 0o700, 0o600]
    assert rights(outside) == 0o644, "a link is not followed"
    assert permissions.note(project) == ""
    (project / "logs" / "step.log").touch(mode=0o644)  # as a library leaves it, in a folder that is closed
    assert permissions.note(project) == ""
    assert rights(project / "logs" / "step.log") == 0o600


def test_a_linked_database_is_tightened_where_it_lies(tmp_path: Path) -> None:
    project, disk = made(tmp_path), tmp_path / "disk.db"
    (project / connect.FILE).rename(disk)
    disk.chmod(0o644)
    (project / connect.FILE).symlink_to(disk)
    assert permissions.tighten(project) == 1
    assert rights(disk) == 0o600


def test_what_leaves_a_project_has_the_rights_of_a_new_file(tmp_path: Path, umask: int) -> None:
    project = made(tmp_path)
    inside = project / "artifacts" / "model"
    inside.mkdir()
    (inside / "weights").write_text("…", encoding="utf-8")
    permissions.tighten(project)
    permissions.copy(inside, tmp_path / "out")
    assert rights(tmp_path / "out") == 0o777 & ~umask
    assert rights(tmp_path / "out" / "weights") == 0o666 & ~umask
    projects.export(project, tmp_path / "out.jsonl", None, "messages")
    assert rights(tmp_path / "out.jsonl") == 0o666 & ~umask
