"""How the process of a stage, or the worker itself, has ended: in words, and written down where a person looks."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Collection
from pathlib import Path

from engine import loop
from engine.distributed.torchrun import RANK_FAILED
from engine.files.last_line import last_line
from engine.processes import environment
from engine.processes.exit_reason import LESS_MEMORY, how_ended
from engine.store import read, write


def record(db: sqlite3.Connection, reason: str) -> None:
    """Write down what has ended the worker: as the failure of the stage that runs, or was about to."""
    jobs = read.jobs(db)
    newest = max((job.round for job in jobs), default=0)
    unfinished = [job for job in jobs if job.round == newest and job.state not in ("done", "waiting")]
    if not unfinished:
        write.event(db, reason, "error")
        return
    job = min(unfinished, key=lambda job: (job.state != "running", loop.NAMES.index(job.stage)))
    write.end_job(db, job.round, job.stage, "failed", reason)


def said(error: Exception) -> str:
    """An unforeseen error in a few words, the end of a sentence; of a file its name and the reason."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error!s}".removesuffix(".")


def broke_off(error: Exception, secrets: Collection[str]) -> str:
    """What a person is told of an unforeseen error, without the values of the variables ``secrets``."""
    text = environment.without_values(said(error), known=secrets)
    return f"the worker broke off: {text[:300]}. Its log is logs/worker.log."


def why(code: int, log_path: Path) -> str:
    """How a child ended that could not record it itself, and that nothing is lost."""
    try:
        last = last_line(log_path)
    except FileNotFoundError:  # removed meanwhile
        last = ""
    again = "run again to resume."
    if code == RANK_FAILED:
        return f"{last[:300]}; {again}"
    fix = f". {LESS_MEMORY}" if code == -signal.SIGKILL else ""
    said = f" Last line of its log: {last[:300]}" if last and code > 0 else ""
    return f"the stage process {how_ended(code)}{fix}; {again}{said}"
