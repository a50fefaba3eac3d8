"""A process of a stage that kills one of a run's processes, once, in the middle of its work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import ROOT, processes

ITSELF = "os.getpid()"
ITS_JOIN = "psutil.Process(os.getppid()).ppid()"
"""``middo-tui join``, whose launcher is the rank's parent."""

# Imported by every Python process of the run.
SITE = """
import os
if os.environ.get("RANK") == "1" and os.path.exists({flag!r}):
    import signal, threading
    import psutil
    from engine.signals import ratings
    rate, calls = ratings.rate_six, []
    def dying(*args):
        calls.append(1)
        if len(calls) == 2:
            os.unlink({flag!r})
            os.kill({whom}, signal.SIGKILL)
            threading.Event().wait()
        return rate(*args)
    ratings.rate_six = dying
"""


def doomed(folder: Path, whom: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file: while it is there, rank 1 removes it in its second batch of ratings and kills ``whom``.

    Args:
        folder: where what has this done is put.
    """
    flag = folder / "shall-die"
    (folder / "sitecustomize.py").write_text(SITE.format(flag=str(flag), whom=whom), encoding="utf-8")
    monkeypatch.setitem(processes.ENV, "PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
    return flag
