"""What ties several processes to their worker, and what is said of one that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ErrorHandler, ProcessFailure

from engine.distributed.lifeline import fetch, hand_out
from engine.distributed.torchrun import reason
from tests.support import ROOT

CHILD = """
import sys
from pathlib import Path
from engine.distributed.lifeline import die_with, fetch
connection, (given,) = fetch(Path(sys.argv[1]), 1)
die_with({which})
print("tied", flush=True)
sys.stdin.read()
"""


def test_open_files_are_handed_out_as_often_as_asked(tmp_path: Path) -> None:
    read, write = os.pipe()
    kept = hand_out(tmp_path / "s", [read], 2)
    asked = [fetch(tmp_path / "s", 1) for _ in range(2)]
    assert len(kept) == 2
    for i, (_, (fd,)) in enumerate(asked):
        os.write(write, b"%d" % i)
        assert os.read(fd, 1) == b"%d" % i
    for connection in (*kept, *(c for c, _ in asked)):
        connection.close()
    for fd in (read, write, *(fd for _, (fd,) in asked)):
        os.close(fd)


@pytest.mark.parametrize("which", ["connection.detach()", "given"])
def test_a_process_ends_with_its_launcher_and_with_its_worker(which: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    kept = hand_out(tmp_path / "s", [read], 1)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD.format(which=which), str(tmp_path / "s")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"tied\n"
        if which == "given":
            os.close(write)
        else:
            kept[0].close()
            os.close(write)
        assert process.wait(30) == -9
    os.close(read)


def failure(folder: Path, exitcode: int, error: Exception | None = None) -> ProcessFailure:
    """What torchrun knows of a process that failed."""
    file = folder / "error.json"
    if error is not None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
            ErrorHandler().record_exception(error)
    return ProcessFailure(local_rank=1, pid=77, exitcode=exitcode, error_file=str(file))


def test_a_failed_rank_is_named_with_the_reason(tmp_path: Path) -> None:
    assert reason(1, failure(tmp_path, -9), 4) == "rank 1 of 4 (pid 77) was killed by signal 9 (SIGKILL)"
    assert reason(1, failure(tmp_path, 3), 4) == "rank 1 of 4 (pid 77) ended with exit code 3"
    found = reason(1, failure(tmp_path, 1, ValueError("no weights\nat all")), 4)
    assert found == "rank 1 of 4 (pid 77) ended with exit code 1: ValueError: no weights"
