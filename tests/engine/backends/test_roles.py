"""Which backend fills which role: what cannot be is refused before a run begins, and says the way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine import loop
from engine.backends import roles
from engine.backends.vllm import load
from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor.report import vllm
from engine.errors import BackendError, ConfigError
from engine.loop import RunStages
from engine.processes.death_pipe import kill_group
from engine.store.rows import Job, Plan

LIMITS = loop.Limits(final_train=True, min_acceptance=0.05, min_gain=-1.0)
JUDGE = '[judge]\nbackend = "vllm"\n'


def config(text: str) -> Config:
    return configs.parse(text, "config.toml")


def without(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    monkeypatch.setattr(roles, "vllm_version", lambda: version)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (JUDGE, '[judge] backend = "vllm"'),
        ('[teacher]\nbackend = "vllm"\n', '[teacher] backend = "vllm"'),
        (JUDGE + '[teacher]\nbackend = "vllm"\n', "[judge] and [teacher]"),
    ],
)
def test_a_role_whose_package_is_lacking_is_refused(text: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, None)
    with pytest.raises(BackendError, match="vLLM is not installed") as caught:
        roles.check(config(text))
    assert says in str(caught.value)
    assert 'pip install "middo-tui[vllm]"' in str(caught.value)
    found = vllm(config(text), 1)
    assert found is not None
    assert found.bad
    assert roles.INSTALL in found.fix
    with pytest.raises(BackendError, match="not installed"):
        load("nowhere")


def test_roles_without_it_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, None)
    roles.check(Config())
    assert vllm(Config(), 8) is None


@pytest.mark.parametrize(
    ("text", "gpus", "says"),
    [
        (JUDGE + '[model]\ndevice = "cuda:1"\n', 2, "CUDA_VISIBLE_DEVICES"),
        ('[teacher]\nbackend = "vllm"\ntemperature = 2.5\n', 1, "[teacher] temperature = 2.5"),
        (JUDGE + "[vllm]\ntensor_parallel = 2\ndata_parallel = 2\n", 2, "needs 4 GPUs"),
    ],
)
def test_what_it_cannot_do_here_is_found(text: str, gpus: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "0.33.0")
    found = vllm(config(text), gpus)
    assert found is not None
    assert found.bad
    assert says in found.text
    if "GPUs" not in says:
        with pytest.raises(ConfigError):
            roles.check(config(text))


@pytest.mark.parametrize(
    "text", ["[judge]\nconstrain = true\n", JUDGE + "constrain = true\n", '[judge]\nmode = "sampled"\nconstrain = true']
)
def test_only_drawn_ratings_of_vllm_can_be_constrained(text: str) -> None:
    with pytest.raises(ConfigError, match="constrain = true needs backend"):
        config(text)
    assert config(JUDGE + 'mode = "sampled"\nconstrain = true\n').judge.constrain


def test_a_judge_in_vllm_has_a_child_of_its_own() -> None:
    apart = loop.separate_stages(config(JUDGE))
    assert loop.separate_stages(Config()) == frozenset()

    def group(done: int) -> tuple[str, ...]:
        jobs = [Job(0, name, "done" if i < done else "pending") for i, name in enumerate(loop.NAMES)]
        step = loop.next_step(jobs, {}, Plan(rounds=2), None, LIMITS, apart)
        assert isinstance(step, RunStages)
        return step.stages

    assert [group(done) for done in (1, 2, 3, 6)] == [
        ("score",),
        ("judge",),
        ("evaluate", "select"),
        ("verify", "review", "merge"),
    ]


def test_where_vllm_rates_there_is_one_process() -> None:
    several = config(JUDGE + "[launch]\nprocesses = 4\n")
    assert loop.processes(several, ("score",)) == 4
    assert loop.processes(several, ("judge",)) == 1
    assert loop.processes(several, ("verify", "review")) == 1
    assert loop.processes(config("[launch]\nprocesses = 4\n"), ("judge",)) == 4
    (note,) = roles.notes(several)
    assert "does not apply to judge and verify" in note
    assert list(roles.notes(config(JUDGE))) == []


QLORA = '[train]\nmethod = "qlora"\n'


@pytest.mark.parametrize(
    ("text", "gpus", "says"),
    [
        (JUDGE, 0, '[judge] backend = "hf"'),
        (JUDGE + '[model]\ndevice = "cpu"\n', 1, "which needs a GPU"),
        ('[teacher]\nbackend = "vllm"\n', 0, '[teacher] backend = "hf"'),
        (JUDGE + '[vllm]\nquantization = "fp8"\n', 1, 'quantization = "fp8"'),
        (JUDGE + '[vllm]\nquantization = "bitsandbytes"\n', 1, None),
        ('[teacher]\nbackend = "vllm"\nmodel = "another"\n', 0, None),
    ],
)
def test_a_base_in_4_bits_is_refused_where_vllm_cannot_compute_it(
    text: str, gpus: int, says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "0.33.0")
    monkeypatch.setattr(roles, "visible_gpus", lambda: [object()] * gpus)
    if says is None:
        roles.check(config(QLORA + text))
        return
    with pytest.raises(ConfigError) as caught:
        roles.check(config(QLORA + text))
    assert says in str(caught.value)


def test_what_a_dead_child_left_behind_is_ended() -> None:
    """A child that dies with an engine process of its own: the engine goes too."""
    engine = "import sys, time; print('up', flush=True); time.sleep(600)"
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {engine!r}])"
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, start_new_session=True) as process:
        process.wait(60)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        kill_group(process.pid)
        assert process.stdout.read() == b"", "the pipe closes when the last process that holds it has ended"
    kill_group(process.pid)


def test_a_folder_called_vllm_is_no_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vllm").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(roles, "DISTRIBUTIONS", ())
    assert roles.vllm_version() is None
