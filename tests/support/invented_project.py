"""The benchmarks' invented project, small: real rows of everything, for tests that read and show them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from engine.store.connect import transaction, writer
from tests.support import ROOT


def make(project: Path, samples: int = 600) -> Path:
    """Three rounds over ``samples`` samples; the last one waits for review."""
    command = [sys.executable, "-m", "benchmarks.world.project", "--samples", str(samples), str(project)]
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return project


def make_hostile(project: Path, beginning: str) -> Path:
    """As ``make``; every prompt begins with ``beginning``."""
    make(project)
    db = writer(project)
    with transaction(db):
        hostile = f'[["user",{json.dumps(beginning)[:-1]} '
        db.execute("UPDATE sample SET messages=replace(messages, ?, ?)", ('[["user","', hostile))
    db.close()
    return project
