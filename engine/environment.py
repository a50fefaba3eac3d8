"""What every process that the engine starts finds in its environment."""

from __future__ import annotations

import os
from pathlib import Path


def for_children() -> dict[str, str]:
    """A child's environment: this one, with the engine importable from anywhere and quiet libraries."""
    root = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, inherited] if inherited else [root]),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
