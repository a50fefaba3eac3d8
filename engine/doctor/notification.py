"""The doctor's finding on [notify]: who is told, and what is missing for it. Nothing is sent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.config.schema import Config
from engine.doctor.finding import Finding


def findings(config: Config, project: Path) -> Iterator[Finding]:
    """One finding if [notify] names anybody. What is missing fails no run, so it is never bad."""
    how = config.notify
    if not how.ways:
        return
    unset = [name for name in (how.webhook_env, how.token_env) if name and not os.environ.get(name)]
    fix = f"set the environment variable {' and '.join(unset)} where you start the run" if unset else ""
    if how.command and shutil.which(how.command[0]) is None and shutil.which(str(project / how.command[0])) is None:
        fix = f"install {how.command[0]}, or correct [notify] command"
    yield Finding("notify", f"{' and '.join(how.ways)} on {', '.join(how.on) or 'nothing'}", fix=fix)
