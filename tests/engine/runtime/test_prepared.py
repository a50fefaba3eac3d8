"""The prepared process: what it imports, what its forks are, and when there are none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.config import schema as configs
from engine.loop import RunStages
from engine.processes import environment
from engine.runtime import child as children
from engine.runtime import imports, launch, prepared
from engine.runtime.child import Prepared, may_fork
from engine.runtime.orders import ForkOrder
from engine.runtime.worker import Supervisor
from engine.store import commands
from engine.store.connect import patient
from engine.store.read import jobs
from tests.support import ROOT, rounds, tiny

DEMO = '[model]\nname = "demo:base"\n'


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """A worker of 40 samples with their signals, before the select stage."""
    (tmp_path / "config.toml").write_text(f'{DEMO}[select]\nthreshold = "sigma"\n', encoding="utf-8")
    made = tiny.Project(tmp_path, configs.load(tmp_path), [tiny.chat(f"ask {i}", f"reply {i}") for i in range(40)])
    rounds.open_round(made, 0)
    rounds.signal(made, [(1.0 + i / 10, 0.5 + i / 20, 0.7, 6.5) for i in range(40)])
    commands.set_plan(tmp_path, 1)
    (tmp_path / "logs").mkdir()
    db = patient(tmp_path, None)
    lock = launch.lock(tmp_path)
    supervisor = Supervisor(tmp_path, db, lock)
    supervisor.register()
    yield supervisor
    supervisor.starter.end()
    os.close(lock)
    db.close()


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """The select stage alone needs no torch."""
    monkeypatch.setattr(imports, "MODEL", ())


def states(worker: Supervisor) -> dict[str, str]:
    return {job.stage: job.state for job in jobs(worker.db)}


@pytest.mark.usefixtures("light")
def test_a_group_runs_in_a_fork_and_the_next_one_in_another(supervisor: Supervisor) -> None:
    pids = []
    begin = children.Forked.begin

    def began(fork: children.Forked) -> None:
        pids.append(fork.pid)
        assert os.getsid(fork.pid) == os.getpgid(fork.pid) == fork.pid
        begin(fork)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children.Forked, "begin", began)
        for _ in range(2):
            assert supervisor.child(RunStages(0, ("select",))) == "done"
    assert states(supervisor)["select"] == "done"
    assert len(set(pids)) == 2
    assert supervisor.starter.prepared is not None
    parent = psutil.Process(supervisor.starter.prepared._process.pid)
    supervisor.starter.end()
    assert not parent.is_running()


@pytest.mark.usefixtures("light")
def test_a_killed_fork_is_told_like_any_killed_process(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children.Forked, "begin", lambda fork: os.kill(fork.pid, signal.SIGKILL))
    assert supervisor.child(RunStages(0, ("select",))) == "failed"
    assert "was killed by signal 9" in str(next(job.error for job in jobs(supervisor.db) if job.stage == "select"))


@pytest.mark.usefixtures("light")
def test_without_the_prepared_process_its_fork_ends_too(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks, begin = [], children.Forked.begin

    def kill_parent(fork: children.Forked) -> None:
        forks.append(psutil.Process(fork.pid))
        os.kill(fork._prepared._process.pid, signal.SIGKILL)
        begin(fork)

    monkeypatch.setattr(children.Forked, "begin", kill_parent)
    assert supervisor.child(RunStages(0, ("select",))) in ("failed", "done"), "it may have been faster"
    assert not psutil.wait_procs(forks, timeout=30)[1]
    monkeypatch.undo()
    assert supervisor.child(RunStages(0, ("select",))) == "done", "in a process of its own"
    assert supervisor.starter.prepared is None


def test_what_cannot_be_imported_is_left_to_a_process_of_its_own(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(imports, "MODEL", ("engine.no_such_module",))
    assert supervisor.child(RunStages(0, ("select",))) == "done"
    assert not supervisor.starter.forks
    assert "ModuleNotFoundError: No module named 'engine.no_such_module'" in capfd.readouterr().err


def test_a_cancel_while_libraries_are_imported(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the import, and the job says what was asked for."""
    monkeypatch.setattr(Prepared, "answer", lambda self, seconds: None)  # it never gets so far
    commands.set_want(supervisor.project, "cancel")
    assert supervisor.child(RunStages(0, ("select",))) == "cancelled"
    assert supervisor.starter.prepared is None


def test_it_ends_with_its_worker(tmp_path: Path) -> None:
    """Also while it is busy, and with what it has forked."""
    program = (
        "import os, sys; from pathlib import Path; from engine.runtime.child import Prepared;"
        "made = Prepared({**os.environ}); print(made._process.pid, flush=True); sys.stdin.read()"
    )
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, env=own) as worker:
        assert worker.stdout is not None
        process = psutil.Process(int(worker.stdout.readline()))
        worker.kill()
    assert not psutil.wait_procs([process], timeout=30)[1]


def test_an_open_gpu_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "GPU_FILES", (str(tmp_path / "nvidia"),))
    assert prepared.prepare(ForkOrder([], [], [])) is None
    with (tmp_path / "nvidia0").open("w"):
        assert prepared.prepare(ForkOrder([], [], [])) == f"an import opened {tmp_path / 'nvidia0'}"


def test_groups_with_keys_quantised_weights_or_vllm_get_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_PASS", "a key")

    def may(text: str, stage: str) -> bool:
        return may_fork(configs.parse(DEMO + text, "config.toml"), tmp_path, (stage,))

    keyed = '[teacher]\nbackend = "openai"\nmodel = "m"\nurl = "http://localhost/v1"\nkey_env = "OWN_PASS"\n'
    assert may(keyed, "train")
    assert not may(keyed, "rewrite")
    assert may(keyed.replace("OWN_PASS", "NOT_SET"), "rewrite")
    monkeypatch.setenv("WANDB_API_KEY", "another")
    assert not may('[train]\nreport_to = ["wandb"]\n', "train")
    assert not may('[train]\nmethod = "qlora"\n', "score")
    assert not may("[launch]\nprocesses = 2\n", "train")
    assert not may('[judge]\nbackend = "vllm"\n', "judge")
    (tmp_path / "M").mkdir()
    (tmp_path / "M" / "config.json").write_text('{"quantization_config": {"load_in_4bit": true}}')
    quantised = configs.parse('[model]\nname = "M"\n', "config.toml")
    assert not may_fork(quantised, tmp_path, ("train",))


LIBRARIES = """
import sys, torch
asked = []
for name in ("is_available", "device_count", "_lazy_init"):
    setattr(torch.cuda, name, lambda *a, name=name: asked.append(name) or 0)
from engine.runtime import imports
imports.load(sys.argv[1].split(), ["sklearn", "bitsandbytes"])
from engine.runtime.prepared import gpu_files
found = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
print(asked, gpu_files(), sorted(found & {"sklearn", "bitsandbytes", "torchvision", "matplotlib"}))
print(len(sys.modules))
import sklearn, transformers, transformers.generation.utils
"""


def test_no_library_comes_along_unused_and_none_asks_for_a_gpu() -> None:
    config = configs.parse(f"{DEMO}[score]\nclusters = false\n", "config.toml")
    names = [*imports.needed(config, ("train",)), *imports.needed(config, ("score", "judge", "evaluate", "select"))]
    names += [*imports.needed(config, ("rewrite",)), *imports.needed(config, ("verify", "review", "merge"))]
    own = environment.for_children({**os.environ, "OMP_NUM_THREADS": "1"})
    done = subprocess.run(
        [sys.executable, "-c", LIBRARIES, " ".join(names)], capture_output=True, text=True, env=own, check=True
    )
    nothing, count = done.stdout.splitlines()
    assert nothing == "[] [] []"
    assert int(count) < 4_400, "as they come, the libraries bring 5,100 modules"


LEAVING = """
import atexit, sys, threading
from engine.runtime.exit_process import leave
class Torn:
    def __del__(self): print("torn down")
kept = Torn()
atexit.register(print, "handler")
threading.Thread(target=lambda: sys.stdout.write("thread\\n")).start()
sys.stdout.write("buffered ")
leave(5)
"""


def test_a_process_leaves_with_all_it_has_said_and_without_tearing_down() -> None:
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, env=own)
    assert done.returncode == 5
    assert sorted(done.stdout.split()) == ["buffered", "handler", "thread"]
