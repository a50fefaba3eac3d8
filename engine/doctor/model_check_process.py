"""Runs ``engine.backends.model_check`` on a project's models in a process and reads its findings. Loads no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from engine import environment
from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor.finding import Finding, refused
from engine.errors import ModelError


@dataclass(frozen=True, slots=True)
class ModelCheckResult:
    """Findings about a role's model. ``rows``: embedding rows that are trained beside an adapter."""

    findings: tuple[Finding, ...] = ()
    rows: int = 0


def check_models(config: Config, folder: Path) -> dict[str, ModelCheckResult]:
    """Errors and notes about the model and a local teacher, by role.

    Args:
        folder: the project's folder, which relative paths are resolved against.
    """
    done = subprocess.run(
        [sys.executable, "-m", "engine.backends.model_check", configs.snapshot(config), str(folder.resolve())],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment.without_secrets(environment.for_children(), known=config.secret_names),
    )
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = next(iter(done.stderr.strip().splitlines()[-1:]), f"exit code {done.returncode}")
        broken = Finding("model", f"cannot be checked: {last[:300]}", bad=True, fix="run doctor again")
        return {"model": ModelCheckResult((broken,))}
    return {
        one["role"]: ModelCheckResult(tuple(_as_findings(one["role"], one["error"], one["notes"])), one["rows"])
        for one in found
    }


def _as_findings(role: str, error: str, notes: list[str]) -> list[Finding]:
    if error:
        return [refused(role, ModelError(error))]
    return [Finding(role, text, fix=fix.removesuffix(".")) for text, _, fix in (note.partition(". ") for note in notes)]
