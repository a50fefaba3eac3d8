"""Stages in processes on two machines, which are network namespaces with a cable between them.

The second machine finds nothing where the project is on the first; only the model is on both.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import Any

import msgspec
import pytest

from engine.config import schema as configs
from engine.distributed import world as worlds
from engine.distributed.torchrun import RANK_FAILED
from engine.nodes.door import Door, RunNeeds
from engine.store.rows import EvalItem, Losses, Metric, Ratings, Row
from tests.engine.distributed.test_ranks import CONFIG, job, launch
from tests.support import doors, namespaces, tiny
from tests.support.namespaces import Machine, two_machines
from tests.support.processes import customize_site, environ

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not()),
]
STAGES = "train,score,judge,evaluate"
DIES_AT = 3
WITHIN_S = 300.0

# Imported by every Python process. torch's way to unpickle what other processes say is refused in all of them; the
# process of the second machine kills itself in a step while there is a flag.
SITE = """
import os, sys
from tests.support.patched_imports import patch_on_import

def trusts_nobody(c10d):
    def refuse(*_):
        raise AssertionError("torch unpickles what came over the network")
    c10d._tensor_to_object = refuse

def dies(train):
    before = train._Steps.on_step_end
    def on_step_end(self, args, state, control, **others):
        if state.global_step == {step} and os.path.exists({flag!r}):
            import signal
            os.unlink({flag!r})
            os.kill(os.getpid(), signal.SIGKILL)
        return before(self, args, state, control, **others)
    train._Steps.on_step_end = on_step_end

PATCHES = {{"torch.distributed.distributed_c10d": trusts_nobody}}
if os.environ.get("RANK") == "1":
    PATCHES["engine.stages.train"] = dies
patch_on_import(PATCHES)
"""


@pytest.fixture
def doomed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file is there, rank 1 kills itself in step DIES_AT, and removes it."""
    flag = tmp_path / "shall-die"
    customize_site(tmp_path, SITE.format(step=DIES_AT, flag=str(flag)), monkeypatch)
    return flag


def make(folder: Path, model: Path, launched: str) -> tiny.Project:
    """A project whose processes draw dropout of their own, so that every random number tells."""
    folder.mkdir()
    text = CONFIG.format(model=model, processes=1, batch=2).replace("processes = 1\n", launched)
    text = text.replace("epochs = 2", "epochs = 2\nlora_dropout = 0.1").replace("steps = 100", "steps = 2")
    (folder / "config.toml").write_text(text, encoding="utf-8")
    chats = tiny.chats(36)
    return tiny.Project(folder, configs.load(folder), chats[:32], chats[32:])


@contextmanager
def started(machines: tuple[Machine, Machine], project: Path, stages: str) -> Iterator[list[Popen[str]]]:
    """The launchers of both machines, one process on each, and a door that hands out files to the second one."""
    first, second = machines
    death_r, death_w = os.pipe()
    with ExitStack() as stack:
        listener = first.inside(lambda: worlds.listen(first.address))
        needs = RunNeeds(2, 1, "cpu", project, "")
        door = Door(listener, doors.SECRET, doors.ABOUT, needs, lambda *_: None)
        port = listener.getsockname()[1]
        world, store = first.inside(
            lambda: worlds.begin(1, "cpu", str(project), nodes=2, host=first.address, door_port=port)
        )
        door.hand_out(world.secret("door"), world.port)
        first.inside(door.open)  # its threads are on that machine, too
        stack.callback(door.close, "the test is over")
        stack.enter_context(store)
        here = stack.enter_context(worlds.keep(world))
        there = stack.enter_context(worlds.keep(world.on(1, second.address)))
        run = [sys.executable, "-m", "engine.distributed.torchrun"]
        how: dict[str, Any] = {"env": environ(), "stdout": PIPE, "stderr": STDOUT, "start_new_session": True}
        handed = [here.fileno(), death_r, store.fileno()]
        command = [*run, *map(str, [here.fileno(), death_r, death_r]), str(project), "0", stages]
        one = first.start(command, pass_fds=handed, **how)
        handed = [there.fileno(), death_r]
        two = second.start([*run, *map(str, handed)], [project], pass_fds=handed, **how)
        os.close(death_r)
        try:
            yield [one, two]
        finally:
            os.close(death_w)
            for process in (one, two):
                process.communicate()


def ended(launchers: list[Popen[str]]) -> list[tuple[int, str]]:
    """Exit code and log of each."""
    logs = [process.communicate(timeout=WITHIN_S)[0] for process in launchers]
    return [(process.returncode, log) for process, log in zip(launchers, logs, strict=True)]


def signals(project: tiny.Project) -> dict[str, list[Row]]:
    """What the stages found, without the times."""
    ctx = project.ctx("score")
    kinds: tuple[type[Row], ...] = (Losses, Ratings, EvalItem)
    found = {kind.__name__: ctx.rows(kind) for kind in kinds}
    steps = [msgspec.structs.replace(row, at=0.0, tokens_per_s=0.0) for row in ctx.rows(Metric)]
    return {**found, "Metric": list[Row](steps)}


def weights(project: tiny.Project) -> bytes:
    folder = project.ctx("train").artifact("checkpoint")
    assert folder is not None
    return (folder / "adapter_model.safetensors").read_bytes()


def test_two_machines_find_what_two_processes_of_one_find_also_over_a_death(
    doomed: Path, tmp_path: Path, tiny_model: Path
) -> None:
    alone = make(tmp_path / "alone", tiny_model, "processes = 2\n")
    code, log = launch(alone.folder, STAGES, 2)
    assert (code, job(alone, "evaluate").state) == (0, "done"), log

    both = make(tmp_path / "both", tiny_model, "nodes = 2\nrendezvous = '10.213.7.1:29400'\n")
    doomed.touch()
    with two_machines() as machines:
        with started(machines, both.folder, STAGES) as launchers:
            (first, log), (second, other) = ended(launchers)
        assert (first, second) == (RANK_FAILED, RANK_FAILED), log + other
        assert "rank 1 of 2 (pid " in other.splitlines()[-1]
        assert ") was killed by signal 9 (SIGKILL)" in other.splitlines()[-1]
        states = sorted(path.name for path in both.ctx("train").workdir("checkpoint").glob("*-2/rng_state_*"))
        assert states == ["rng_state_0.pth", "rng_state_1.pth"]

        with started(machines, both.folder, STAGES) as launchers:
            (first, log), (second, other) = ended(launchers)
        assert (first, second, job(both, "evaluate").state) == (0, 0, "done"), log + other
    assert "training resumes at step 2" in both.events()
    assert weights(both) == weights(alone), "the same bytes"
    found = signals(both)
    assert found == signals(alone)
    assert {name: len(rows) for name, rows in found.items()} == {
        "Losses": 32,
        "Ratings": 32,
        "EvalItem": 4,
        "Metric": 8,
    }
