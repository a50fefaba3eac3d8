"""A program of the user's that looks at every rewrite: ``verify.command``.

It is run once per rewrite, without a shell, in the project's folder, with the rewrite and its original as one JSON
object on its standard input. Exit code 0 accepts, 1 rejects with the first line of its standard error as the reason.
Anything else (it is missing, crashes, takes too long) is a fault of the program: the stage stops, since neither verdict
would be true.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from engine.config.schema import Config
from engine.errors import StageError
from engine.processes import environment
from engine.verification.candidates import Candidate
from engine.verification.text_checks import Rejection
from engine.verification.validators import COMMAND, Validator, question

READ, SHOWN = 4096, 200
"""Bytes of its standard error that are read; characters of the first line that are kept."""
OURS = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED")
"""Set for the engine's own processes; the program imports what it would from a shell."""


class UserCommand(Validator):
    """The program of [verify] command."""

    def __init__(self, config: Config, project: Path, passed: Path) -> None:
        how = config.verify
        super().__init__(_identity(how.command, project), how.command_jobs, passed)
        self._how, self._project = how, project
        own = environment.without_secrets(os.environ, known=config.secret_names)
        self._environment = {name: value for name, value in own.items() if name not in OURS}

    @property
    def name(self) -> str:
        """The command line."""
        return " ".join(self._how.command)

    def look(self, one: Candidate) -> Rejection | None:
        """See ``Validator``."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as told:
            given.write(json.dumps(question(one)).encode())
            given.seek(0)
            code = self._run(one, given, told)
            told.seek(0)
            said = told.read(READ).decode("utf-8", "replace")
        reason = next((line.strip()[:SHOWN] for line in said.splitlines() if line.strip()), "")
        if code == 0:
            return None
        if code == 1 and not reason.startswith("Traceback (most recent call last)"):
            return Rejection(COMMAND, reason or "it gave no reason")
        last = next((line.strip()[:SHOWN] for line in reversed(said.splitlines()) if line.strip()), "nothing")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise self._fault(one, f"ended with {how}, its last words: {last}")

    def _run(self, one: Candidate, given: IO[bytes], told: IO[bytes]) -> int:
        """Its exit code. Files, not pipes: a process that it left behind could hold a pipe open for ever."""
        try:
            process = subprocess.Popen(
                self._how.command,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=told,
                cwd=self._project,
                env=self._environment,
            )
        except (OSError, ValueError) as error:
            raise self._fault(one, f"cannot be started: {error}") from error
        try:
            return process.wait(self._how.command_timeout_s)
        except subprocess.TimeoutExpired:
            raise self._fault(one, f"took longer than command_timeout_s = {self._how.command_timeout_s:g}") from None
        finally:
            end(process)

    def _fault(self, one: Candidate, what: str) -> StageError:
        name = self.name[:SHOWN]
        return StageError(
            f"[verify] command {name!r} {what} (rewrite of #{one.sample.seq}, {one.row.axis}). Exit code 0 accepts a"
            " rewrite and 1 rejects it. Mend the program or empty command, then run again."
        )


def _identity(command: Sequence[str], project: Path) -> str:
    """The command and the files that it names: another program is asked anew."""
    digest = hashlib.blake2b(json.dumps(list(command)).encode(), digest_size=16)
    for part in command:
        path = project / part
        with suppress(OSError, ValueError):
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started, if it is still there."""
    if process.poll() is not None:
        return
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()
