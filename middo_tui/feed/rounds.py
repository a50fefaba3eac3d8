"""What the Rounds screen shows of the store, as frozen values: every round's counts, scores, clusters and times.

Counts are read whenever the rounds have moved. Distributions take about a second per round of half a million samples:
they are read in SQL, signal by signal, once a round has them all, and never again. For threads; no numpy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from engine.loop import stages_of
from engine.store import paired_difference, read, teacher
from engine.store.connect import reader
from engine.store.rows import AXES, REWRITTEN, Job, Threshold
from middo_tui.feed.bins import Bins
from middo_tui.feed.distributions import MADE_BY, SIGNALS, Distribution, common, distribution
from middo_tui.feed.round_config import Settings, settings
from middo_tui.feed.view import LoopView
from middo_tui.terminal import guard
from middo_tui.text import control_wording
from middo_tui.text.score_changes import ScoreChange, changes

EXEMPLAR_LIMIT = 200
NOISE = -1


class AxisCounts(Struct, frozen=True):
    """One axis of one round. ``accepted`` counts merged ones too; ``open`` waits for a decision."""

    axis: str
    selected: int = 0
    rewritten: int = 0
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    open: int = 0

    @property
    def gain(self) -> float | None:
        """The yield: accepted of all rewrites, also those that failed; None while nothing is decided."""
        return _gain(self.accepted, self.rejected, self.failed, self.open)


def _gain(accepted: int, rejected: int, failed: int, open: int) -> float | None:
    decided = accepted + rejected or (failed and not open)
    return accepted / (accepted + rejected + failed + open) if decided else None


class StageTime(Struct, frozen=True):
    """One stage. ``seconds``: at work, None before it ended once. ``cpu_seconds``, ``peak_bytes`` of resident memory:
    None in rounds of an older version.
    """

    name: str
    state: str
    seconds: float | None = None
    done: int = 0
    total: int = 0
    cpu_seconds: float | None = None
    peak_bytes: int | None = None


class ClusterView(Struct, frozen=True):
    """One cluster and what became of it; ``text`` are the first words of its most typical sample."""

    cluster: int
    size: int
    change: str
    previous_size: int | None
    text: str


class TeacherUsage(Struct, frozen=True):
    """What the teacher was asked in a round."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0


class RoundDetail(Struct, frozen=True):
    """Everything about one round but its distributions. ``state``: of the loop's words, done when every stage is.

    ``evidence``: what the teacher's answers say of flaws; empty where thresholds select. ``asking``: they are
    still coming. ``controls``: what its controls say of it. ``merged``: what it made is the next round's dataset.
    ``size``: samples of its dataset.
    """

    round: int
    size: int
    closing: bool
    state: str
    stage: str
    merged: bool
    axes: tuple[AxisCounts, ...]
    cuts: tuple[Threshold, ...]
    scores: tuple[ScoreChange, ...]
    stages: tuple[StageTime, ...]
    teacher: TeacherUsage
    clusters: tuple[ClusterView, ...]
    noise: int
    settings: Settings
    evidence: str = ""
    asking: bool = False
    controls: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """The stages together; None before the first is done."""
        known = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(known) if known else None

    def done(self, stage: str) -> bool:
        """Whether a stage has ended well."""
        return any(one.name == stage and one.state == "done" for one in self.stages)

    def total(self, name: str) -> int:
        """A count of ``AxisCounts`` over the axes."""
        return sum(int(getattr(axis, name)) for axis in self.axes)

    @property
    def gain(self) -> float | None:
        """The yield over all axes, as the stop rule counts it."""
        return _gain(*map(self.total, ("accepted", "rejected", "failed", "open")))

    def score(self, task: str) -> ScoreChange | None:
        """One task's figure."""
        return next((score for score in self.scores if score.task == task), None)

    def cut(self, signal: str) -> Threshold | None:
        """The threshold on one signal."""
        return next((cut for cut in self.cuts if cut.signal == signal), None)

    def cuts_of(self, axis: str) -> tuple[Threshold, ...]:
        """The thresholds of one axis; complexity has two, the loss before training first."""
        return tuple(sorted((cut for cut in self.cuts if cut.axis == axis), key=lambda cut: SIGNALS.index(cut.signal)))

    def selected(self) -> bool:
        """Its select stage is done, and so is the asking where evidence selects."""
        return not self.asking and any(stage.name == "select" and stage.state == "done" for stage in self.stages)

    def changed(self, change: str) -> int:
        """How many clusters did that: born, died, grew, …"""
        return sum(one.change == change for one in self.clusters)


class RoundsView(Struct, frozen=True):
    """All rounds, oldest first. ``shapes``: distributions by (round, signal), those that were read so far.
    ``reading``: nothing has been read yet.
    """

    rounds: tuple[RoundDetail, ...] = ()
    shapes: tuple[tuple[tuple[int, str], Distribution], ...] = ()
    complete: bool = False
    reading: bool = False

    def shape(self, round: int, signal: str) -> Distribution | None:
        """One distribution, None while it is not there."""
        return dict(self.shapes).get((round, signal))

    def at(self, round: int) -> RoundDetail | None:
        """One round."""
        return next((one for one in self.rounds if one.round == round), None)

    def overlaid(self, signal: str) -> dict[int, Bins]:
        """The signal in every round over parts of one range, to be laid over each other."""
        return common({round: shape for (round, name), shape in self.shapes if name == signal})


# ------------------------------------------------------------------------------------------------ reading


def moved(view: LoopView) -> object:
    """What the rounds depend on, of the view that follows the store: read again when this is another."""
    stages = tuple((stage.name, stage.state) for stage in (*view.earlier, *view.stages))
    return view.round, view.table, stages, view.waiting, view.worker, view.problem


class RoundsReader:
    """Reads one project's rounds; keeps the distributions that cannot change any more. One read at a time."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._shapes: dict[tuple[int, str], tuple[float | None, Distribution | None]] = {}
        self._known: dict[int, tuple[object, RoundDetail]] = {}

    def read(self) -> RoundsView:
        """The rounds as they are now, with the distributions that are known already.

        Raises:
            StoreError: the store cannot be read.
        """
        db = reader(self.project)
        try:
            db.execute("BEGIN")
            by_round = _by_round(db)
            rounds = tuple(self._facts(db, number, by_round) for number in sorted(by_round))
            return self._view(rounds, not _unread(by_round, self._shapes))
        finally:
            db.close()

    def measure(self, post: Callable[[RoundsView], object], stop: Callable[[], bool]) -> None:
        """Read what distributions are still unread, newest round first; ``post`` the view after each round.

        Raises:
            StoreError: the store cannot be read.
        """
        db = reader(self.project)
        try:
            by_round = _by_round(db)
            pending = _unread(by_round, self._shapes)
            for round in sorted({round for round, _, _ in pending}, reverse=True):
                for number, signal, finished in pending:
                    if stop():
                        return
                    if number == round:
                        self._shapes[round, signal] = finished, distribution(db, round, signal)
                rounds = tuple(self._facts(db, number, by_round) for number in sorted(by_round))
                post(self._view(rounds, not _unread(by_round, self._shapes)))
        finally:
            db.close()

    def _view(self, rounds: tuple[RoundDetail, ...], complete: bool) -> RoundsView:
        shapes = tuple((key, shape) for key, (_, shape) in sorted(self._shapes.items()) if shape is not None)
        return RoundsView(rounds, shapes, complete)

    def _facts(self, db: sqlite3.Connection, number: int, by_round: dict[int, list[Job]]) -> RoundDetail:
        jobs = by_round[number]
        decided = db.execute(
            f"SELECT {read.DECIDED}, (SELECT total(ours) + total(value) FROM control)"  # noqa: S608 - a constant
        ).fetchone()
        near = (tuple(by_round.get(number - 1, ())), tuple(by_round.get(number + 1, ())))
        signature = (tuple(jobs), tuple(decided), near)
        known = self._known.get(number)
        if known is None or known[0] != signature:
            known = signature, _facts(db, number, jobs)
            self._known[number] = known
        return known[1]


def _by_round(db: sqlite3.Connection) -> dict[int, list[Job]]:
    out: dict[int, list[Job]] = {}
    for job in read.jobs(db):
        out.setdefault(job.round, []).append(job)
    return out


def _unread(
    by_round: dict[int, list[Job]], known: dict[tuple[int, str], tuple[float | None, Distribution | None]]
) -> list[tuple[int, str, float | None]]:
    """(round, signal, when it was finished) of the distributions that are complete in the store and not yet read."""
    out = []
    for round, jobs in by_round.items():
        done = {job.stage: job.finished_at for job in jobs if job.state in ("done", "stale")}
        for signal in SIGNALS:
            stage = MADE_BY[signal]
            if stage in done and ((round, signal) not in known or known[round, signal][0] != done[stage]):
                out.append((round, signal, done[stage]))
    return out


def _facts(db: sqlite3.Connection, number: int, jobs: list[Job]) -> RoundDetail:
    row = db.execute("SELECT config, closing FROM round WHERE round=?", (number,)).fetchone()
    closing = bool(row and row["closing"])
    held = {job.stage: job for job in jobs}
    stages = tuple(_stage(held.get(name, Job(number, name))) for name in stages_of(closing))
    state, stage = _state(stages)
    asked = teacher.asked(db, number)
    clusters, evidence = _clusters(db, number), read.evidence(db, number)
    return RoundDetail(
        round=number,
        size=read.size(db, number),
        closing=closing,
        state=state,
        stage=stage,
        merged="merge" in held and held["merge"].state == "done",
        axes=() if closing else _axes(db, number),
        cuts=() if evidence else tuple(read.rows(db, Threshold, number)),
        scores=tuple(_clean(one) for one in _changes(db, number)),
        stages=stages,
        teacher=TeacherUsage(asked["calls"], asked["tokens_in"], asked["tokens_out"], asked["cost"]),
        clusters=tuple(one for one in clusters if one.cluster != NOISE),
        noise=sum(one.size for one in clusters if one.cluster == NOISE) or _noise(db, number, bool(clusters)),
        settings=settings(row["config"] if row else ""),
        evidence=guard.one_line(str(evidence.get("verdict", "the answers are still coming"))) if evidence else "",
        asking=read.asking(db, number),
        controls=tuple(guard.one_line(one) for one in control_wording.sentences(db, number)),
    )


def _changes(db: sqlite3.Connection, number: int) -> tuple[ScoreChange, ...]:
    return changes(read.scores(db, number), read.scores(db, number - 1), paired_difference.errors(db, number))


def _clean(one: ScoreChange) -> ScoreChange:
    return replace(one, task=guard.one_line(one.task, 60))


def _stage(job: Job) -> StageTime:
    ended = job.state in ("done", "stale") and job.started_at is not None and job.finished_at is not None
    seconds = max(0.0, job.finished_at - job.started_at) if ended and job.finished_at and job.started_at else None
    return StageTime(
        job.stage, job.state, job.seconds or seconds, job.done, job.total, job.cpu_seconds or None, job.peak_bytes
    )


def _state(stages: tuple[StageTime, ...]) -> tuple[str, str]:
    """The round in one word, and the stage that it is about."""
    for state in ("running", "failed", "waiting", "paused", "interrupted", "cancelled", "stale", "pending"):
        for stage in stages:
            if stage.state == state:
                return state, stage.name
    return "done", ""


def _axes(db: sqlite3.Connection, number: int) -> tuple[AxisCounts, ...]:
    selected, rewrites = read.selected(db, number), read.rewrites(db, number)
    return tuple(
        AxisCounts(
            axis,
            selected[axis],
            sum(rewrites[axis].get(state, 0) for state in REWRITTEN),
            rewrites[axis].get("accepted", 0),
            rewrites[axis].get("rejected", 0),
            rewrites[axis].get("failed", 0),
            rewrites[axis].get("proposed", 0),
        )
        for axis in AXES
    )


def _clusters(db: sqlite3.Connection, number: int) -> tuple[ClusterView, ...]:
    """The clusters, those that changed most (in samples) first."""
    found = db.execute(
        "SELECT cluster, size, change, previous_size, substr(text, 1, ?) AS text FROM cluster"
        " LEFT JOIN sample_text ON sample_text.id = exemplar WHERE round=?"
        " ORDER BY abs(size - coalesce(previous_size, 0)) DESC, cluster",
        (EXEMPLAR_LIMIT + 1, number),
    )
    return tuple(
        ClusterView(r[0], r[1], guard.one_line(r[2] or "", 12), r[3], guard.one_line(r[4] or "", EXEMPLAR_LIMIT))
        for r in found
    )


def _noise(db: sqlite3.Connection, number: int, clustered: bool) -> int:
    """How many samples lie in no cluster; 0 where nothing was clustered."""
    if not clustered:
        return 0
    found = db.execute("SELECT count(*) FROM signal WHERE round=? AND cluster=?", (number, NOISE)).fetchone()
    return int(found[0])
