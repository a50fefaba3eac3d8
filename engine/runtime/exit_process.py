"""Ends a process without the interpreter's slow teardown."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End this process with ``code``, as multiprocessing ends its own: wait for non-daemon threads, run exit handlers
    (trackers, temporary folders, logs), flush output. Freeing the modules of torch and transformers one by one would
    take more than a second; the kernel frees their memory at once.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)
