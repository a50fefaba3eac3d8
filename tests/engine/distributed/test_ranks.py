"""Stages in two real processes under torchrun: they learn what one process learns, and a wrong number is refused."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest
from safetensors.torch import load_file
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, not declared so

from engine.config import schema as configs
from engine.distributed import ranks
from engine.distributed import world as worlds
from engine.errors import ConfigError, StageError
from engine.stages import train
from engine.store import read
from engine.store.connect import writer
from engine.store.rows import Job, Metric
from tests.support import tiny
from tests.support.processes import environ

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
    child = [str(project), "0", stages]
    command, handed = ["engine.runtime.run_stage", *child, str(death_r)], [death_r]
    with ExitStack() as stack:
        if processes > 1:
            world, listener = worlds.begin(processes, "cpu", str(project))
            stack.enter_context(listener)
            file = stack.enter_context(worlds.keep(world))
            files = [file.fileno(), death_r, death_r]
            command = ["engine.distributed.torchrun", *map(str, files), *child]
            handed += [file.fileno(), listener.fileno()]
        argv = [sys.executable, "-m", *command]
        process = stack.enter_context(
            Popen(argv, env=environ(), pass_fds=handed, stdout=PIPE, stderr=STDOUT, text=True)
        )
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
    shutil.copytree(two.folder, tmp_path / "left")
    code, log = launch(two.folder, "train", 2)
    assert (code, job(two, "train").state) == (0, "done"), log
    assert "training resumes at step 1" in two.events()

    same(two, one)

    left = copy(two)  # one of two machines: as many samples in a step
    left.folder, left.db = tmp_path / "left", writer(tmp_path / "left")
    train.run(left.ctx("train"))
    said = "1 of 2 processes train, each with gradient_accumulation = 4 in place of 2: every step learns from the same"
    assert f"{said} samples" in left.events()
    assert "training resumes at step 1" in left.events()
    same(left, one)


def same(found: tiny.Project, expected: tiny.Project) -> None:
    """The same steps and the same adapter, up to rounding."""
    one, two = (p.ctx("train").rows(Metric) for p in (expected, found))
    assert [row.step for row in two] == [row.step for row in one] == list(range(1, 9))
    assert [row.loss for row in two] == pytest.approx([row.loss for row in one], abs=1e-4)
    assert [row.grad_norm for row in two] == pytest.approx([row.grad_norm for row in one], rel=1e-3)
    adapters = [p.ctx("train").artifact("checkpoint") for p in (expected, found)]
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
from engine.distributed import shared_paths, ranks, world
ranks.ORDINARY = timedelta(seconds=1)
ranks.END_S = 0.0
ranks.join(world.read(int(sys.argv[1])))
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
def test_a_step_waits_for_an_ordinary_time_and_an_order_for_ever() -> None:
    said = together(LATE, 2)
    assert said[0].splitlines() == ["ended: True", "[-1, -2, -3]"], said


@contextmanager
def met(processes: int, project: str = "/p") -> Iterator[int]:
    """A launch whose store this process opens in place of a launcher; the open file that tells of it."""
    world, listener = worlds.begin(processes, "cpu", project)
    with listener, worlds.keep(world) as file:
        store = TCPStore(world.host, world.port, is_master=True, master_listen_fd=os.dup(listener.fileno()))
        yield file.fileno()
        del store


def together(program: str, processes: int) -> list[str]:
    """What a program prints in each of several processes that know one launch, by rank; its argument is the World."""
    with met(processes) as told:
        running = [
            Popen(
                [sys.executable, "-c", program, str(told)],
                env={**environ(), "RANK": str(rank), "WORLD_SIZE": str(processes)},
                pass_fds=[told],
                stdout=PIPE,
                text=True,
            )
            for rank in range(processes)
        ]
        return [process.communicate(timeout=300)[0] for process in running]


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
        with pytest.raises(ConfigError, match=r"processes = 1 on each of 2 machines\. Set device"):
            ranks.check(2, "cuda:1", 2)
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
