"""Artifacts against their rows: is every file there and whole, and does every file belong to a row?

A cut-off file is told by what it says of itself: the header of safetensors and npy gives its size, JSON and Arrow end
in a known way. Reads a few kilobytes per file, however large it is.
"""

from __future__ import annotations

import ast
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from engine.files import mapped_file
from engine.files.map_file import MAP
from engine.loop import NAMES
from engine.store.read import jobs
from engine.store.rows import PREVIEW

HEADER = 100 << 20
"""Most bytes of a header that are read, as in safetensors itself."""
ARTIFACTS = "artifacts"
REDO = {"checkpoint": "train", "embeddings": "score", MAP: "score"}
"""The stage that makes an artifact."""
SPARE = "Nothing needs it: the Thresholds screen reads the round from the database."


class FileFault(Struct, frozen=True):
    """One file or folder that is not as its row says. ``leftover``: nothing needs it, it may be removed."""

    path: str
    reason: str
    mend: str
    leftover: bool = False


def faults(db: sqlite3.Connection, project: Path) -> Iterator[FileFault]:
    """Artifacts that are missing, cut off or outside of the project, and what no row names."""
    for row in db.execute("SELECT round, name, path FROM artifact ORDER BY round, name"):
        path = project / row["path"]
        spare = row["name"] == PREVIEW
        redo = f"Run with --redo {REDO.get(row['name'], 'train')} while round {row['round']} is the newest, or restore."
        mend = SPARE if spare else redo
        if not path.resolve().is_relative_to(project.resolve()):
            yield FileFault(row["path"], "outside of the project", mend)
        elif not path.exists():
            yield FileFault(row["path"], "missing", mend, leftover=spare)
        else:
            for file in sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]:
                if reason := cut_off(file):
                    yield FileFault(str(file.relative_to(project)), reason, mend, leftover=spare)
    yield from leftovers(db, project)


def leftovers(db: sqlite3.Connection, project: Path) -> Iterator[FileFault]:
    """Files of stages that are done and no row names: a kill between a row and the removal of what it replaces."""
    state = {(job.round, job.stage): job.state for job in jobs(db)}
    known = {project / row[0] for row in db.execute("SELECT path FROM artifact")}
    for folder in sorted((project / ARTIFACTS).glob("round-*/*")):
        number = folder.parent.name.removeprefix("round-")
        round = int(number) if number.isdecimal() else -1
        used = [path for path in known if path == folder or folder in path.parents]
        if not used and _unfinished(state, round, folder.name):
            continue
        for path in [folder] if not used else sorted(folder.iterdir()) if folder.is_dir() else []:
            if not any(path == one or path in one.parents for one in used) and not _kept(path):
                yield FileFault(str(path.relative_to(project)), "left behind", "Remove it with `prune`.", leftover=True)


def _kept(path: Path) -> bool:
    """What a stage keeps beside its artifact on purpose."""
    return path.name in ("work.json",)


def _unfinished(state: dict[tuple[int, str], str], round: int, name: str) -> bool:
    """Whether a stage of ``round`` may still go on from the folder ``name``."""
    stages = [REDO[name]] if name in REDO else [stage for stage in NAMES if (round, stage) in state]
    return any(state.get((round, stage), "done") != "done" for stage in stages)


def cut_off(path: Path) -> str:
    """Why a file cannot be whole, by what it says of itself; empty when nothing speaks against it."""
    check = CHECKS.get(path.suffix)
    try:
        return check(path) if check else ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _safetensors(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, HEADER):
            return "cut off"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return "damaged: its header cannot be read"
    want = 8 + length + max(ends, default=0)
    return "" if size == want else f"cut off: {size:,} of {want:,} bytes" if size < want else "damaged: too long"


def _npy(path: Path) -> str:
    """The header of numpy's format 1 to 3 (numpy.lib.format)."""
    with path.open("rb") as file:
        magic = file.read(8)
        if len(magic) < 8 or magic[:6] != b"\x93NUMPY":
            return "damaged: not a numpy file"
        wide = 2 if magic[6] == 1 else 4
        length = int.from_bytes(file.read(wide), "little")
        try:
            head = ast.literal_eval(file.read(min(length, HEADER)).decode("latin-1"))
            item, count = int(head["descr"][2:]), 1
            for side in head["shape"]:
                count *= side
        except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
            return "damaged: its header cannot be read"
    size, want = path.stat().st_size, 8 + wide + length + item * count
    return "" if size == want else f"cut off: {size:,} of {want:,} bytes" if size < want else "damaged: too long"


def _json(path: Path) -> str:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return "damaged: no JSON" if path.stat().st_size else "empty"
    return ""


def _arrow(path: Path) -> str:
    """A stream that ``datasets`` wrote ends in eight bytes."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < 8:
            return "cut off"
        file.seek(-8, os.SEEK_END)
        return "" if file.read() == b"\xff\xff\xff\xff\x00\x00\x00\x00" else "cut off"


CHECKS: dict[str, Callable[[Path], str]] = {
    ".safetensors": _safetensors,
    ".npy": _npy,
    ".json": _json,
    ".arrow": _arrow,
    ".map": mapped_file.cut_off,
    ".mapped": mapped_file.cut_off,
}
