"""The interface of a stage, and ``Ctx``, the only thing a stage reads from and writes to.

A stage is one public function ``run(ctx)`` in one file of ``engine/stages``. It never sees SQLite, so it runs the same
in the worker's child process, in a test and in a benchmark.

Rules that make every stage resumable after a kill:
- work is done if it has a row: a stage reads ``ctx.rows(...)`` and does the rest;
- batches are planned over *all* rows of the round, never over the remaining ones, and saved whole. A half-finished
  batch is computed again with the same rows, so a resumed run gives the same bits as an uninterrupted one;
- ``ctx.save`` writes rows and progress in one transaction, then raises ``Paused`` or ``Cancelled`` if asked to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from engine.config.schema import Config
from engine.store.dataset import Dataset
from engine.store.rows import CachedLoss, Row, Sample

R = TypeVar("R", bound=Row)


class Ctx(Protocol):
    """What a stage may read and write. ``engine.runtime.context.StoreCtx`` implements it over the store."""

    round: int
    stage: str
    config: Config
    project: Path

    def dataset(self) -> Dataset:
        """The round's dataset in ``seq`` order. Samples are read lazily: iterate once, keep only small values."""

    def heldout(self) -> list[Sample]:
        """The held-out samples, never trained on, in file order."""

    def rows(self, kind: type[R], round: int | None = None) -> list[R]:
        """All rows of ``kind`` (a class of ``engine.store.rows``) in ``round`` (this round when None), ordered
        by key.

        Kinds that share a table (Losses, Neighbourhood, Ratings in ``signal``; Rewrite, Verdict in ``rewrite``) yield
        only the rows whose own part is filled.
        """

    def cached(self, model: str, ids: Sequence[int] | None = None) -> Iterator[CachedLoss]:
        """What is known under a model that does not change, of the samples ``ids`` (None: of all), one by one."""

    def save(self, rows: Sequence[Row], done: int | None = None) -> None:
        """Write ``rows`` and the progress (``done`` units of the total) in one transaction, then check ``want``.

        Raises:
            Paused, Cancelled: after the write, if the job's ``want`` says so.
        """

    def begin(self, total: int, done: int = 0) -> None:
        """Set the total number of units, and how many were done before (the ETA leaves them out)."""

    def progress(self, done: int, partial: float = 0.0) -> None:
        """Report progress without rows (throttled), then check ``want`` as ``save`` does.

        ``partial``: how much of the next unit is done, 0 to 1, where one takes long.
        """

    def wanted(self) -> str:
        """``run``, ``pause`` or ``cancel``. Does not raise, for loops that must reach a boundary first."""

    def own_cancel(self) -> AbstractContextManager[None]:
        """A context in which a cancel does not end the process: the stage sees it in ``wanted`` and must end within
        ``launch.grace_s`` seconds. For stages that must also cancel something elsewhere.
        """

    def event(self, text: str, level: str = "info") -> None:
        """Write a line to the log."""

    def artifact(self, name: str, round: int | None = None) -> Path | None:
        """The path of the finished artifact ``name`` of ``round``; None if it was never finished."""

    def workdir(self, name: str) -> Path:
        """The folder in which artifact ``name`` of this round is built. A resume keeps it."""

    def publish(self, name: str, path: Path, meta: dict[str, object]) -> None:
        """Make ``path`` (inside the project) the finished artifact ``name`` of this round."""

    def withdraw(self, name: str, round: int) -> None:
        """Remove artifact ``name`` of ``round``: its row, then its files."""

    def drop_metrics_after(self, step: int) -> None:
        """Delete logged training steps after ``step``: a resumed run logs them again."""

    def replace(self, born: Sequence[Sample], retired: Sequence[int], rows: Sequence[Row]) -> None:
        """Merge in one transaction: ``born`` samples enter the next round, ``retired`` ids leave, ``rows`` are saved.

        A second merge of the same round first undoes the first.
        """
