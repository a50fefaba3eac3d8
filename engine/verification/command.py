"""A program of the user's that looks at every rewrite: ``verify.command``.

It is run once per rewrite, without a shell, in the project's folder, with the rewrite and its original as one JSON
object on its standard input. Exit code 0 accepts, 1 rejects with the first line of its standard error as the reason.
Anything else (it is missing, crashes, takes too long) is a fault of the program: the stage stops, since neither verdict
would be true. What it let through is kept in a file until the stage is over, so a resumed run asks only for the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from engine import environment
from engine.config.schema import Config
from engine.errors import StageError
from engine.store.rows import Sample, dump_messages
from engine.verification.candidates import Candidate
from engine.verification.text_checks import Rejection

CODE = "command"
READ, SHOWN = 4096, 200
"""Bytes of its standard error that are read; characters of the first line that are kept."""
OURS = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED")
"""Set for the engine's own processes; the program imports what it would from a shell."""


def refused(one: Candidate) -> bool:
    """Whether the program has rejected this rewrite."""
    return one.row.state == "rejected" and (one.row.reason or "").startswith(f"{CODE}: ")


class UserCommand:
    """The program, and which rewrites it has let through so far. ``passed``: the file that remembers them."""

    def __init__(self, config: Config, project: Path, passed: Path) -> None:
        self._how, self._project, self._file = config.verify, project, passed
        self._program = _identity(config.verify.command, project)
        self._passed = frozenset(passed.read_text(encoding="utf-8").split()) if passed.exists() else frozenset()
        known = {config.teacher.key_env} - {""}
        own = environment.without_secrets(os.environ, known=known)
        self._environment = {name: value for name, value in own.items() if name not in OURS}

    def results(self, asked: Sequence[Candidate]) -> Iterator[tuple[Candidate, Rejection | None]]:
        """What it says of each rewrite, in order, as it comes; None: it lets it through.

        Raises:
            StageError: the program does not work.
        """
        if self._how.command_jobs == 1:
            yield from ((one, self._look(one)) for one in asked)
            return
        pool = ThreadPoolExecutor(self._how.command_jobs)
        try:
            yield from zip(asked, pool.map(self._look, asked), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)

    def remember(self, one: Candidate) -> None:
        """It was let through: a resumed run need not ask again."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(self._digest(one) + "\n")

    def _digest(self, one: Candidate) -> str:
        parts = (self._program, repr(one.key), dump_messages(one.sample.messages), dump_messages(one.new.messages))
        return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def _look(self, one: Candidate) -> Rejection | None:
        if self._digest(one) in self._passed:
            return None
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
            return Rejection(CODE, reason or "it gave no reason")
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
        name = " ".join(self._how.command)[:SHOWN]
        return StageError(
            f"[verify] command {name!r} {what} (rewrite of #{one.sample.seq}, {one.row.axis}). Exit code 0 accepts a"
            " rewrite and 1 rejects it. Mend the program or empty command, then run again."
        )


def question(one: Candidate) -> dict[str, object]:
    """What the program is given: the axis, the sample's number, and both conversations."""
    return {
        "axis": one.row.axis,
        "round": one.row.round,
        "sample": one.sample.seq,
        "original": _conversation(one.sample),
        "rewrite": _conversation(one.new),
    }


def _conversation(sample: Sample) -> Mapping[str, object]:
    return {
        "prompt": sample.prompt,
        "response": sample.response,
        "messages": [{"role": m.role, "content": m.content} for m in sample.messages],
    }


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
