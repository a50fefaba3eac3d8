"""Removing what nothing needs: leftovers of kills, databases kept before upgrades, old checkpoints if asked."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from msgspec import Struct

from engine.config import schema as configs
from engine.runtime import launch
from engine.runtime.retention import kept
from engine.signals.round_models import CHECKPOINT
from engine.store import read, write
from engine.store.connect import KEPT_BEFORE, database, writer
from engine.store.schema import migrate
from engine.upkeep import artifact_files
from engine.upkeep.check import folder_bytes


class Pruned(Struct, frozen=True):
    """What was removed, relative to the project, and how many bytes became free (the database's included)."""

    removed: tuple[str, ...]
    freed: int


def prune(project: Path, checkpoints: int = 0) -> Pruned:
    """Remove leftovers and compact the database. ``checkpoints``: keep only those of so many rounds, and the best; 0:
    all are kept.

    Raises:
        WorkerError: a worker runs. StoreError: the project cannot be read or written.
    """
    migrate(project)
    lock = launch.lock(project, within_s=0.0)
    try:
        before = _bytes(project)
        db = writer(project)
        try:
            if checkpoints:
                _forget_models(db, project, checkpoints)
            removed = [one.path for one in artifact_files.leftovers(db, project)]
            removed += [path.name for path in database(project).parent.glob(f"{KEPT_BEFORE}*")]
            for name in removed:
                _remove(database(project).parent / name if name.startswith(KEPT_BEFORE) else project / name)
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            db.close()
        return Pruned(tuple(removed), max(0, before - _bytes(project)))
    finally:
        os.close(lock)


def _bytes(project: Path) -> int:
    file = database(project)
    apart = folder_bytes(file.parent) if file.parent != project.resolve() else 0
    return folder_bytes(project) + apart


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _forget_models(db: sqlite3.Connection, project: Path, keep: int) -> None:
    """Remove the rows of older rounds' checkpoints, which makes leftovers of their files."""
    config = configs.load(project)
    there = [row[0] for row in db.execute("SELECT round FROM artifact WHERE name=? ORDER BY round", (CHECKPOINT,))]
    stay = kept(there, {round: read.scores(db, round) for round in there}, keep, config.evaluate.tasks)
    open_ = {job.round for job in read.jobs(db) if job.state != "done"}
    if config.train.init == "previous":
        stay |= {round - 1 for round in open_}
    for round in there:
        if round not in stay | open_:
            write.withdraw(db, round, CHECKPOINT)
