"""``Ctx`` implemented over the store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

from engine.config import schema as configs
from engine.config.schema import Config
from engine.errors import Cancelled, Paused
from engine.files import durable
from engine.store import read, write
from engine.store.dataset import Dataset
from engine.store.rows import Artifact, CachedLoss, Row, Sample

R = TypeVar("R", bound=Row)
PROGRESS_EVERY_S = 0.5


class StoreCtx:
    """The context of one stage of one round: ``engine.stage.Ctx`` over the store."""

    def __init__(self, db: sqlite3.Connection, project: Path, config: Config, round: int, stage: str) -> None:
        self.project = project
        self.config = configs.placed(config, project)
        self.round = round
        self.stage = stage
        self._db = db
        self._reported = 0.0

    def dataset(self) -> Dataset:
        """See ``Ctx``."""
        return Dataset(self._db, self.round)

    def heldout(self) -> list[Sample]:
        """See ``Ctx``."""
        return read.heldout(self._db)

    def rows(self, kind: type[R], round: int | None = None) -> list[R]:
        """See ``Ctx``."""
        return read.rows(self._db, kind, self.round if round is None else round)

    def cached(self, model: str, ids: Sequence[int] | None = None) -> Iterator[CachedLoss]:
        """See ``Ctx``."""
        return read.cached(self._db, model, ids)

    def save(self, rows: Sequence[Row], done: int | None = None) -> None:
        """See ``Ctx``."""
        write.save(self._db, self.round, self.stage, rows, done)
        self._honour()

    def begin(self, total: int, done: int = 0) -> None:
        """See ``Ctx``."""
        write.set_total(self._db, self.round, self.stage, total, done)

    def progress(self, done: int, partial: float = 0.0) -> None:
        """See ``Ctx``."""
        if time.monotonic() - self._reported >= PROGRESS_EVERY_S:
            self._reported = time.monotonic()
            write.save(self._db, self.round, self.stage, (), done, partial)
        self._honour()

    def wanted(self) -> str:
        """See ``Ctx``."""
        return read.plan(self._db).want

    @contextmanager
    def own_cancel(self) -> Iterator[None]:
        """See ``Ctx``."""
        if threading.current_thread() is not threading.main_thread():  # in tests: a thread cannot receive signals
            yield
            return

        def told(number: int, frame: FrameType | None) -> None:
            if self.wanted() != "cancel":  # the machine goes down
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

        before = signal.signal(signal.SIGTERM, told)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def event(self, text: str, level: str = "info") -> None:
        """See ``Ctx``."""
        write.event(self._db, text, level, self.round, self.stage)

    def artifact(self, name: str, round: int | None = None) -> Path | None:
        """See ``Ctx``."""
        found = read.artifact(self._db, self.round if round is None else round, name)
        return self.project / found[0] if found else None

    def workdir(self, name: str) -> Path:
        """See ``Ctx``."""
        folder = self._folder(name, self.round)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def publish(self, name: str, path: Path, meta: dict[str, object]) -> None:
        """See ``Ctx``."""
        relative = path.resolve().relative_to(self.project.resolve())
        durable.flush(path)  # before a row says that it is there
        write.save(
            self._db,
            self.round,
            self.stage,
            [Artifact(self.round, name, str(relative), json.dumps(meta))],
            None,
        )

    def withdraw(self, name: str, round: int) -> None:
        """See ``Ctx``."""
        write.withdraw(self._db, round, name)  # first: what has no row does not count, whatever is left of it
        shutil.rmtree(self._folder(name, round))

    def _folder(self, name: str, round: int) -> Path:
        return self.project / "artifacts" / f"round-{round}" / name

    def drop_metrics_after(self, step: int) -> None:
        """See ``Ctx``."""
        write.drop_metrics_after(self._db, self.round, step)

    def replace(self, born: Sequence[Sample], retired: Sequence[int], rows: Sequence[Row]) -> None:
        """See ``Ctx``."""
        write.replace(self._db, self.round, born, retired, rows)

    def _honour(self) -> None:
        want = self.wanted()
        if want == "pause":
            raise Paused
        if want == "cancel":
            raise Cancelled
