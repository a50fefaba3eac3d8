"""From the store to a ``LoopView``: incremental and read-only; with ``metrics`` the only place here that knows SQL.

``PRAGMA data_version`` (0.08 ms) says whether anything was committed at all. Then only what can have changed is
read: events and steps beyond the last ones seen, and a round's counts only when its jobs or decisions have moved.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from engine.config import schema as configs
from engine.config.schema import Config
from engine.errors import ConfigError, MiddoError
from engine.loop import Limits, Open, Reselect, RunStages, Stop, next_step, stages_of
from engine.runtime import stalls
from engine.signals import judge_trust
from engine.store import judging, paired_difference, read, search
from engine.store import teacher as calls
from engine.store.connect import database, reader, unwritable
from engine.store.rows import AXES, REWRITTEN, Job, Plan, Worker
from engine.store.unmerge import undoable
from middo_tui.feed.machine import MachineHistory
from middo_tui.feed.metrics import RoundCurve, figures
from middo_tui.feed.stage_rate import StageRate
from middo_tui.feed.view import Curve, DecisionCounts, DeviceReading, LogLine, LoopView, RoundView, StageView
from middo_tui.terminal import guard
from middo_tui.text.score_changes import changes
from middo_tui.text.teacher_wording import batch, spending, writing

COUNTED_STAGES = frozenset({"evaluate", "select", "rewrite", "verify", "review", "merge"})
LOG_LINES = 50
CURVES = 4
NAME_LIMIT = 60
ERROR_LIMIT = 2000
GAUGES_OLD_S = 30.0

_Rounds = dict[int, list[Job]]
_Signature = tuple[object, ...]


CONFIG = "config.toml"
UNTIL_MENDED = "Until it is fixed, no key can start or change the run. A running stage goes on; the next one needs it."
GONE = "The project is no longer here: its folder was moved or deleted. Move it back, or open it at its new location."


class Reader:
    """A project's state, again and again. Used from one thread at a time. ``clock`` is wall time in seconds."""

    def __init__(self, project: Path, clock: Callable[[], float] = time.time) -> None:
        self.project = project
        self.clock = clock
        self._db: sqlite3.Connection | None = None
        self._seen: tuple[object, ...] | None = None
        self._file: tuple[int, int] | None = None
        self._read_once = False
        self._view = LoopView(project=guard.one_line(project.resolve().name, NAME_LIMIT))
        self._forget()

    def _forget(self) -> None:
        """What was read on from where it was."""
        self._curves: dict[int, RoundCurve] = {}
        self._rows: dict[int, tuple[_Signature, RoundView]] = {}
        self._log: tuple[LogLine, ...] = ()
        self._last_event = 0
        self._jobs: list[Job] = []
        self._pace = StageRate()
        self._machine = MachineHistory(lambda name: guard.one_line(_device(name), NAME_LIMIT))

    def view(self) -> LoopView:
        """What there is to show now; the very same object when nothing has changed. Trouble is part of the view."""
        file = _identity(self.project)
        try:
            if file != self._file:  # taken away or replaced: an open connection would go on reading what is no more
                self.close()
                self._forget()
                self._file = file
            self._db = self._db or reader(self.project)
            worker, held = stalls.worker(self._db, self.project, self._jobs, self.clock())
            seen = (self._db.execute("PRAGMA data_version").fetchone()[0], worker, _written(self.project / CONFIG))
            if seen != self._seen:
                self._view = self._read(self._db, worker)
                self._seen, self._read_once = seen, True
                worker, held = stalls.worker(self._db, self.project, self._jobs, self.clock())
            word, text = (held.word, f"{held.text[0].upper()}{held.text[1:]}.") if held else ("", "")
            if (word, text) != (self._view.trouble, self._view.held):
                self._view = replace(self._view, trouble=word, held=text)
        except (MiddoError, sqlite3.Error, OSError) as error:
            self.close()
            said = guard.clean(GONE if self._read_once and file is None else str(error)[:ERROR_LIMIT]).text
            self._view = LoopView(project=self._view.project, problem=said, wrong="no data")
        return self._view

    def close(self) -> None:
        """Give the connection back; the next ``view`` opens another."""
        if self._db is not None:
            self._db.close()
        self._db, self._seen = None, None

    def _read(self, db: sqlite3.Connection, worker: str) -> LoopView:
        db.execute("BEGIN")  # one snapshot: counts and states that belong together
        try:
            return self._compose(db, worker)
        finally:
            db.execute("ROLLBACK")

    def _compose(self, db: sqlite3.Connection, found: str) -> LoopView:
        worker = found if found in ("running", "lost") else "idle"
        (config, problem), meta = self._config(db), read.meta(db)
        asked = db.execute("SELECT 1 FROM plan WHERE id=1").fetchone() is not None
        plan = read.plan(db) if asked else Plan(rounds=config.loop.rounds)
        rounds: _Rounds = {}
        self._jobs = all_jobs = read.jobs(db)
        for job in all_jobs:
            rounds.setdefault(job.round, []).append(job)
        newest = max(rounds, default=None)
        closing = read.closing_rounds(db)
        self._read_log(db)
        is_closing = newest in closing
        jobs = [] if newest is None else rounds[newest]
        if worker != "running":
            self._pace = StageRate()  # a pause is no part of the rate
        stages = self._stages(db, newest or 0, jobs, is_closing, worker == "running")
        reviewing = any((s.name, s.state) == ("review", "waiting") for s in stages)
        waits = _waiting(db, newest or 0) if reviewing else DecisionCounts()
        stages = tuple(_decided(s, waits) if reviewing and s.name == "review" else s for s in stages)
        curves = self._read_curves(db, rounds, config)
        facts = None if newest is None else read.round_facts(db, newest)
        limits, plan_on = Limits.of(config), replace(plan, until_stage=None)
        comes = next_step(all_jobs, closing, plan_on, facts, limits)
        longer = replace(plan_on, rounds=max(plan.rounds, newest or 0) + 2)
        return LoopView(
            problem=problem,
            wrong=CONFIG if problem else "",
            project=guard.one_line(_name(meta, config) or self.project.resolve().name, NAME_LIMIT),
            model=guard.one_line(_model(meta, config), NAME_LIMIT),
            round=newest,
            rounds=plan.rounds,
            closing=is_closing,
            worker=worker,
            want=plan.want,
            auto=plan.auto,
            until=plan.until_stage or "" if plan.until_round == newest else "",
            stages=stages,
            earlier=self._stages(db, newest - 1, rounds[newest - 1], newest - 1 in closing, False) if newest else (),
            curves=curves,
            series=(*figures(self._newest_curves(rounds)), *self._machine.read(db)),
            training=self._curves[newest].last if newest in self._curves else None,
            gauges=self._gauges(db, worker),
            table=self._table(db, rounds, closing),
            log=self._log,
            waiting=waits,
            next=_first(comes, rounds),
            teacher="" if newest is None else _spending(db, newest),
            batch="" if newest is None else batch(calls.batches(db, newest), self.clock()),
            writing="" if newest is None or worker != "running" else writing(calls.underway(db, newest)),
            reason=guard.one_line(comes.reason) if isinstance(comes, Stop) else "",
            overridden=read.overridden(db) if isinstance(comes, Reselect | Stop) else 0,
            undo=undoable(db, worker != "idle"),
            holds_until=_held(read.worker(db)) if worker == "running" else None,
            cut_short=found == "ended",
            unwritable=_unwritable(self.project) if found == "ended" else "",
            unindexed=search.count_unindexed(db),
            judge="" if newest is None else _judge(db, newest, config),
            final=isinstance(comes, Stop) and isinstance(next_step(all_jobs, closing, longer, facts, limits), Stop),
        )

    def _config(self, db: sqlite3.Connection) -> tuple[Config, str]:
        """config.toml, and what is wrong with it: then the newest round's settings stand in for it on the screen."""
        try:
            return configs.load(self.project), ""
        except ConfigError as error:
            said = guard.clean(f"{str(error)[:ERROR_LIMIT]} {UNTIL_MENDED}").text
            row = db.execute("SELECT config FROM round ORDER BY round DESC LIMIT 1").fetchone()
            try:
                return configs.restore(row[0]) if row else Config(), said
            except (ConfigError, msgspec.MsgspecError):  # of a version whose settings were others
                return Config(), said

    def _stages(
        self, db: sqlite3.Connection, round: int, jobs: list[Job], closing: bool, running: bool
    ) -> tuple[StageView, ...]:
        held = {job.stage: job for job in jobs}
        return tuple(self._stage(db, held.get(name, Job(round, name)), running) for name in stages_of(closing))

    def _stage(self, db: sqlite3.Connection, job: Job, running: bool) -> StageView:
        rate, partial = None, 0.0
        if job.state == "running" and running:
            partial = job.partial
            rate = self._pace.rate((job.round, job.stage), job.done + partial, self.clock())
            if job.stage == "rewrite" and (facts := calls.underway(db, job.round)) and facts["left_s"]:
                # Replies come whole at long intervals: who writes them knows better how long it takes.
                rate = (job.total - job.done) / facts["left_s"]
        error = guard.clean((job.error or "")[:ERROR_LIMIT]).text
        times = job.started_at, job.finished_at
        return StageView(job.stage, job.state, job.done, job.total, rate, *times, error, partial, job.seconds)

    def _read_log(self, db: sqlite3.Connection) -> None:
        fresh = read.events(db, self._last_event, LOG_LINES * 2)
        if not fresh:
            return
        self._last_event = fresh[-1].id
        lines = [
            LogLine(event.at, event.level, guard.one_line(event.stage or "", 20), guard.one_line(event.text))
            for event in reversed(fresh)
            if event.level != "trace"
        ]
        self._log = (*lines, *self._log)[:LOG_LINES]

    def _read_curves(self, db: sqlite3.Connection, rounds: _Rounds, config: Config) -> tuple[Curve, ...]:
        """The newest rounds' curves, newest first, that have any step."""
        out = []
        for curve in self._newest_curves(rounds):
            total = next((job.total for job in rounds[curve.round] if job.stage == "train"), 0)
            out.append(curve.read(db, config.train.epochs, total))
        return tuple(curve for curve in out if curve.points)

    def _newest_curves(self, rounds: _Rounds) -> list[RoundCurve]:
        newest = sorted(rounds, reverse=True)[:CURVES]
        return [self._curves.setdefault(round, RoundCurve(round)) for round in newest]

    def _table(self, db: sqlite3.Connection, rounds: _Rounds, closing: dict[int, str | None]) -> tuple[RoundView, ...]:
        out = []
        decided = tuple(db.execute(f"SELECT {read.DECIDED}").fetchone())
        for round in sorted(rounds):
            signature = decided, round in closing, *_counted(rounds[round])
            if (known := self._rows.get(round)) is None or known[0] != signature:
                self._rows[round] = signature, _round(db, round, rounds[round], round in closing)
            out.append(self._rows[round][1])
        return tuple(out) or (RoundView(0, read.size(db, 0)),)

    def _gauges(self, db: sqlite3.Connection, worker: str) -> tuple[DeviceReading, ...]:
        """The newest reading of each device, while a worker takes readings at all."""
        if worker != "running":
            return ()
        newest: dict[str, DeviceReading] = {}
        last = db.execute("SELECT max(id) FROM gauge").fetchone()[0] or 0
        for g in read.gauges(db, last - 16):
            if self.clock() - g.at <= GAUGES_OLD_S:
                name = guard.one_line(_device(g.device), NAME_LIMIT)
                newest[name] = DeviceReading(name, g.util, g.memory_used, g.memory_total, g.power, g.temperature)
        return tuple(newest[name] for name in sorted(newest))


def _unwritable(project: Path) -> str:
    """Why nothing can be written into a project's folder; empty: it can."""
    refused = unwritable(project)
    return "" if refused is None else guard.one_line(refused.strerror or str(refused))


def _held(worker: Worker | None) -> float | None:
    return None if worker is None else worker.holds_until


def _identity(project: Path) -> tuple[int, int] | None:
    """Which file the database is; None when there is none."""
    try:
        found = database(project).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _written(file: Path) -> tuple[int, int] | None:
    """Which state of a file this is; None when there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _device(name: str) -> str:
    """``cuda:0 NVIDIA H200`` as ``GPU 0 H200``: there is little room, and the maker is no news."""
    return "CPU" if name == "cpu" else name.replace("cuda:", "GPU ").replace("NVIDIA ", "")


def _name(meta: dict[str, object], config: Config) -> str:
    return config.project.name or str(meta.get("name") or "")


def _model(meta: dict[str, object], config: Config) -> str:
    """The last part of a hub name, of a folder's path or of an embedded model's name."""
    name = str(meta.get("model") or config.model.name)
    return name.removeprefix("demo:").rstrip("/").rsplit("/", 1)[-1]


def _first(comes: RunStages | Reselect | Open | Stop, rounds: _Rounds) -> tuple[int, str] | None:
    """The round and stage that a worker would begin with. A round that is opened again keeps what is done in it."""
    if isinstance(comes, RunStages):
        return comes.round, comes.stages[0]
    if isinstance(comes, Reselect):
        return comes.round, "select"
    if isinstance(comes, Stop):
        return None
    done = {job.stage for job in rounds.get(comes.round, []) if job.state == "done"}
    return comes.round, next(name for name in stages_of(comes.closing) if name not in done)


def _counted(jobs: list[Job]) -> _Signature:
    """How far the stages are that a row of the table counts: training is none, so a step has nothing read again."""
    return tuple((job.stage, job.state, job.done) for job in jobs if job.stage in COUNTED_STAGES)


def _counts(by_axis: dict[str, dict[str, int]], state: str) -> tuple[int, int, int]:
    complexity, diversity, quality = (by_axis[axis].get(state, 0) for axis in AXES)
    return complexity, diversity, quality


def _round(db: sqlite3.Connection, round: int, jobs: list[Job], closing: bool) -> RoundView:
    """One row of the table. What was selected is said once the evidence is complete, what was accepted once the review
    has begun to decide.
    """
    state = {job.stage: job.state for job in jobs}
    known = state.get("select") == "done" and not read.asking(db, round)
    chosen = read.selected(db, round) if known else None
    rewrites, scores, asked = read.rewrites(db, round), read.scores(db, round), calls.asked(db, round)
    accepted = _counts(rewrites, "accepted")
    main = read.main_task(db, round)
    return RoundView(
        round=round,
        size=read.size(db, round),
        closing=closing,
        selected=None if chosen is None else (chosen["complexity"], chosen["diversity"], chosen["quality"]),
        rewritten=sum(states.get(name, 0) for states in rewrites.values() for name in REWRITTEN),
        accepted=accepted if any(accepted) or state.get("review") == "done" else None,
        heldout_loss=scores["heldout_loss"].value if "heldout_loss" in scores else None,
        task=guard.one_line(main.task, 20) if main else "",
        score=main.value if main else None,
        stderr=main.stderr if main else None,
        tokens=asked["tokens_in"] + asked["tokens_out"],
        cost=asked["cost"],
        scores=tuple(
            one for one in changes(scores, read.scores(db, round - 1), paired_difference.errors(db, round)) if one.main
        ),
    )


def _decided(review: StageView, waits: DecisionCounts) -> StageView:
    """The review by what is decided now, as the Review screen counts: its job says what was decided when the stage
    stopped for a person.
    """
    closed = waits.accepted + waits.rejected
    return replace(review, done=closed, total=closed + waits.open)


def _waiting(db: sqlite3.Connection, round: int) -> DecisionCounts:
    """The rewrites of ``round`` by what was decided."""
    count: dict[str, int] = {}
    better = dict.fromkeys(AXES, 0)
    found = db.execute(
        "SELECT axis, state, improved, count(*) AS n FROM rewrite WHERE round=? GROUP BY axis, state, improved",
        (round,),
    )
    for row in found:
        count[row["state"]] = count.get(row["state"], 0) + row["n"]
        if row["state"] == "proposed" and row["improved"]:
            better[row["axis"]] += row["n"]
    return DecisionCounts(
        open=count.get("proposed", 0),
        improved=sum(better.values()),
        accepted=count.get("accepted", 0),
        rejected=count.get("rejected", 0),
        failed=count.get("failed", 0),
        by_axis=(better["complexity"], better["diversity"], better["quality"]),
    )


def _spending(db: sqlite3.Connection, round: int) -> str:
    """What the teacher took of a round, in words."""
    return spending(calls.asked(db, round), calls.projected(db, round), read.evidence(db, round))


def _judge(db: sqlite3.Connection, newest: int, config: Config) -> str:
    """What is wrong with the judge of the newest round that has one, of the last two."""
    found = next((n for n in (newest, newest - 1) if judging.check(db, n) is not None), newest)
    return judge_trust.warning(db, found, config.select)
