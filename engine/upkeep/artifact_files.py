"""Artifacts against their rows: is every file there and whole, and does every file belong to a row?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from engine.files.embedding_map_file import MAP
from engine.files.whole_file import cut_off, parts
from engine.loop import MADE_BY, NAMES
from engine.store.read import jobs
from engine.store.rows import PREVIEW

ARTIFACTS = "artifacts"
SPARE = "Nothing needs it: the Thresholds screen reads the round from the database."

REMAKE = "Make it from the saved embeddings: `middo-tui plot DIR map map.svg`."


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
        redo = (
            f"Run with --redo {MADE_BY.get(row['name'], 'train')} while round {row['round']} is the newest, or restore."
        )
        mend = SPARE if spare else REMAKE if row["name"] == MAP else redo
        if not path.resolve().is_relative_to(project.resolve()):
            yield FileFault(row["path"], "outside of the project", mend)
        elif not path.exists():
            yield FileFault(row["path"], "missing", mend, leftover=spare)
        else:
            for file in parts(path):
                if reason := cut_off(file):
                    yield FileFault(str(file.relative_to(project)), reason, mend, leftover=spare)
    yield from leftovers(db, project)


def leftovers(db: sqlite3.Connection, project: Path) -> Iterator[FileFault]:
    """Files of stages that are done and no row names: a kill between a row and the removal of what it replaces.

    What links lead to outside of the project is not told: ``prune`` removes leftovers, and a stranger made the links.
    """
    home = project.resolve()
    state = {(job.round, job.stage): job.state for job in jobs(db)}
    known = {project / row[0] for row in db.execute("SELECT path FROM artifact")}
    for folder in sorted((project / ARTIFACTS).glob("round-*/*")):
        number = folder.parent.name.removeprefix("round-")
        round = int(number) if number.isdecimal() else -1
        if not folder.parent.resolve().is_relative_to(home):
            continue
        used = [path for path in known if path == folder or folder in path.parents]
        if not used and _unfinished(state, round, folder.name):
            continue
        inside = folder.is_dir() and folder.resolve().is_relative_to(home)
        for path in [folder] if not used else sorted(folder.iterdir()) if inside else []:
            if not any(path == one or path in one.parents for one in used) and not _kept(path):
                yield FileFault(str(path.relative_to(project)), "left behind", "Remove it with `prune`.", leftover=True)


def _kept(path: Path) -> bool:
    """What a stage keeps beside its artifact on purpose."""
    return path.name in ("work.json",)


def _unfinished(state: dict[tuple[int, str], str], round: int, name: str) -> bool:
    """Whether a stage of ``round`` may still go on from the folder ``name``."""
    stages = [MADE_BY[name]] if name in MADE_BY else [stage for stage in NAMES if (round, stage) in state]
    return any(state.get((round, stage), "done") != "done" for stage in stages)
