"""What is installed on a machine, and which differences keep two machines from working on one run."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from msgspec import Struct

LIBRARIES = ("middo-tui", "torch", "transformers", "trl", "peft", "accelerate", "numpy")
"""Distributions whose versions must match: results and the processes' protocols depend on them."""
EXTRAS = ("liger-kernel", "bitsandbytes", "flash-attn")
"""Distributions that must match where the run uses them; otherwise one machine would silently use other kernels."""
NCCL = "nvidia-nccl-"


class About(Struct, frozen=True):
    """A machine.

    python: major and minor version. libraries: versions of ``LIBRARIES`` and ``EXTRAS``; "": not installed.
    nccl: version of the NCCL package; "": not installed. gpus, uuids: of the GPUs that may be used.
    code: a digest of middo-tui's own code, which tells two checkouts of one version apart.
    """

    host: str
    python: str
    libraries: dict[str, str]
    nccl: str
    gpus: tuple[str, ...]
    uuids: tuple[str, ...] = ()
    code: str = ""


def this_machine(gpus: Sequence[str], uuids: Sequence[str]) -> About:
    """What this machine has. ``gpus``, ``uuids``: names and UUIDs of the GPUs that it may use."""
    return About(
        platform.node(),
        ".".join(platform.python_version_tuple()[:2]),
        {name: _version(name) for name in (*LIBRARIES, *EXTRAS)},
        _nccl(),
        tuple(gpus),
        tuple(uuids),
        code(Path(__file__).resolve().parents[1]),
    )


def code(package: Path) -> str:
    """A digest of the Python files below ``package``."""
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def shared(one: About, other: About, processes: int, device: str) -> str:
    """The UUID of a GPU that both would use; "": there is none. Arguments as for ``differences``."""
    if device == "cpu":
        return ""
    return next((uuid for uuid in other.uuids[:processes] if uuid in one.uuids[:processes]), "")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _nccl() -> str:
    return next((_version(str(d.name)) for d in metadata.distributions() if str(d.name).startswith(NCCL)), "")


def differences(first: About, other: About, processes: int, device: str, extras: Sequence[str] = ()) -> Iterator[str]:
    """What keeps ``other`` from working with the ``first`` machine; each completes "cannot join: …".

    Args:
        processes: on each machine. device: [model] device. extras: those of ``EXTRAS`` that must match.
    """
    if first.python != other.python:
        yield f"Python is {first.python} on {first.host} and {other.python} on {other.host}; use the same on both"
    for name in (*LIBRARIES, *extras):
        here, there = first.libraries.get(name, ""), other.libraries.get(name, "")
        if here != there:
            way = f"install the same version there: pip install {name}=={here}" if here else "install it here too"
            yield f"{name} is {here or 'missing'} on {first.host} and {there or 'missing'} on {other.host}; {way}"
    if first.code != other.code:
        same = f"middo-tui {first.libraries.get('middo-tui', '')}, but not the same code"
        yield f"{first.host} and {other.host} have {same}; install both from the same commit"
    if device == "cpu":
        return
    if bool(first.gpus) != bool(other.gpus):
        one, none = (first, other) if first.gpus else (other, first)
        yield f'{one.host} has a GPU and {none.host} has none; set [model] device = "cpu" to use neither'
        return
    if not first.gpus:
        return
    if first.nccl != other.nccl:
        here, there = first.nccl or "missing", other.nccl or "missing"
        yield f"NCCL is {here} on {first.host} and {there} on {other.host}; install the same"
    if len(other.gpus) < processes:
        yield f"{other.host} has {len(other.gpus)} of the {processes} GPUs that [launch] processes asks for; lower it"
    kinds = {*first.gpus[:processes], *other.gpus[:processes]}
    if len(kinds) > 1:
        yield f"the GPUs differ ({', '.join(sorted(kinds))}); results would depend on which one computes what"
