"""The benchmarks' invented project, small: real rows of everything, for tests that read and show them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import ROOT


def make(project: Path, samples: int = 600) -> Path:
    """Three rounds over ``samples`` samples; the last one waits for review."""
    command = [sys.executable, "-m", "benchmarks.world.project", "--samples", str(samples), str(project)]
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return project
