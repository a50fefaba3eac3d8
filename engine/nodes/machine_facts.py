"""What a worker knows about the other machines, in a file beside the store: for the screens, ``status`` and the doctor.

It describes the moment and belongs to one worker, whose pid it holds. It is replaced as a whole, and removed when that
worker ends.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.files.json_errors import UNREADABLE

FILE = "machines.json"


class MachineFacts(Struct, frozen=True):
    """One of the other machines. ``number``: as people count, with the first machine as 1. ``doing``: joining, ready,
    or the stages that run there. ``round_trip_s`` (seconds), ``bytes_per_s``: None until measured.
    """

    number: int
    name: str
    gpus: tuple[str, ...]
    nccl: str
    doing: str
    round_trip_s: float | None
    bytes_per_s: float | None


class MachinesFacts(Struct, frozen=True):
    """``waiting``: what the run waits for. ``fewer``: that it continues with fewer machines than config.toml asks for.
    Both are sentences without a full stop, and "" where that is not so.
    """

    pid: int
    nodes: int
    address: str
    waiting: str
    machines: tuple[MachineFacts, ...]
    fewer: str = ""


def write(project: Path, facts: MachinesFacts) -> None:
    """Replace the file by ``facts``."""
    new = project / f"{FILE}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(facts))
    new.replace(project / FILE)


def read(project: Path, pid: int) -> MachinesFacts | None:
    """What worker ``pid`` wrote last; None: it has written nothing."""
    try:
        facts = msgspec.json.decode((project / FILE).read_bytes(), type=MachinesFacts)
    except (OSError, *UNREADABLE):
        return None
    return facts if facts.pid == pid else None


def remove(project: Path, pid: int) -> None:
    """Remove the file of worker ``pid``, which ends; leaves another worker's alone."""
    if read(project, pid) is not None:
        (project / FILE).unlink(missing_ok=True)
