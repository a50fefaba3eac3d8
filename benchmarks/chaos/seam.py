"""The seam (``faults.c``) from Python: build it, start a process with it, arm it. See there for modes and kinds."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("faults.c")
READ, WRITE, SYNC, RENAME, TRUNCATE, UNLINK, OPEN = (1 << bit for bit in range(7))
CHANGES = WRITE | SYNC | RENAME | TRUNCATE | UNLINK
COUNT, ERROR, SHORT, TORN, DIE_BEFORE, DIE_AFTER, POWER, CLOCK = range(8)
LOADED = "MIDDO_CHAOS_SEAM"


class Fault(NamedTuple):
    """One way to disturb a call. ``kinds``: which calls count; ``times``: how many in a row fail. ``error``: the error
    number, or by how many hours the clock is set.
    """

    name: str
    kinds: int
    mode: int
    error: int = 0
    times: int = 1

    @property
    def kills(self) -> bool:
        """Whether the process dies of it."""
        return TORN <= self.mode <= POWER


FAULTS = (
    Fault("EIO", CHANGES | OPEN, ERROR, errno.EIO),
    Fault("EIO on a read", READ, ERROR, errno.EIO),
    Fault("ENOSPC", WRITE | TRUNCATE | OPEN, ERROR, errno.ENOSPC),
    Fault("ENOSPC, three calls", WRITE | TRUNCATE | OPEN, ERROR, errno.ENOSPC, 3),
    Fault("short write", WRITE, SHORT),
    Fault("torn write, then death", WRITE, TORN),
    Fault("death before the call", CHANGES, DIE_BEFORE),
    Fault("death after the call", CHANGES, DIE_AFTER),
    Fault("power cut at a rename", RENAME, POWER),
    Fault("clock set back a day", CHANGES, CLOCK, -24),
    Fault("clock set forward a day", CHANGES, CLOCK, 24),
)


def compiler() -> str | None:
    """A C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc")


def build(folder: Path) -> Path:
    """The library, compiled into ``folder``."""
    cc = compiler()
    if cc is None:
        raise SystemExit("a C compiler (cc or gcc) is needed to build the seam")
    library = folder / "faults.so"
    subprocess.run([cc, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


def preloaded(library: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables by which a process loads the library: by its name alone, as LD_PRELOAD parts a path at spaces."""
    folders = [str(library.parent), *filter(None, [environ.get("LD_LIBRARY_PATH")])]
    return {"LD_PRELOAD": library.name, "LD_LIBRARY_PATH": ":".join(folders)}


class SharedClock:
    """The wall clock of the processes that are started meanwhile, and of their children: it can be set."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._library = build(folder)
        self.set(0)

    def set(self, seconds: int) -> None:
        """So far before (below 0) or ahead of the machine's."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("l", seconds))

    def __enter__(self) -> None:
        self.set(0)
        told = {**preloaded(self._library, os.environ), "MIDDO_CHAOS_CLOCK": str(self._file)}
        self._before = {name: os.environ.get(name) for name in told}
        os.environ.update(told)

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def restart_with_seam() -> None:
    """Start this very program again with the seam, unless it has it."""
    if loaded := os.environ.pop(LOADED, None):
        shutil.rmtree(Path(loaded).parent)
        os.environ.pop("LD_PRELOAD", None)
        return
    library = build(Path(tempfile.mkdtemp(prefix="middo-seam-")))
    environment = {**os.environ, **preloaded(library, os.environ), LOADED: str(library)}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - this very program


def arm(folder: Path, fault: Fault, at: int) -> None:
    """From now on disturb the ``at``-th call (from 1) below ``folder``."""
    ours = ctypes.CDLL(None)
    ours.faults_arm(str(folder).encode(), fault.kinds, fault.mode, fault.error, ctypes.c_long(at), fault.times)


def disarm() -> None:
    """Disturb nothing, and count nothing."""
    ctypes.CDLL(None).faults_arm(b"", 0, COUNT, 0, ctypes.c_long(0), 0)


def seen() -> int:
    """How many calls there were that the armed fault could have disturbed."""
    ours = ctypes.CDLL(None)
    ours.faults_seen.restype = ctypes.c_long
    return int(ours.faults_seen())
