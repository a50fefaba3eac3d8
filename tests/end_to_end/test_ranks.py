"""Two processes for every stage that uses a model, driven by the real worker: killed, cancelled, resumed, compared."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import psutil
import pytest

from engine.demo.project import create_demo
from engine.store import read, write
from engine.store.connect import reader, writer
from engine.store.rows import CachedLoss, Flaw, Lenses, Losses, Neighbourhood, Ratings, Row, Selection
from middo_tui.feed.view import MARKS
from tests.support.dying_rank import ITSELF, doomed
from tests.support.processes import cli, following, kill, read_until, run_child, status

pytestmark = pytest.mark.slow
SIGNALS = (CachedLoss, Flaw, Lenses, Losses, Neighbourhood, Ratings, Selection)
DIAGNOSE = ("score", "judge", "evaluate", "select")
FLAGS = ("--rounds", "1", "--until", "select", "--auto")


def demo(folder: Path, **launch: object) -> Path:
    """A small demo that runs in two processes, if ``launch`` does not say otherwise, and judges in small batches."""
    list(create_demo(folder, rows=24, heldout=4, seed=7))
    config = folder / "config.toml"
    text = config.read_text(encoding="utf-8")
    for key, value in (launch or {"processes": 2}).items():
        text, changed = re.subn(rf"(?m)^{key} = .*", f"{key} = {value}", text)
        assert changed == 1
    text, changed = re.subn(r"(?s)(\n\[judge\]\n.*?\ntoken_budget) = \d+", r"\1 = 128", text, count=1)
    assert changed
    config.write_text(re.sub(r"epochs = .*", "epochs = 1", text), encoding="utf-8")
    return folder


def family(project: Path) -> list[psutil.Process]:
    """The launcher and its ranks."""
    db = reader(project)
    try:
        worker = read.worker(db)
    finally:
        db.close()
    assert worker is not None
    assert worker.child_pid is not None
    child = psutil.Process(worker.child_pid)
    return [child, *child.children(recursive=True)]


def test_two_processes_under_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, flag = demo(tmp_path / "P"), doomed(tmp_path, ITSELF, monkeypatch)

    with following(project, *FLAGS) as run:  # the worker is killed: nobody of its family stays
        assert read_until(run, " train ", MARKS["running"])
        members = family(project)
        assert {p.environ().get("RANK") for p in members} == {None, "0", "1"}
        open_to = [c.laddr.ip for p in members for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert set(open_to) == {"127.0.0.1"}, "nobody but this machine can reach them"
        assert kill(psutil.Process(members[0].pid).ppid())
        assert not psutil.wait_procs(members, timeout=30)[1]

    with following(project, *FLAGS) as run:  # cancelled: the same, and it is said
        assert read_until(run, " train ", MARKS["running"])
        members = family(project)
        assert cli("cancel", project).returncode == 0
    assert not psutil.wait_procs(members, timeout=30)[1]
    assert status(project)["worker"]["state"] == "cancelled"

    flag.touch()
    failed = cli("run", project, *FLAGS, "--wait")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    states = {s["name"]: s["state"] for s in status(project)["rounds"][0]["stages"]}
    assert [states[name] for name in ("train", "score", "judge")] == ["done", "done", "failed"]
    assert re.search(r"rank 1 of 2 \(pid \d+\) was killed by signal 9 \(.*; run again", reasons(project))
    assert signals(project)[Ratings], "what was judged before is kept"

    done = cli("run", project, *FLAGS, "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert signals(project) == signals(alone(project, tmp_path / "Q")), "the same bits as one process finds"


def alone(project: Path, copy: Path) -> Path:
    """The project with its round diagnosed anew, by one process."""
    shutil.copytree(project, copy)
    config = copy / "config.toml"
    text = re.sub(r"(?m)^(processes|nodes) = 2$", r"\1 = 1", config.read_text(encoding="utf-8"))
    config.write_text(text, encoding="utf-8")
    db = writer(copy)
    write.reset(db, 0, DIAGNOSE)
    db.execute("DELETE FROM loss_cache")
    db.close()
    shutil.rmtree(copy / "artifacts" / "round-0" / "embeddings")
    assert run_child(copy, 0, ",".join(DIAGNOSE)) == 0
    return copy


def reasons(project: Path) -> str:
    """The errors of round 0."""
    db = reader(project)
    try:
        return "\n".join(job.error or "" for job in read.jobs(db))
    finally:
        db.close()


def signals(project: Path) -> dict[type, list[Row]]:
    """All signals and what was selected by them."""
    db = reader(project)
    try:
        return {
            kind: read.rows(db, kind, 0)
            for kind in (CachedLoss, Flaw, Lenses, Losses, Neighbourhood, Ratings, Selection)
        }
    finally:
        db.close()
