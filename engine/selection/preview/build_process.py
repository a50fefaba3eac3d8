"""Starts the process that prepares a preview (``engine.selection.preview.build``) and takes what it made. Light, as the
app is."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct
from msgspec.structs import asdict

from engine import errors
from engine.files.mapped_file import Sections
from engine.processes import environment
from engine.store.rows import Threshold

FORM = 2
"""Raised when what is written of a round changes: a file of another form is not read."""


class Given(Struct, frozen=True):
    """What the mixture rule is given besides the signals: the sigma rule's thresholds, by signal, and the threshold of
    an earlier round that still holds.
    """

    plain: dict[str, Threshold]
    frozen: Threshold | None = None

    @classmethod
    def of(cls, text: str) -> Given:
        """As ``text`` says."""
        found = json.loads(text)
        frozen = found["frozen"] and Threshold(**found["frozen"])
        return cls({name: Threshold(**mark) for name, mark in found["plain"].items()}, frozen)

    @property
    def text(self) -> str:
        """JSON; infinite and missing numbers as Python writes them."""
        plain = {name: asdict(mark) for name, mark in self.plain.items()}
        return json.dumps({"plain": plain, "frozen": self.frozen and asdict(self.frozen)})


def prepared(folder: Path, *what: str, passing: tuple[int, ...] = ()) -> Sections:
    """Have ``engine.selection.preview.build`` do ``what``, into a file that has no name and goes with the last who
    holds it.

    ``folder``: where there is room for it; ``passing``: open files that the process needs.

    Raises:
        MiddoError: whatever went wrong there.
    """
    out = _nameless(folder)
    to = out.fileno()
    done = subprocess.run(
        [sys.executable, "-m", "engine.selection.preview.build", *what, str(to)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        pass_fds=(*passing, to),
        env={
            **environment.without_secrets(environment.for_children()),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
    )
    if done.returncode == 0:
        return Sections(out)
    out.close()
    raise _error(done)


def _nameless(folder: Path) -> BinaryIO:
    """A temporary file beside the project, where there is room for one; elsewhere if that may not be written to."""
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        return tempfile.TemporaryFile()


def _error(done: subprocess.CompletedProcess[bytes]) -> errors.MiddoError:
    """What the process said, as the error that it was there."""
    try:
        told: dict[str, Any] = json.loads(done.stdout)
        return getattr(errors, told["kind"])(told["text"])  # type: ignore[no-any-return]
    except ValueError:
        last = (done.stderr.decode("utf-8", "replace").splitlines() or [f"exit code {done.returncode}"])[-1]
        return errors.StageError(f"cannot prepare the round's signals for the preview: {last}")
