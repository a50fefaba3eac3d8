"""How a process or a stage ended, in words."""

from __future__ import annotations

import errno

import pytest

from engine.processes.exit_reason import how_ended, ran_out_of_memory


class OutOfMemoryError(RuntimeError):
    """Called as torch's is."""


NO_MEMORY = (
    MemoryError(),
    OutOfMemoryError("CUDA out of memory"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    SystemError("error return without exception set"),
)
OTHERS = (OSError(errno.ENOSPC, "No space left on device"), RuntimeError("shapes differ"), SystemError("bad call"))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-15, "was killed by signal 15 (SIGTERM)"),
        (-9, "was killed by signal 9 (SIGKILL), as happens when memory runs out"),
        (-50, "was killed by signal 50 (unknown)"),
    ],
)
def test_an_exit_code_is_a_phrase(code: int, says: str) -> None:
    assert how_ended(code) == says


@pytest.mark.parametrize("failure", NO_MEMORY, ids=repr)
def test_no_memory_is_told_whatever_it_is_called(failure: BaseException) -> None:
    assert ran_out_of_memory(failure)


@pytest.mark.parametrize("failure", OTHERS, ids=repr)
def test_others_are_not(failure: BaseException) -> None:
    assert not ran_out_of_memory(failure)
