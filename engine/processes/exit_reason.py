"""Why a process ended, judged from its exit code or exception."""

from __future__ import annotations

import errno
import signal

LESS_MEMORY = "Lower score.token_budget, train.batch_size or model.max_length in config.toml"
MEMORY = ", as happens when memory runs out"


def how_ended(code: int) -> str:
    """Completes "the process …", from an exit code as ``subprocess`` gives it: negative for a signal.

    Out of memory, Linux kills with SIGKILL and says so only in the kernel log, which usually only root can read.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
    return f"was killed by signal {-code} ({name})" + (MEMORY if code == -signal.SIGKILL else "")


NO_MEMORY = (RuntimeError, MemoryError, OSError)
"""Exception types that may mean out of memory; torch raises RuntimeError. Without SystemError, where that is only a
guess: good enough to word a failure, not to fail a row and continue.
"""


def ran_out_of_memory(failure: BaseException) -> bool:
    """Whether an exception means out of memory, on a GPU or a CPU. Loads no torch.

    The type depends on whose allocation failed: torch's, Python's or the kernel's. Some C functions return without
    setting an exception when an allocation fails; Python raises SystemError for that.
    """
    if type(failure).__name__ == "OutOfMemoryError" or isinstance(failure, MemoryError):
        return True
    if isinstance(failure, OSError) and failure.errno == errno.ENOMEM:
        return True
    said = str(failure)
    return "can't allocate memory" in said or (isinstance(failure, SystemError) and "without exception set" in said)
