"""Maps of rounds that were scored by a version without maps, from their saved embeddings."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.config import schema as configs
from engine.files.embedding_map_file import MAP, NAME
from engine.files.json_errors import UNREADABLE
from engine.files.whole_file import cut_off
from engine.runtime import launch
from engine.store import read, write
from engine.store.connect import reader, writer
from engine.store.dataset import Dataset
from engine.store.rows import Artifact
from engine.store.schema import migrate

EMBEDDED = (
    "SELECT e.round, e.path, m.path FROM artifact e LEFT JOIN artifact m ON m.round=e.round AND m.name=?"
    " WHERE e.name='embeddings' ORDER BY e.round"
)
NOTE = "work.json"


class _Note(Struct, frozen=True):
    """What the score stage notes beside the embeddings: the base model, and how it embeds."""

    base: str = ""
    embed: str = ""


def unmapped(project: Path) -> list[int]:
    """The rounds that have embeddings and no map, or one whose file is gone or damaged.

    Raises:
        StoreError: the project cannot be read.
    """
    with closing(reader(project)) as db:
        found = [tuple(row) for row in db.execute(EMBEDDED, (MAP,))]
    return [
        round
        for round, embeddings, place in found
        if (project / embeddings).exists() and (place is None or cut_off(project / place))
    ]


def make_maps(project: Path, say: Callable[[str], None]) -> list[int]:
    """Make the maps that are missing, oldest first; returns their rounds. ``say``: is told of what is damaged.

    Raises:
        WorkerError: a worker runs. StoreError: the project cannot be read or written.
    """
    migrate(project)
    lock = launch.lock(project, within_s=0.0)
    try:
        with closing(writer(project)) as db:
            return [round for round in unmapped(project) if _made(db, project, round, say)]
    finally:
        os.close(lock)


def _made(db: sqlite3.Connection, project: Path, round: int, say: Callable[[str], None]) -> bool:
    import numpy as np

    from engine.signals import embedding_map

    embeddings, ids = _file(db, project, round, "embeddings"), Dataset(db, round).ids
    if embeddings is None:
        return False
    if reason := cut_off(embeddings):
        say(f"Round {round} gets no map: {embeddings}: {reason}. Restore a backup.")
        return False
    array = np.load(embeddings, mmap_mode="r")
    if len(array) != len(ids):
        return False
    path = project / "artifacts" / f"round-{round}" / MAP / NAME
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    how = (ids, array, round, configs.load(project).project.seed, _space(embeddings.parent / NOTE))
    try:
        meta = embedding_map.make(path, _file(db, project, round - 1, MAP), *how)
    except ValueError as error:
        say(f"{error}. The map of round {round} has axes of its own.")
        meta = embedding_map.make(path, None, *how)
    if meta is not None:
        row = Artifact(round, MAP, str(path.relative_to(project)), msgspec.json.encode(meta).decode())
        write.save(db, round, "score", [row], None)
    return meta is not None


def _space(note: Path) -> str:
    """What the axes are of; nothing is known of it where the note is missing or damaged."""
    try:
        work = msgspec.json.decode(note.read_bytes(), type=_Note)
    except (FileNotFoundError, *UNREADABLE):
        work = _Note()
    return f"{work.base} {work.embed}"


def _file(db: sqlite3.Connection, project: Path, round: int, name: str) -> Path | None:
    found = read.artifact(db, round, name)
    return None if found is None else project / found[0]
