"""Driving real runs from tests: the command line as a process, its lines as they come, and kills at a named point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import ROOT

ENV = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
"""What the processes are told beside a test's own environment."""
PROGRAM = [sys.executable, "-m", "middo_tui.cli"]


def environ() -> dict[str, str]:
    """The environment of a process: a test's own of this moment, with its state folder, and ``ENV``."""
    return {**os.environ, **ENV}


def cli(*args: str | Path, timeout: float = 600, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in ``cwd``."""
    command = [*PROGRAM, *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environ(), timeout=timeout, stdin=subprocess.DEVNULL, cwd=cwd
    )


def status(project: Path) -> dict[str, Any]:
    """What ``status --json`` says."""
    facts: dict[str, Any] = json.loads(cli("status", project, "--json").stdout)
    return facts


@contextmanager
def following(project: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``run --plain`` as a process whose lines can be read while it goes on."""
    command = [*PROGRAM, "run", str(project), "--plain", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ(), stdin=subprocess.DEVNULL
    ) as process:
        yield process
        process.stdout.read()  # type: ignore[union-attr]


def read_until(process: subprocess.Popen[str], *words: str) -> bool:
    """Read lines until one holds all ``words``; False when the output ended without one."""
    assert process.stdout is not None
    return any(all(word in line for word in words) for line in process.stdout)


def kill(pid: int | None) -> bool:
    """SIGKILL, and wait until the process and its children are gone; False when it had ended already."""
    if pid is None or not psutil.pid_exists(pid):
        return False
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        process.kill()
    except psutil.NoSuchProcess:
        return False
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left, f"still there after the kill: {left}"
    return True


def customize_site(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every Python process that is started with ``ENV`` run ``program``, kept in ``folder``, when it starts."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(program, encoding="utf-8")
    monkeypatch.setitem(ENV, "PYTHONPATH", f"{folder / 'site'}{os.pathsep}{ROOT}")


# A child that kills itself with SIGKILL inside its k-th save: a kill at an exact point of an exact stage.
SUICIDE = """
import os, signal, sys
from engine.runtime import context, run_stage
{also}
k, calls, save = int(sys.argv[1]), 0, context.StoreCtx.save
def dying(self, rows, done=None):
    global calls
    calls += 1
    if calls == k and {before}: os.kill(os.getpid(), signal.SIGKILL)
    save(self, rows, done)
    if calls == k: os.kill(os.getpid(), signal.SIGKILL)
context.StoreCtx.save = dying
sys.exit(run_stage.main(sys.argv[2:]))
"""


def run_child(project: Path, round: int, stages: str, die_at: int = 0, before: bool = False, also: str = "") -> int:
    """Run stages in a child of ours (no worker); with ``die_at`` it dies in that save. Returns the exit code.

    ``also``: what else it does before the stages, as Python code; ``sys.argv[2]`` is the project.
    """
    alive_r, alive_w = os.pipe()
    try:
        program = SUICIDE.format(before=before, also=also)
        command = [sys.executable, "-c", program, str(die_at), str(project), str(round), stages]
        return subprocess.run([*command, str(alive_r)], env=environ(), pass_fds=[alive_r], timeout=600).returncode
    finally:
        os.close(alive_r)
        os.close(alive_w)
