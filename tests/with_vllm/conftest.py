"""Real vLLM on a CPU: these tests run in an environment of their own (`make test-vllm`), any other skips them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import engine.demo
from engine.backends import roles
from engine.config.edit import edit
from engine.demo.project import create_demo
from tests.support import processes
from tests.support.processes import cli

HERE = Path(__file__).parent
DEMO = Path(engine.demo.__file__).parent
SETTINGS: dict[str, Any] = {"enforce_eager": True, "block_size": 32, "kv_cache_gib": 0.0625}
ROWS, HELDOUT = 64, 8
ENV = {
    "TORCHDYNAMO_DISABLE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"
}  # fmt: skip
START_S = 400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without vLLM there is nothing real to test."""
    if roles.vllm_version() is None:
        mark = pytest.mark.skip(reason="NOT RUN: vLLM is not installed in this environment. `make test-vllm` runs it.")
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(mark)


@pytest.fixture(autouse=True, scope="session")
def _environment() -> Iterator[None]:
    """For this process and those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENV.items():
            patch.setenv(name, value)
            patch.setitem(processes.ENV, name, value)
        yield


@dataclass
class Server:
    """vLLM's OpenAI server. It starts while other things go on: ``url`` waits for it."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """The base address, once it answers."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")[-3000:]
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
                return f"http://127.0.0.1:{self.port}/v1"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)
        raise AssertionError(self.log.read_text(encoding="utf-8")[-3000:])


@contextlib.contextmanager
def serving(log: Path, model: Path, name: str, *flags: str, **variables: str) -> Iterator[Server]:
    """A server with the model in a folder; it is ended behind the ``with`` block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model),
        "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port), "--max-model-len", "1024",
        "--enforce-eager", "--dtype", "float32", "--block-size", "32", "--kv-cache-memory-bytes", str(1 << 26),
        "--generation-config", "vllm", *flags,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, stdin=subprocess.DEVNULL, cwd="/")
    try:
        yield Server(process, port, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, _environment: None) -> Iterator[Server]:
    """The teacher over HTTP."""
    with serving(tmp_path_factory.mktemp("server") / "log", DEMO / "teacher", "teacher") as running:
        yield running


def make(folder: Path, settings: dict[str, Any]) -> Path:
    """A small demo project with ``settings`` (dotted keys)."""
    list(create_demo(folder, rows=ROWS, heldout=HELDOUT, seed=7))
    # New samples' prompts are sampled, and each backend samples in its own way: all else can be compared word for word.
    small = {"train.epochs": 2.0, "evaluate.exact_match": False, "loop.final_train": False, "select.new_samples": 0.0}
    engine_settings = {f"vllm.{key}": value for key, value in SETTINGS.items()}
    edit(folder, small | engine_settings | settings)
    return folder


@pytest.fixture(scope="session")
def by_hf(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Path:
    """A whole round with transformers in every role; the server starts meanwhile."""
    project = make(tmp_path_factory.mktemp("hf") / "P", {})
    done = cli("run", project, "--rounds", "1", "--auto", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def copy(project: Path, folder: Path, settings: dict[str, Any]) -> Path:
    """The project somewhere else, with other settings."""
    shutil.copytree(project, folder, symlinks=True)
    edit(folder, settings)
    return folder
