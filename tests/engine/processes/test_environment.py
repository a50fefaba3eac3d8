"""What a run's processes find in their environment, and that they import nothing from the folder they stand in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config import schema as configs
from engine.evaluation.run_tasks import _environment
from engine.processes import environment
from engine.runtime.child import child_environment

LEFT = {
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "DS_ACCELERATOR": "cpu",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "NVIDIA_TF32_OVERRIDE": "1",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "HF_DATASETS_IN_MEMORY_MAX_SIZE": "1",
    "HF_ALLOW_CODE_EVAL": "1",
    "TRANSFORMERS_VERBOSITY": "debug",
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "10.0.0.1",
    "OMPI_COMM_WORLD_SIZE": "4",
    "PMI_SIZE": "4",
    "USE_TORCH": "0",
}
KEPT = {
    "HF_HOME": "/cache",
    "HF_HUB_OFFLINE": "1",
    "HF_ENDPOINT": "http://localhost",
    "HF_TOKEN_PATH": "/cache/token",
    "CUDA_VISIBLE_DEVICES": "0",
    "NCCL_SOCKET_IFNAME": "lo",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
}
NAMES = ("HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "OWN_PASS")
SECRET = dict.fromkeys(NAMES, "a key")
PLAIN = {"PATH": "/bin", "LD_LIBRARY_PATH": "/lib", "OMP_NUM_THREADS": "1", "https_proxy": "http://p", "LOCAL_X": "1"}


def test_what_steers_a_library_is_left_out_and_said() -> None:
    before = LEFT | KEPT | SECRET | PLAIN
    found = environment.for_children(before)
    assert not LEFT.keys() & found.keys()
    assert (KEPT | SECRET | PLAIN).items() <= found.items()
    said = environment.describe(before)
    assert said == f"ignored: {', '.join(sorted(LEFT))}; kept: {', '.join(sorted(KEPT))}"
    assert environment.describe(PLAIN) == ""


def test_keys_go_where_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRET.items():
        monkeypatch.setenv(name, value)
    asked = '[teacher]\nbackend = "openai"\nmodel = "m"\nurl = "http://localhost/v1"\nkey_env = "OWN_PASS"\n'
    config = configs.parse(asked, "config.toml")
    assert SECRET.keys() & child_environment(config, ("rewrite",)).keys() == {"HF_TOKEN", "OWN_PASS"}
    assert SECRET.keys() & child_environment(config, ("score", "judge")).keys() == {"HF_TOKEN"}
    assert SECRET.keys() & child_environment(config, ("train",)).keys() == {"HF_TOKEN"}
    tracked = configs.parse(asked + '[train]\nreport_to = ["wandb"]\n', "config.toml")
    assert SECRET.keys() & child_environment(tracked, ("train",)).keys() == SECRET.keys() - {"OWN_PASS"}
    assert SECRET.keys() & _environment(offline=False, code=False).keys() >= {"HF_TOKEN"}


def test_an_endpoint_judges_key_goes_where_it_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_PASS", "judge")
    monkeypatch.setenv("TEACHER_KEY", "teacher")
    asked = '[teacher]\nkey_env = "TEACHER_KEY"\n[judge]\nkey_env = "OWN_PASS"\n'
    endpoint = 'model = "endpoint"\nurl = "http://localhost/v1"\nendpoint_model = "m"\n'
    config = configs.parse(asked + endpoint, "config.toml")
    for stages, found in (
        (("score", "judge", "evaluate"), {"OWN_PASS"}),
        (("verify", "review", "merge"), {"OWN_PASS"}),
        (("rewrite",), {"TEACHER_KEY"}),
        (("train",), set()),
    ):
        assert {"OWN_PASS", "TEACHER_KEY"} & child_environment(config, stages).keys() == found, stages
    tuned = configs.parse(asked, "config.toml")
    assert "OWN_PASS" not in child_environment(tuned, ("judge",)), "another judge needs no key"
    assert "OWN_PASS" not in _environment(offline=False, code=False, known=config.secret_names)


def test_a_key_in_an_exception_is_taken_out_of_it() -> None:
    environ = {
        "API_KEY": "sk-0123456789",
        "LONG_API_KEY": "sk-0123456789-more",
        "PATH": "/usr/bin/long",
        "TOKEN": "abc",
    }
    text = "Headers: sk-0123456789-more, sk-0123456789; /usr/bin/long; abc"
    assert environment.without_values(text, environ) == "Headers: <LONG_API_KEY>, <API_KEY>; /usr/bin/long; abc"
    assert environment.without_values("a mypass-word", {"OWN_PASS": "mypass-word"}, ["OWN_PASS"]) == "a <OWN_PASS>"


def test_code_of_the_model_finds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """As lm-eval's process has its environment from a child that was given none but the hub's token."""
    config = configs.parse('[teacher]\nkey_env = "OWN_PASS"\n', "config.toml")
    for name, value in SECRET.items():
        monkeypatch.setenv(name, value)
    child = child_environment(config, ("score", "judge", "evaluate", "select"))
    for name in SECRET:
        monkeypatch.delenv(name)
    for name in SECRET.keys() & child.keys():
        monkeypatch.setenv(name, child[name])
    assert not SECRET.keys() & _environment(offline=False, code=True).keys()


@pytest.mark.parametrize(
    "module",
    ["engine.runtime.worker", "engine.selection.preview.build", "engine.hub.download", "engine.distributed.torchrun"],
)
def test_a_strangers_folder_is_no_place_to_import_from(module: str, tmp_path: Path) -> None:
    """Also by way of a PYTHONPATH that means the folder one is in."""
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\nraise SystemExit(77)\n"
    (tmp_path / "engine").mkdir()
    for name in ("engine/__init__.py", "datasets.py", "torch.py", "numpy.py", "msgspec.py", "psutil.py"):
        (tmp_path / name).write_text(trap)
    own = environment.for_children({**os.environ, "PYTHONPATH": os.pathsep.join(["", "."])})
    done = subprocess.run([sys.executable, "-m", module], cwd=tmp_path, env=own, capture_output=True, text=True)
    assert not (tmp_path / "sprung").exists()
    came_far = "IndexError" in done.stderr or "not enough values to unpack" in done.stderr
    assert came_far, "it came as far as reading what it was asked for"


@pytest.mark.parametrize("report_to", ["[]", '["wandb"]'])
def test_the_token_of_the_machines_reaches_no_stage_whatever_it_is_called(
    monkeypatch: pytest.MonkeyPatch, report_to: str
) -> None:
    monkeypatch.setenv("OUR_MACHINES", "0123456789abcdef")
    text = f'[launch]\nnodes = 2\ntoken_env = "OUR_MACHINES"\n[train]\nreport_to = {report_to}\n'
    config = configs.parse(text, "c")
    for stages in (("train",), ("score", "judge"), ("rewrite",)):
        assert "OUR_MACHINES" not in child_environment(config, stages)
    assert environment.without_values("token 0123456789abcdef", known=config.secret_names) == "token <OUR_MACHINES>"
