"""What is said of a rank that fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ErrorHandler, ProcessFailure

from engine.distributed import world as worlds
from engine.distributed.torchrun import reason
from engine.distributed.world import World


def failure(folder: Path, exitcode: int, error: Exception | None = None) -> ProcessFailure:
    """What torchrun knows of a process that failed."""
    file = folder / "error.json"
    if error is not None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
            ErrorHandler().record_exception(error)
    return ProcessFailure(local_rank=1, pid=77, exitcode=exitcode, error_file=str(file))


def world(nodes: int, node: int = 0) -> World:
    """Four processes."""
    made, listener = worlds.begin(4 // nodes, "cpu", "/p", nodes=nodes)
    listener.close()
    return made.on(node, f"10.0.0.{node + 1}")


def test_a_failed_rank_is_named_with_the_reason(tmp_path: Path) -> None:
    killed = "rank 1 of 4 (pid 77) was killed by signal 9 (SIGKILL), as happens when memory runs out"
    assert reason(1, failure(tmp_path, -9), world(1)) == killed
    assert reason(1, failure(tmp_path, 3), world(1)) == "rank 1 of 4 (pid 77) ended with exit code 3"
    found = reason(1, failure(tmp_path, 1, ValueError("no weights\nat all")), world(1))
    assert found == "rank 1 of 4 (pid 77) ended with exit code 1: ValueError: no weights"


def test_of_several_machines_the_first_one_says_that_it_was_it(tmp_path: Path) -> None:
    said = "rank 1 of 4 (pid 77) ended with exit code 3"
    assert reason(1, failure(tmp_path, 3), world(2)) == f"machine 1 of 2: {said}"
    assert reason(1, failure(tmp_path, 3), world(2, node=1)) == said, "the worker adds the machine"
