"""The whole loop with the demo's real models: undisturbed, killed in every stage, and on foreign text.

Sizes are small, the path is the product's own: the command line, the worker, a child per group, the nine stages.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import engine.demo
from engine.config.schema import load, snapshot
from engine.demo.project import create_demo
from engine.loop import NAMES
from engine.project.fork import fork
from engine.store import commands, read, write
from engine.store.connect import reader, writer
from engine.store.rows import Job, Rewrite
from engine.upkeep.backup import backup, restore
from tests.support.processes import cli, following, kill, read_until, run_child, status

pytestmark = pytest.mark.slow
ROWS, HELDOUT = 60, 20


def demo(folder: Path) -> Path:
    list(create_demo(folder, rows=ROWS, heldout=HELDOUT, seed=7))
    return folder


def exported(project: Path) -> bytes:
    out = project.parent / f"{project.name}.jsonl"
    done = cli("export", project, out, "--force", "--provenance", "--format", "messages")
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = demo(tmp_path_factory.mktemp("calm") / "P")
    done = cli("run", project, "--rounds", "1", "--auto", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def test_an_undisturbed_run_reports_every_stage_and_the_table(undisturbed: Path) -> None:
    facts = status(undisturbed)
    assert facts["worker"] == {"state": "idle", "pid": None, "trouble": None}
    assert [r["closing"] for r in facts["rounds"]] == [False, True]
    assert [s["name"] for s in facts["rounds"][0]["stages"]] == list(NAMES)
    assert all(s["state"] == "done" for r in facts["rounds"] for s in r["stages"])
    assert {"heldout_loss", "accuracy"} <= set(facts["rounds"][0]["scores"])
    assert sum(facts["rounds"][0]["selected"].values()) > 0
    rewrites = facts["rounds"][0]["rewrites"]
    assert rewrites["proposed"] == 0, "nobody waits in an unattended run"
    written = [row for row in rewrites_of(undisturbed) if row.state != "kept"]
    assert rewrites["accepted"] + rewrites["rejected"] + rewrites["failed"] == len(written) > 0
    found = facts["rounds"][0]["evidence"]
    assert found["flawed"] + found["kept"] >= 40, "the first batch and the control group"
    assert facts["rounds"][1]["size"] <= facts["rounds"][0]["size"], "merge.size = fixed; flawed ones are dropped"


def test_a_fork_without_changes_goes_on_to_the_same_bytes(undisturbed: Path, tmp_path: Path) -> None:
    fork(undisturbed, tmp_path / "F", 0, {})
    assert [s["state"] for s in status(tmp_path / "F")["rounds"][0]["stages"]] == ["done"] * 4 + ["pending"] * 5
    done = cli("run", tmp_path / "F", "--rounds", "1", "--auto", "--until", "merge", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert exported(tmp_path / "F") == exported(undisturbed)


def test_nobody_else_can_read_what_a_run_left(undisturbed: Path) -> None:
    places = [undisturbed, *undisturbed.rglob("*")]
    assert len(places) > 30
    assert [path for path in places if path.lstat().st_mode & 0o077 and not path.is_symlink()] == []


def test_a_finished_run_is_sound_and_comes_back_from_a_backup(undisturbed: Path, tmp_path: Path) -> None:
    """Also nothing in the store or beside it says where the project lay."""
    found = cli("check", undisturbed)
    assert (found.returncode, "✘" in found.stdout, "·" in found.stdout) == (0, False, False), found.stdout
    backup(undisturbed, tmp_path / "B")
    restore(tmp_path / "B", tmp_path / "R")
    assert exported(tmp_path / "R") == exported(undisturbed)
    own = str(undisturbed).encode()
    places = [path for path in (tmp_path / "R").rglob("*") if path.is_file() and path.parent.name != "logs"]
    assert [path.name for path in places if own in path.read_bytes()] == []


def test_running_again_when_done_does_nothing(undisturbed: Path) -> None:
    before = exported(undisturbed)
    done = cli("run", undisturbed, "--rounds", "1", "--auto", "--wait")
    assert done.returncode == 0
    assert exported(undisturbed) == before


def test_killed_in_every_stage_it_ends_in_the_same_bytes(undisturbed: Path, tmp_path: Path) -> None:
    """Child and worker are killed in turn as soon as a stage is seen to begin; `run` goes on each time."""
    project = demo(tmp_path / "P")
    landed = 0
    for number, stage in enumerate(NAMES):
        with following(project, "--rounds", "1", "--auto") as run:
            if read_until(run, f" {stage} "):
                worker, child = who_runs(project)
                landed += kill(child if child and number % 2 == 0 else worker)
    assert landed >= len(NAMES) // 2, "most kills must land"
    done = cli("run", project, "--rounds", "1", "--auto", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert exported(project) == exported(undisturbed)


def who_runs(project: Path) -> tuple[int | None, int | None]:
    """Pids of the worker and its child."""
    db = reader(project)
    try:
        found = read.worker(db)
        return (found.pid, found.child_pid) if found else (None, None)
    finally:
        db.close()


def test_a_child_that_dies_inside_a_save_loses_and_doubles_nothing(undisturbed: Path, tmp_path: Path) -> None:
    """SIGKILL at exact points of every stage: before its first save, and after a later one."""
    project = demo(tmp_path / "P")
    config = project / "config.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(re.sub("checkpoint_steps = .*", "checkpoint_steps = 3", text), encoding="utf-8")
    open_round(project)
    deaths = 0
    for stage in NAMES:
        for die_at, before in ((1, True), (8 if stage == "train" else 2, False)):
            code = run_child(project, 0, stage, die_at, before)
            assert code in (0, -signal.SIGKILL), f"{stage}: exit code {code}"
            deaths += code != 0
        assert run_child(project, 0, stage) == 0
        job = next(j for j in jobs_of(project) if j.stage == stage)
        assert job.state == "done", f"{stage}: {job.error}"
        assert job.done == job.total, stage
    assert deaths >= len(NAMES), "the kills must land"
    assert exported(project) == exported(undisturbed)


def open_round(project: Path) -> None:
    """What the worker does before its first child."""
    commands.set_plan(project, 1, auto=True)
    db = writer(project)
    write.open_round(db, 0, snapshot(load(project)), NAMES, closing=False, stopped=None)
    db.close()


def jobs_of(project: Path) -> list[Job]:
    db = reader(project)
    try:
        return read.jobs(db)
    finally:
        db.close()


def test_pause_and_resume_change_nothing(undisturbed: Path, tmp_path: Path) -> None:
    project = demo(tmp_path / "P")
    with following(project, "--rounds", "1", "--auto") as run:
        assert read_until(run, " train ")
        paused = cli("pause", project)
        assert paused.returncode == 0, paused.stderr
    facts = status(project)
    assert facts["worker"]["state"] == "paused"
    assert facts["rounds"][0]["stages"][0]["state"] == "paused"
    done = cli("run", project, "--rounds", "1", "--auto", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert exported(project) == exported(undisturbed)


def test_cancel_stops_a_stage_and_a_second_worker_is_refused(tmp_path: Path) -> None:
    project = demo(tmp_path / "P")
    with following(project, "--rounds", "1", "--auto") as run:
        assert read_until(run, " train ")
        second = cli("run", project, "--auto", "--wait")
        assert second.returncode == 1
        assert "already runs this project" in second.stderr
        assert second.stderr.count("\n") == 1
        assert cli("cancel", project).returncode == 0
    facts = status(project)
    assert facts["worker"]["state"] == "cancelled"
    assert who_runs(project) == (None, None)


def test_manual_review_waits_and_goes_on_after_the_decision(tmp_path: Path) -> None:
    project = demo(tmp_path / "P")
    waiting = cli("run", "P", "--rounds", "1", "--wait", cwd=tmp_path)  # a relative path, as people type it
    assert waiting.returncode == 4, waiting.stdout + waiting.stderr
    assert cli("status", project).returncode == 4
    open_ = status(project)["rounds"][0]["rewrites"]["proposed"]
    assert open_ > 0
    decided = cli("review", project, "--accept", "all")
    assert f"{open_} accepted, 0 rejected" in decided.stdout
    done = cli("run", project, "--rounds", "1", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert status(project)["rounds"][0]["rewrites"]["accepted"] == open_


FOREIGN = [
    ("Explain why the sky is blue, in two sentences. 🌍", "Air scatters short wavelengths more than long ones."),
    ("Write a haiku about {braces} and <prompt>markers</prompt>.", "Old pond {\n a frog leaps in }\n<|end|> splash"),
    ("Übersetze: 'Guten Morgen' \u202e", "Good morning! \x1b]52;c;aGk=\x07 [bold]not markup[/bold]"),
    ("列出三种水果。", "苹果、香蕉、橙子。"),
]


def foreign_rows(n: int) -> list[tuple[str, str]]:
    return [(f"{q} ({i})", f"{a} ({i})") for i, (q, a) in zip(range(n), FOREIGN * n, strict=False)]


FORMATS: dict[str, Callable[[str, str], dict[str, object]]] = {
    "alpaca": lambda q, a: {"instruction": q, "input": "", "output": a},
    "messages": lambda q, a: {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]},
}


@pytest.mark.parametrize("name", FORMATS)
def test_foreign_text_leaves_with_as_many_valid_rows_as_it_came(name: str, tmp_path: Path) -> None:
    """A tiny model writes gibberish about real text: it is rejected or fails with a reason, and nothing is lost."""
    data, out = tmp_path / f"{name}.json", tmp_path / f"out-{name}.json"
    rows = [FORMATS[name](q, a) for q, a in foreign_rows(24)]
    data.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    project = tmp_path / "P"
    made = cli("init", project, "--data", data, "--model", Path(engine.demo.__file__).parent / "base")
    assert made.returncode == 0, made.stderr
    small_replies(project)
    done = cli("run", project, "--rounds", "1", "--auto", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert cli("export", project, out, "--format", name).returncode == 0
    kept = json.loads(out.read_text(encoding="utf-8"))
    assert len(kept) == len(rows)
    refused = [r for r in rewrites_of(project) if r.state in ("failed", "rejected")]
    assert all(r.reason for r in refused)
    if not any(r.state == "accepted" for r in rewrites_of(project)):
        assert kept == rows


def small_replies(project: Path) -> None:
    """Gibberish has no end: a low cap on its length keeps the test short."""
    config = project / "config.toml"
    text = config.read_text(encoding="utf-8").replace("max_new_tokens = 2048", "max_new_tokens = 40")
    config.write_text(text, encoding="utf-8")


def rewrites_of(project: Path) -> list[Rewrite]:
    db = reader(project)
    try:
        return read.rows(db, Rewrite, 0)
    finally:
        db.close()
