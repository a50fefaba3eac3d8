"""Runs ``engine.doctor.model_process`` on a project's models and reads what it found. Loads no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor.finding import Finding, refused
from engine.errors import ModelError
from engine.processes import environment
from engine.processes.exit_reason import how_ended


@dataclass(frozen=True, slots=True)
class ModelCheckResult:
    """Findings about a role's model. ``rows``: embedding rows that are trained beside an adapter.

    speeds: seconds by unit (``engine.doctor.cost_model``), where it was tried; untimed: why they are not known.
    """

    findings: tuple[Finding, ...] = ()
    rows: int = 0
    speeds: Mapping[str, float] = field(default_factory=dict)
    untimed: str = ""


LOOKS_S = 0.1
"""So often it is seen whether anybody still waits for the answer."""


def never() -> bool:
    """Somebody waits as long as it takes."""
    return False


def check_models(
    config: Config, folder: Path, cancelled: Callable[[], bool] = never, sizes: Mapping[str, int] | None = None
) -> dict[str, ModelCheckResult]:
    """Errors and notes about the model and a local teacher, by role.

    Args:
        folder: the project's folder, which relative paths are resolved against.
        cancelled: whether nobody waits for the answer any more; then the process is killed, and nothing is said.
        sizes: of the samples (``engine.doctor.speed_probe.Sizes``), to try how fast the models are; None: do not.
    """
    command = [sys.executable, "-m", "engine.doctor.model_process", configs.snapshot(config), str(folder.resolve())]
    command += [json.dumps(sizes)] if sizes is not None else []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment.without_secrets(environment.for_children(), known=config.secret_names),
    ) as process:
        try:
            out, problems = _answer(process, cancelled)
        except BaseException:
            process.kill()
            raise
    return {} if cancelled() else results(out, problems, process.returncode)


def results(out: str, problems: str, code: int) -> dict[str, ModelCheckResult]:
    """What the process said, by role. ``out``, ``problems``: its stdout and stderr. ``code``: its exit code; one that
    was killed while it tried a model has said before what it found of it.
    """
    try:
        found = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        last = next(iter(problems.strip().splitlines()[-1:]), f"the process {how_ended(code)}")
        broken = Finding("model", f"cannot be checked: {last[:300]}", bad=True, fix="run doctor again")
        return {"model": ModelCheckResult((broken,))}
    killed = f"the trial {how_ended(code)}" if code else ""
    return {
        one["role"]: ModelCheckResult(
            tuple(_as_findings(one["role"], one["error"], one["notes"])),
            one["rows"],
            one.get("speeds", {}),
            one.get("untimed", killed),
        )
        for one in found
    }


def _answer(process: subprocess.Popen[str], cancelled: Callable[[], bool]) -> tuple[str, str]:
    """What it prints to stdout and stderr until it ends, or is killed."""
    while True:
        try:
            return process.communicate(timeout=LOOKS_S)
        except subprocess.TimeoutExpired:
            if cancelled():
                process.kill()


def _as_findings(role: str, error: str, notes: list[str]) -> list[Finding]:
    if error:
        return [refused(role, ModelError(error))]
    return [Finding(role, text, fix=fix.removesuffix(".")) for text, _, fix in (note.partition(". ") for note in notes)]
