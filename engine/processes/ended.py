"""How a process ended that could not say it itself."""

from __future__ import annotations

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
