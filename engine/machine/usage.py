"""What this process and the ones that it waited for have used: CPU time, and memory at its peak."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


def cpu_seconds() -> float:
    """CPU time so far, user and system, of all threads and of children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def reset_peak() -> None:
    """Begin the peak anew, where the system can (Linux); elsewhere it is the process's since its start."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Resident memory of this process at its peak since ``reset_peak``. Children and GPUs are not in it."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
