"""Stages in two real processes under torchrun: they learn what one process learns, and a wrong number is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest
from safetensors.torch import load_file

from engine.config import schema as configs
from engine.distributed import ranks
from engine.errors import ConfigError, StageError
from engine.stages import train
from engine.store import read
from engine.store.rows import Job, Metric
from tests.support import ROOT, tiny

ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
# Two epochs of four steps; without dropout, since every process draws its own.
CONFIG = (
    tiny.BASE.replace("lora_dropout = 0.1", "epochs = 2")
    .replace("batch_size = 4\ngradient", "batch_size = {batch}\ngradient")
    .replace("checkpoint_steps = 3", "checkpoint_steps = 100")
    + "[launch]\nprocesses = {processes}\n"
)


def make(folder: Path, model: Path, processes: int, batch: int = 4) -> tiny.Project:
    """A project with a config.toml, as the child reads it."""
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIG.format(model=model, processes=processes, batch=batch), encoding="utf-8")
    return tiny.Project(folder, configs.load(folder), tiny.chats(32))


def launch(project: Path, stages: str, processes: int) -> tuple[int, str]:
    """Run stages of round 0 as the worker does; returns exit code and log."""
    death_r, death_w = os.pipe()
    child = [str(project), "0", stages, str(death_r)]
    command = ["engine.runtime.run_stage", *child]
    if processes > 1:
        command = ["engine.distributed.torchrun", str(processes), *child, str(death_r)]
    with Popen(
        [sys.executable, "-m", *command], env=ENV, pass_fds=[death_r], stdout=PIPE, stderr=STDOUT, text=True
    ) as process:
        os.close(death_r)
        log, _ = process.communicate(timeout=300)
    os.close(death_w)
    return process.returncode, log


def job(project: tiny.Project, stage: str) -> Job:
    return next(job for job in read.jobs(project.db) if job.stage == stage)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_batches_twice_as_large(tmp_path: Path, tiny_model: Path) -> None:
    """Also over a pause: all processes stop at the same step and go on from one checkpoint."""
    one = make(tmp_path / "one", tiny_model, 1, batch=4)
    train.run(one.ctx("train"))
    two = make(tmp_path / "two", tiny_model, 2, batch=2)
    two.want("pause")
    code, log = launch(two.folder, "train", 2)
    assert (code, job(two, "train").state) == (0, "paused"), log
    assert [row.step for row in two.ctx("train").rows(Metric)] == [1]
    assert sorted(path.name for path in two.ctx("train").workdir("checkpoint").glob("*/rng_state_*")) == [
        "rng_state_0.pth",
        "rng_state_1.pth",
    ]
    two.want("run")
    code, log = launch(two.folder, "train", 2)
    assert (code, job(two, "train").state) == (0, "done"), log
    assert "training resumes at step 1" in two.events()

    expected, found = (p.ctx("train").rows(Metric) for p in (one, two))
    assert len(expected) == 8
    assert [row.loss for row in found] == pytest.approx([row.loss for row in expected], abs=1e-4)
    assert [row.grad_norm for row in found] == pytest.approx([row.grad_norm for row in expected], rel=1e-3)
    adapters = [p.ctx("train").artifact("checkpoint") for p in (one, two)]
    assert None not in adapters
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in adapters if folder)
    assert first.keys() == second.keys()
    assert all(bool((first[name] - second[name]).abs().max() < 1e-3) for name in first)


@pytest.mark.slow
def test_another_number_of_processes_than_config_toml_says_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    project = make(tmp_path / "p", tiny_model, 3)
    for processes, says in ((1, "1 process started"), (2, "2 processes started")):
        code, log = launch(project.folder, "train", processes)
        refused = job(project, "train")
        assert refused.state == "failed", log
        assert f"{says}, but [launch] processes = 3." in str(refused.error)
        assert (code == 0) == (processes == 1), "the others must not wait for ever"
        assert not project.ctx("train").rows(Metric)


# Rank 1 waits for an order. Rank 0 asks for a collective that rank 1 never comes to, and then gives the order.
LATE = """
import operator, sys
from datetime import timedelta
from engine.distributed import ranks
ranks.ORDINARY = timedelta(seconds=1)
ranks.END_S = 0.0
ranks.join("cpu")
if ranks.rank():
    sys.exit(ranks.serve())
import torch
try:
    torch.distributed.all_reduce(torch.ones(1))
except RuntimeError as error:
    print("ended:", "imed out" in str(error))
print(list(ranks.map_batches(operator.neg, [1, 2, 3])))
ranks.dismiss()
"""


@pytest.mark.slow
def test_a_step_waits_for_an_ordinary_time_and_an_order_for_ever(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(LATE, encoding="utf-8")
    how = ["--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2", str(tmp_path / "late.py")]
    command = [sys.executable, "-m", "torch.distributed.run", *how]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["ended: True", "[-1, -2, -3]"], done.stderr


@contextmanager
def torchrun_says(processes: int) -> Iterator[None]:
    """Inside, torchrun's word for how many processes there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", str(processes))
        yield


def test_a_named_gpu_cannot_be_shared() -> None:
    with torchrun_says(2):
        with pytest.raises(ConfigError, match=r'device = "cuda:1" names one GPU, but \[launch\] processes = 2'):
            ranks.check(2, "cuda:1")
        with pytest.raises(StageError, match=r"2 processes started, but \[launch\] processes = 1"):
            ranks.check(1, "cpu")
        ranks.check(2, "cpu")


def test_one_process_deals_itself_one_item_after_the_other() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(3):
            taken.append(i)
            yield i

    assert [(found, len(taken)) for found in ranks.map_batches(str, items())] == [("0", 1), ("1", 2), ("2", 3)]
