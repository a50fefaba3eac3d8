"""A demo project that was moved still runs: nothing in it says where it or this package lies."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.config import schema as configs
from engine.demo.project import create_demo
from engine.loop import NAMES
from engine.models import locate
from engine.store import commands, read, write
from engine.store.connect import reader, writer
from engine.store.rows import Rewrite
from tests.support import ROOT
from tests.support.processes import cli, run_child


def test_a_moved_demo_runs(tmp_path: Path) -> None:
    first = tmp_path / "here" / "P"
    list(create_demo(first, rows=24, heldout=8, seed=3))
    home = tmp_path / "there" / "Q"
    home.parent.mkdir()
    shutil.move(first, home)
    text = (home / "config.toml").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert str(ROOT) not in text
    assert (home / configs.load(home).data.heldout).is_file()

    found = cli("doctor", home, cwd=tmp_path)
    assert found.returncode == 0, found.stdout
    assert "demo:base" in found.stdout
    assert "demo:teacher" in found.stdout
    assert "hub name" not in found.stdout

    db = writer(home)
    write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
    write.upsert(db, [Rewrite(0, sample.id, "quality", "owed") for sample in read.dataset(db, 0)[:2]])
    db.close()
    commands.set_plan(home, 1)
    assert run_child(home, 0, "train,rewrite") == 0  # the base, then the teacher
    db = reader(home)
    state = {job.stage: (job.state, job.error) for job in read.jobs(db)}
    tries = [row.attempts for row in read.rows(db, Rewrite, 0)]
    db.close()
    assert state["train"] == state["rewrite"] == ("done", None)
    assert min(tries) > 0, "the teacher was asked"


def test_paths_work_as_before(tmp_path: Path) -> None:
    base = locate.DEMO["demo:base"]
    assert locate.locate("demo:base", tmp_path) == locate.locate(str(base), tmp_path) == base
    assert locate.local("demo:other", tmp_path) is None
    (tmp_path / "m").mkdir()
    locate.write_note(tmp_path / "m", locate.ModelRef(base), tmp_path)
    assert str(base) not in (tmp_path / "m" / locate.NOTE).read_text(encoding="utf-8")
