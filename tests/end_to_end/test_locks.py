"""Another program's write lock in the middle of every stage, and a project taken away under a running worker."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from engine.loop import NAMES
from engine.store import read
from engine.store.connect import reader
from tests.end_to_end.test_loop import demo, exported, open_round, undisturbed, who_runs  # noqa: F401 - a fixture
from tests.support.processes import following, read_until, run_child

pytestmark = pytest.mark.slow

# Before every save another connection takes the write lock; it lets go when the child has said for the third time that
# it waits. What SQLite itself waits is made a millisecond, so each of these locks is longer than that.
LOCKS = """
from pathlib import Path
from engine.store import connect, database_file, lock_wait
database_file.LOOK_MS, lock_wait.PAUSE_S = 1, 0.0
other, waited = connect.writer(Path(sys.argv[2])), 0
plain, waits = context.StoreCtx.save, run_stage.ChildWatch.waits
def locked(self, rows, done=None):
    other.execute("BEGIN IMMEDIATE")
    plain(self, rows, done)
def waiting(self, trouble):
    global waited
    waits(self, trouble)
    waited += 1
    if waited % 3 == 0:
        other.execute("ROLLBACK")
        with open(sys.argv[2] + ".waits", "a") as file: print(sys.argv[4], file=file)
context.StoreCtx.save, run_stage.ChildWatch.waits = locked, waiting
"""


def test_a_foreign_lock_in_every_stage_changes_no_byte(undisturbed: Path, tmp_path: Path) -> None:  # noqa: F811
    project = demo(tmp_path / "P")
    open_round(project)
    for stage in NAMES:
        assert run_child(project, 0, stage, also=LOCKS) == 0
    db = reader(project)
    assert {(job.stage, job.state, job.error) for job in read.jobs(db)} == {(name, "done", None) for name in NAMES}
    db.close()
    waits = (tmp_path / "P.waits").read_text(encoding="utf-8").split()
    assert set(waits) == set(NAMES)
    assert exported(project) == exported(undisturbed)


def test_a_worker_ends_itself_and_its_child_when_its_project_is_moved(tmp_path: Path) -> None:
    project = demo(tmp_path / "P")
    with following(project, "--rounds", "1", "--auto") as run:
        assert read_until(run, " train ")
        pids = [pid for pid in who_runs(project) if pid]
        assert len(pids) == 2
        running = [psutil.Process(pid) for pid in pids]
        project.rename(tmp_path / "Q")
        _, left = psutil.wait_procs(running, timeout=60)
        assert not left
    log = (tmp_path / "Q" / "logs" / "worker.log").read_text(encoding="utf-8")
    assert "the project is gone" in log
    assert "Traceback" not in log
