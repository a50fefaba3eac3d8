"""How a process ended that could not say it itself."""

from __future__ import annotations

import errno
import signal

LESS_MEMORY = "Lower score.token_budget, train.batch_size or model.max_length in config.toml"
MEMORY = ", as happens when memory runs out"


def how_ended(code: int) -> str:
    """The end of a sentence, from an exit code as ``subprocess`` gives it: negative for a signal.

    Linux takes back memory with SIGKILL and says so only in its log, which others than root cannot read.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
    return f"was killed by signal {-code} ({name})" + (MEMORY if code == -signal.SIGKILL else "")


NO_MEMORY = (RuntimeError, MemoryError, OSError)
"""Types of such exceptions, torch's being RuntimeErrors. Not SystemError, of which it is a guess that memory was short:
good enough for the words of a failure, not for failing a row and going on.
"""


def ran_out_of_memory(failure: BaseException) -> bool:
    """Whether an exception means that no memory could be had, on a GPU or a CPU.

    Which type it is depends on whose allocation failed: torch's, Python's, or the kernel's. Loads no torch. Some
    functions in C end without an exception where an allocation fails; Python calls that a SystemError.
    """
    if type(failure).__name__ == "OutOfMemoryError" or isinstance(failure, MemoryError):
        return True
    if isinstance(failure, OSError) and failure.errno == errno.ENOMEM:
        return True
    said = str(failure)
    return "can't allocate memory" in said or (isinstance(failure, SystemError) and "without exception set" in said)
