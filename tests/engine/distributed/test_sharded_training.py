"""Training that an accelerate config spreads over two real processes: what DDP learns, from parts of the model.

accelerate splits nothing on a CPU, so the tests of FSDP have it take gloo for a GPU's backend; torch's own sharding,
its checkpoints and our stage are the real ones. DeepSpeed works on a CPU as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from engine.config import schema as configs
from engine.distributed import gather_weights
from engine.stages import train
from engine.store.rows import Metric
from tests.engine.distributed import test_ranks
from tests.engine.distributed.test_ranks import job, launch, make
from tests.support import ROOT, tiny
from tests.support.processes import ENV, customize_site, environ

pytestmark = pytest.mark.slow
EXAMPLES = ROOT / "docs" / "examples" / "accelerate"
LAST = 8  # steps: two epochs of four
KILLED_AT = 4

# Imported by every Python process of a run. In the ranks: gloo passes for a GPU's backend if FSDP is to be tried, and
# the first process kills itself in a step while there is a flag.
SITE = """
import os, sys
from tests.support.patched_imports import patch_on_import

def gloo_is_a_gpus(state):
    state.PartialState._prepare_backend = lambda *a, **k: ("gloo", state.DistributedType.MULTI_GPU)

def dies(train):
    before = train._Watch.pauses
    def pauses(self, state, logs):
        if state.global_step == {step} and os.path.exists({flag!r}):
            import signal
            os.unlink({flag!r})
            os.kill(os.getpid(), signal.SIGKILL)
        return before(self, state, logs)
    train._Watch.pauses = pauses

PATCHES = {{}}
if "RANK" in os.environ:
    PATCHES["engine.stages.train"] = dies
    if os.environ.get("MIDDO_TEST_FSDP"):
        PATCHES["accelerate.state"] = gloo_is_a_gpus
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
patch_on_import(PATCHES)
"""


@pytest.fixture
def flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file is there, rank 0 kills itself in step KILLED_AT, and removes it."""
    there = tmp_path / "shall-die"
    customize_site(tmp_path, SITE.format(step=KILLED_AT, flag=str(there)), monkeypatch)
    return there


@pytest.fixture
def fsdp(flag: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``flag``, with FSDP on a CPU."""
    monkeypatch.setitem(ENV, "MIDDO_TEST_FSDP", "1")
    return flag


Whole = Callable[[str], tiny.Project]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Whole:
    """One process that learns the same by batches twice as large, by method."""
    made: dict[str, tiny.Project] = {}

    def of(method: str) -> tiny.Project:
        if method not in made:
            made[method] = spread(tmp_path_factory.mktemp("whole"), tiny_model, method, "", 1)
            train.run(made[method].ctx("train"))
        return made[method]

    return of


def spread(folder: Path, model: Path, method: str, example: str, processes: int = 2) -> tiny.Project:
    """A project that trains by an example's accelerate config, made for two processes."""
    project = make(folder / "p", model, processes, batch=4 // processes)
    text = (project.folder / "config.toml").read_text(encoding="utf-8").replace("steps = 100", "steps = 2")
    text = text.replace("[train]\n", f'[train]\nmethod = "{method}"\n')
    if example:
        said = yaml.safe_load((EXAMPLES / example).read_text(encoding="utf-8")) | {"num_processes": processes}
        (project.folder / "spread.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
        text += 'accelerate_config = "spread.yaml"\n'
    (project.folder / "config.toml").write_text(text, encoding="utf-8")
    project.config = configs.load(project.folder)
    return project


def same(found: tiny.Project, expected: tiny.Project) -> None:
    """The same steps and the same finished model, file by file and weight by weight."""
    one, two = (p.ctx("train").rows(Metric) for p in (expected, found))
    assert [row.step for row in two] == list(range(1, LAST + 1))
    assert [row.loss for row in two] == pytest.approx([row.loss for row in one], abs=1e-4)
    assert [row.grad_norm for row in two] == pytest.approx([row.grad_norm for row in one], rel=1e-3)
    folders = [p.ctx("train").artifact("checkpoint") for p in (expected, found)]
    names = [{path.name for path in folder.iterdir()} for folder in folders if folder]
    assert names[0] == names[1]
    (file,) = (name for name in names[0] if name.endswith(".safetensors"))
    first, second = (load_file(folder / file) for folder in folders if folder)
    assert {n: (w.shape, w.dtype) for n, w in first.items()} == {n: (w.shape, w.dtype) for n, w in second.items()}
    assert all(bool((first[name] - second[name]).abs().max() < 1e-3) for name in first)
    left = [path.name for path in found.ctx("train").workdir("checkpoint").iterdir()]
    assert left == ["final"]


def killed(project: tiny.Project, flag: Path) -> Path:
    """A run whose rank 0 dies by SIGKILL; returns the checkpoint that the next run goes on from."""
    flag.touch()
    code, log = launch(project.folder, "train", 2)
    assert code == 70, log
    assert "rank 0 of 2" in log.splitlines()[-1]
    assert [row.step for row in project.ctx("train").rows(Metric)] == list(range(1, KILLED_AT))
    return project.ctx("train").workdir("checkpoint") / "checkpoint-2"


def finish(project: tiny.Project) -> None:
    """Run to the end."""
    code, log = launch(project.folder, "train", 2)
    assert (code, job(project, "train").state) == (0, "done"), log


def in_parts(checkpoint: Path) -> dict[str, int]:
    """By weight, of how many parts on different processes a sharded checkpoint holds it."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    reader = FileSystemReader(str(checkpoint / "pytorch_model_fsdp_0"))
    stored = reader.read_metadata().state_dict_metadata
    return {name: len(weight.chunks) for name, weight in stored.items() if hasattr(weight, "chunks")}


@pytest.mark.parametrize(("method", "weights"), [("full", 21), ("lora", 28)])
def test_fsdp_learns_what_whole_copies_learn_also_over_a_kill(
    method: str, weights: int, fsdp: Path, tmp_path: Path, tiny_model: Path, whole: Whole
) -> None:
    project = spread(tmp_path, tiny_model, method, "fsdp.yaml")
    parts = in_parts(killed(project, fsdp))
    assert set(parts.values()) == {2}, "every weight lies half in each process"
    assert len(parts) == weights
    finish(project)
    assert "training resumes at step 2" in project.events()
    assert "training runs as FSDP2, by spread.yaml" in project.events()
    same(project, whole(method))


def test_what_would_not_be_split_is_refused(flag: Path, tmp_path: Path, tiny_model: Path) -> None:
    """accelerate itself trains whole copies on a CPU, and says nothing."""
    project = spread(tmp_path, tiny_model, "lora", "fsdp.yaml")
    code, log = launch(project.folder, "train", 2)
    assert code != 0, log
    refused = job(project, "train")
    assert refused.state == "failed"
    assert "asks for FSDP2, but accelerate runs MULTI_CPU here" in str(refused.error), log
    assert not project.ctx("train").rows(Metric)


def test_accelerate_launch_itself_runs_the_stage(flag: Path, tmp_path: Path, tiny_model: Path, whole: Whole) -> None:
    """The real command in place of our launcher: the same as torchrun, and its one process for a CPU is refused."""
    from engine.processes.death_pipe import share_files

    project = spread(tmp_path, tiny_model, "lora", "ddp.yaml")
    file = project.folder / "spread.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file)]
    command += ["--main_process_port", "0", "--module", "engine.runtime.run_stage", str(project.folder), "0", "train"]

    def run(name: str) -> str:
        alive, end = os.pipe()
        with test_ranks.met(2, str(project.folder)) as told:
            kept = share_files(tmp_path / name, [alive, told, alive], 2)
            done = subprocess.run(
                [*command, str(tmp_path / name)], env=environ(), capture_output=True, text=True, timeout=300
            )
        for connection in kept:
            connection.close()
        os.close(alive)
        os.close(end)
        return done.stderr

    said = file.read_text(encoding="utf-8")
    file.write_text(said.replace("MULTI_GPU", "MULTI_CPU") + "use_cpu: true\n", encoding="utf-8")
    log = run("one")
    assert str(job(project, "train").error).startswith("1 process started, but [launch] processes = 2"), log
    file.write_text(said, encoding="utf-8")
    log = run("two")
    assert job(project, "train").state == "done", log
    same(project, whole("lora"))


def test_whole_copies_by_an_accelerate_config(flag: Path, tmp_path: Path, tiny_model: Path, whole: Whole) -> None:
    project = spread(tmp_path, tiny_model, "lora", "ddp.yaml")
    file = project.folder / "spread.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("MULTI_GPU", "MULTI_CPU"), encoding="utf-8")
    finish(project)
    same(project, whole("lora"))


def test_weights_that_are_one_stay_one(tmp_path: Path, tiny_model: Path) -> None:
    """A model whose head is its embedding is saved with one of them, as it is without an accelerate config."""
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_model, tie_word_embeddings=True))
    trainer = SimpleNamespace(accelerator=SimpleNamespace(unwrap_model=lambda model: model), model=model)
    state = gather_weights.whole(trainer, torch.bfloat16, trained=False)
    assert state is not None
    assert state["lm_head.weight"] is state["model.embed_tokens.weight"]
    assert {weight.dtype for weight in state.values()} == {torch.bfloat16}
    model.save_pretrained(tmp_path / "new", state_dict=state)
    assert "lm_head.weight" not in load_file(tmp_path / "new" / "model.safetensors")
    model.requires_grad_(False)
    model.lm_head.weight.requires_grad_(True)
    learned = gather_weights.whole(trainer, torch.float32, trained=True)
    assert learned is not None
    assert learned.keys() == {"lm_head.weight", "model.embed_tokens.weight"}


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
@pytest.mark.parametrize(
    ("example", "method"), [("zero2.yaml", "lora"), ("zero3.yaml", "full"), ("zero3.yaml", "lora")]
)
def test_deepspeed_learns_what_whole_copies_learn_also_over_a_kill(
    example: str,
    method: str,
    flag: Path,
    tmp_path: Path,
    tiny_model: Path,
    whole: Whole,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ENV, "DS_ACCELERATOR", "cpu")
    project = spread(tmp_path, tiny_model, method, example)
    checkpoint = killed(project, flag)
    states = sorted(path.name for path in checkpoint.glob("global_step2/*optim_states.pt"))
    assert len(states) == 2, "each process has its part of the optimiser"
    finish(project)
    assert "training resumes at step 2" in project.events()
    same(project, whole(method))
    folder = project.ctx("train").artifact("checkpoint")
    assert folder is not None
    if method == "full":
        assert (
            AutoModelForCausalLM.from_pretrained(folder).dtype == AutoModelForCausalLM.from_pretrained(tiny_model).dtype
        )
