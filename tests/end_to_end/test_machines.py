"""A run on two machines (network namespaces with a cable between them) by a person's commands: `run` on the first one
and `join` on the second, which is killed. The first one goes on alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import Any

import pytest

from engine.store import read
from engine.store.connect import reader
from tests.end_to_end.test_ranks import FLAGS, alone, demo, reasons, signals
from tests.support import namespaces, processes
from tests.support.dying_rank import ITS_JOIN, doomed
from tests.support.namespaces import ADDRESSES, Machine, two_machines
from tests.support.processes import PROGRAM, status

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not())]
MEETING = f"{ADDRESSES[0]}:29400"
WITHIN_S = 600.0
HOW: dict[str, Any] = {"stdout": PIPE, "stderr": STDOUT, "start_new_session": True}


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    with two_machines() as made:
        yield made


def test_a_run_on_two_machines_goes_on_with_the_one_that_is_left(
    machines: tuple[Machine, Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = demo(tmp_path / "P", nodes=2, rendezvous=f'"{MEETING}"', min_nodes=2, wait_s=0)
    flag = doomed(tmp_path, ITS_JOIN, monkeypatch)
    monkeypatch.setitem(processes.ENV, "MIDDO_JOIN_TOKEN", "a token for two machines")

    flag.touch()
    run, join = both(machines, project)
    assert (run[0], join[0]) == (1, -9), run[1] + join[1]
    states = {s["name"]: s["state"] for s in status(project)["rounds"][0]["stages"]}
    assert [states[name] for name in ("train", "score", "judge")] == ["done", "done", "failed"]
    assert f"machine 2 of 2, {os.uname().nodename} ({ADDRESSES[1]}), closed the connection; run" in reasons(project)

    config = project / "config.toml"  # the default, which would have begun without the other machine, too
    config.write_text(config.read_text(encoding="utf-8").replace("min_nodes = 2", "min_nodes = 1"), encoding="utf-8")
    left = started(machines[0], project)
    said = left.communicate(timeout=WITHIN_S)[0]
    assert left.returncode == 0, said
    assert "goes on with 1 of 2 machines: judge, evaluate, select of round 0" in logged(project)
    assert signals(project) == signals(alone(project, tmp_path / "Q")), "the same bits as one process finds"


def started(first: Machine, project: Path) -> Popen[str]:
    """`run` on the first machine."""
    return first.start([*PROGRAM, "run", str(project), *FLAGS, "--wait"], env=processes.environ(), **HOW)


def logged(project: Path) -> list[str]:
    """The lines of the log."""
    db = reader(project)
    try:
        return [event.text for event in read.events(db)]
    finally:
        db.close()


def both(machines: tuple[Machine, Machine], project: Path) -> list[tuple[int, str]]:
    """`run` on the first machine and `join` on the second, which sees no project: exit codes and what they said."""
    run = started(machines[0], project)
    join = machines[1].start([*PROGRAM, "join", MEETING], [project], env=processes.environ(), **HOW)
    said = [process.communicate(timeout=WITHIN_S)[0] for process in (run, join)]
    return [(run.returncode, said[0]), (join.returncode, said[1])]
