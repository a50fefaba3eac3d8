"""What a test sees of the machine and of whoever runs it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.support import surroundings
from tests.support.processes import environ

SHELL = {
    "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "MIDDO_TEST_DATA": "/data", "OMP_NUM_THREADS": "1",  # these stay
    "HF_TOKEN": "hf_x", "OPENAI_API_KEY": "sk-x", "HF_HOME": "/big", "HF_HUB_OFFLINE": "0", "NO_COLOR": "1",
    "COLUMNS": "40", "TERM": "dumb", "LC_ALL": "POSIX", "TZ": "Pacific/Auckland", "https_proxy": "http://127.0.0.1:9",
    "XDG_CONFIG_HOME": "/theirs", "MIDDO_JOIN_TOKEN": "x", "ACCELERATE_MIXED_PRECISION": "bf16", "SLURM_JOB_ID": "7",
    "GIT_DIR": "/theirs", "EDITOR": "vi", "PYTHONPATH": "/theirs", "CI": "1",
}  # fmt: skip


def test_a_shells_settings_and_keys_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".cache" / "middo-tui" / "smollm2-135m-instruct").mkdir(parents=True)
    (tmp_path / "place").mkdir()
    found = {**SHELL, "HOME": str(tmp_path)}
    monkeypatch.setattr(tempfile, "tempdir", "/before")
    surroundings.leave(found, tmp_path / "place")
    stays = dict(list(SHELL.items())[:4])
    places = {"HOME": str(tmp_path / "place" / "home"), "TMPDIR": str(tmp_path / "place" / "tmp")}
    models = {"MIDDO_SMOLLM2": str(tmp_path / ".cache" / "middo-tui" / "smollm2-135m-instruct")}
    assert found == stays | places | models | surroundings.OURS | {"PYTEST_DEBUG_TEMPROOT": "/before"}
    assert [[*(tmp_path / "place" / name).iterdir()] for name in ("home", "tmp")] == [[], []]


def test_a_process_of_a_test_has_its_home_and_its_state() -> None:
    told = environ()
    assert told["HOME"] == str(Path.home())
    assert Path(told["HOME"]).parent == Path(tempfile.gettempdir()).parent
    assert told["XDG_STATE_HOME"] == os.environ["XDG_STATE_HOME"]
