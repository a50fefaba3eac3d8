"""What a stage is, and all that it may see of the world.

A stage is one public function ``run(ctx)`` in one file of ``engine/stages``. It reads and writes through ``Ctx``
only, so
it can run in the worker's child, in a test or in a benchmark alike, and it never sees SQLite.

Rules that make every stage resumable, whatever kills it:
- what is done is what has a row: a stage asks ``ctx.rows(...)`` what is there and does the rest;
- batches are planned over *all* rows of the round, never over the remaining ones, and saved whole: a batch that is half
  there is computed again in the same composition, so a resumed run gives the same bits as an undisturbed one;
- ``ctx.save`` writes rows and progress in one transaction, then raises ``Paused`` or ``Cancelled`` when that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from engine.config.schema import Config
from engine.store.dataset import Dataset
from engine.store.rows import Row, Sample

R = TypeVar("R", bound=Row)


class Ctx(Protocol):
    """A stage's whole world. Implemented over the store by ``engine.runtime.context.StoreCtx``."""

    round: int
    stage: str
    config: Config
    project: Path

    def dataset(self) -> Dataset:
        """D_r, in ``seq`` order. Samples are read when they are asked for: go through it once, keep what is small."""

    def heldout(self) -> list[Sample]:
        """The held-out samples, never trained on, in file order."""

    def rows(self, kind: type[R], round: int | None = None) -> list[R]:
        """All rows of ``kind`` (a class of ``engine.store.rows``) in ``round`` (this round when None), ordered
        by key.

        Kinds that share a table (Losses, Neighbourhood, Ratings in ``signal``; Rewrite, Verdict in ``rewrite``) yield
        only the rows whose own part is filled.
        """

    def save(self, rows: Sequence[Row], done: int | None = None) -> None:
        """Write ``rows`` and the progress (``done`` units of the total) in one transaction, then honour ``want``.

        Raises:
            Paused, Cancelled: after the write, when the job's ``want`` asks for it.
        """

    def begin(self, total: int, done: int = 0) -> None:
        """Say how many units this stage has and how many were there already (what the ETA starts from)."""

    def progress(self, done: int) -> None:
        """Report progress without rows (throttled), then honour ``want`` as ``save`` does."""

    def wanted(self) -> str:
        """``run``, ``pause`` or ``cancel``, without raising: for loops that must reach a boundary first."""

    def own_cancel(self) -> AbstractContextManager[None]:
        """Within it a cancel does not end the process at once: the stage sees it in ``wanted`` and ends itself, within
        ``launch.grace_s``. For stages that have something to call off elsewhere.
        """

    def event(self, text: str, level: str = "info") -> None:
        """A line for the log that a person reads."""

    def artifact(self, name: str, round: int | None = None) -> Path | None:
        """Where the finished artifact ``name`` of ``round`` lies, or None when it was never finished."""

    def workdir(self, name: str) -> Path:
        """The folder in which artifact ``name`` of this round is built. It is kept over a resume."""

    def publish(self, name: str, path: Path, meta: dict[str, object]) -> None:
        """Make ``path`` (inside the project) the finished artifact ``name`` of this round."""

    def withdraw(self, name: str, round: int) -> None:
        """Artifact ``name`` of ``round`` is no more: forget it, then remove its files."""

    def drop_metrics_after(self, step: int) -> None:
        """Forget logged training steps beyond ``step``: a resumed run logs them again."""

    def replace(self, born: Sequence[Sample], retired: Sequence[int], rows: Sequence[Row]) -> None:
        """The merge, in one transaction: ``born`` enter the next round, ``retired`` ids leave it, ``rows`` are saved.

        Running it again for the same round first undoes what it did before.
        """
