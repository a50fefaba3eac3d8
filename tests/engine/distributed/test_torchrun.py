"""What is said of a rank that fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ErrorHandler, ProcessFailure

from engine.distributed.torchrun import reason


def failure(folder: Path, exitcode: int, error: Exception | None = None) -> ProcessFailure:
    """What torchrun knows of a process that failed."""
    file = folder / "error.json"
    if error is not None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
            ErrorHandler().record_exception(error)
    return ProcessFailure(local_rank=1, pid=77, exitcode=exitcode, error_file=str(file))


def test_a_failed_rank_is_named_with_the_reason(tmp_path: Path) -> None:
    killed = "rank 1 of 4 (pid 77) was killed by signal 9 (SIGKILL), as happens when memory runs out"
    assert reason(1, failure(tmp_path, -9), 4) == killed
    assert reason(1, failure(tmp_path, 3), 4) == "rank 1 of 4 (pid 77) ended with exit code 3"
    found = reason(1, failure(tmp_path, 1, ValueError("no weights\nat all")), 4)
    assert found == "rank 1 of 4 (pid 77) ended with exit code 1: ValueError: no weights"
