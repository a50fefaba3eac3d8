"""What a worker knows of the other machines, beside the store: for the screens, ``status`` and the doctor.

It is of the moment and belongs to one worker, whose pid is in it; it is written whole, and taken away when that ends.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.files.json_errors import UNREADABLE

FILE = "machines.json"


class MachineFacts(Struct, frozen=True):
    """One of the other machines. ``number``: for people; the first machine is 1. ``doing``: joining, ready, or the
    stages that run there.
    """

    number: int
    name: str
    gpus: tuple[str, ...]
    nccl: str
    doing: str
    round_trip_s: float | None
    bytes_per_s: float | None


class MachinesFacts(Struct, frozen=True):
    """``waiting``: what the run waits for, ``fewer``: that it goes on with fewer machines than config.toml asks for;
    sentences without a full stop, empty: it does not.
    """

    pid: int
    nodes: int
    address: str
    waiting: str
    machines: tuple[MachineFacts, ...]
    fewer: str = ""


def write(project: Path, facts: MachinesFacts) -> None:
    """Put ``facts`` in place of the older ones."""
    new = project / f"{FILE}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(facts))
    new.replace(project / FILE)


def read(project: Path, pid: int) -> MachinesFacts | None:
    """What the worker ``pid`` wrote last; None: it knows of no other machines."""
    try:
        facts = msgspec.json.decode((project / FILE).read_bytes(), type=MachinesFacts)
    except (OSError, *UNREADABLE):
        return None
    return facts if facts.pid == pid else None


def remove(project: Path, pid: int) -> None:
    """The worker ``pid`` ends. What another one wrote stays."""
    if read(project, pid) is not None:
        (project / FILE).unlink(missing_ok=True)
