"""Ends a process without taking the interpreter apart."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End this process with ``code``: wait for threads that are not daemons, run exit handlers (trackers, temporary
    folders, logs), write out buffers. As multiprocessing ends its processes; freeing every module of torch and
    transformers one by one would take more than a second, and the kernel does it at once.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)
