"""A project that the first release made opens, is brought up to date, and goes on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from engine.config import schema as configs
from engine.config.edit import edit
from engine.loop import NAMES, Limits, Open, next_step
from engine.store import commands, read, write
from engine.store.connect import KEPT_BEFORE, reader, writer
from engine.store.schema import migrate, migrations
from engine.upkeep.check import check
from tests.support.first_release import unpack
from tests.support.processes import cli, run_child


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return unpack(tmp_path / "P")


def tables(file: Path) -> dict[str, list[tuple[object, ...]]]:
    db = sqlite3.connect(file)
    try:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table' AND sql NOT NULL")]
        return {
            name: db.execute(f"SELECT * FROM {name}").fetchall() for name in names if not name.startswith("sample_")
        }
    finally:
        db.close()


def test_it_opens_and_a_copy_of_what_it_was_is_kept(project: Path) -> None:
    before = tables(project / "middo.db")
    db = reader(project)
    assert len(read.dataset(db, 0)) == len(read.dataset(db, 1)) == 60
    assert db.execute("SELECT count(*) FROM rewrite WHERE state='accepted'").fetchone()[0] == 28
    db.close()
    (kept,) = project.glob(f"{KEPT_BEFORE}*")
    assert kept.name == "middo.db.before-m002_look_closer"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert tables(kept) == before
    reader(project).close()
    assert [path.name for path in project.glob(f"{KEPT_BEFORE}*")] == [kept.name], "once, not at every opening"


def test_every_invariant_holds_after_it_was_brought_up_to_date(project: Path) -> None:
    found = check(project)
    damage = {(fault.name, fault.where) for fault in found.faults if fault.level == "damage"}
    models = {"artifacts/round-0/checkpoint/final", "artifacts/round-0/embeddings/ee3e120670ffd31d.npy"}
    assert damage == {("artifact", path) for path in models}, "only the models are not there"


@pytest.mark.parametrize("known", range(1, len(migrations._migrations)))
def test_every_schema_since_then_leads_to_the_same_one(project: Path, tmp_path: Path, known: int) -> None:
    """``known``: how many migrations the version had that wrote the project last."""
    db = writer(project)
    migrations.apply(Database(db, execute_plugins=False), stop_before=migrations._migrations[known].name)
    db.close()
    migrate(project)
    migrate(tmp_path, create=True)
    assert schema(project) == schema(tmp_path)


def schema(project: Path) -> set[tuple[str, str, tuple[str, ...]]]:
    """Every table and index with its columns."""
    db = reader(project)
    try:
        found = db.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_auto%'").fetchall()
        columns = "SELECT name FROM pragma_table_xinfo(?) UNION ALL SELECT name FROM pragma_index_xinfo(?)"
        return {(r["type"], r["name"], tuple(str(c[0]) for c in db.execute(columns, (r["name"],) * 2))) for r in found}
    finally:
        db.close()


def test_its_price_is_the_models(project: Path) -> None:
    edit_text = (project / "config.toml").read_text(encoding="utf-8").replace("input = 0.0", "input = 1.5")
    (project / "config.toml").write_text(edit_text, encoding="utf-8")
    prices = configs.load(project).teacher.prices
    assert {name: (price.input, price.output) for name, price in prices.items()} == {"demo:teacher": (1.5, 0.0)}


def test_its_next_round_opens_trains_and_evaluates(project: Path) -> None:
    migrate(project)
    config = configs.load(project)
    commands.set_plan(project, 2, auto=True)
    db = writer(project)
    step = next_step(read.jobs(db), {}, read.plan(db), read.round_facts(db, 0), Limits.of(config))
    assert step == Open(1, closing=False)
    edit(project, {"train.epochs": 0.2, "evaluate.max_new_tokens": 4})
    write.open_round(db, 1, configs.snapshot(configs.load(project)), NAMES, closing=False, stopped=None)
    assert run_child(project, 1, "train") == 0
    state = {job.stage: (job.state, job.error) for job in read.jobs(db) if job.round == 1}
    db.close()
    assert state["train"] == ("done", None)
    assert cli("status", project).returncode == 0
