"""About how long the stages of a project will take: before the first from measured speeds, then from its own stages.

The doctor works it out and notes it in the project; ``status`` and ``run`` read the note. What is not known (a server
that was not tried, the questions of lm-eval) is said to be unknown. Loads no torch.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor import cost_model
from engine.doctor.cost_model import RoundWork, Speeds
from engine.errors import ConfigError
from engine.loop import CLOSING, NAMES, Limits, Reselect, Stop, next_step, outdated
from engine.store import read
from engine.store.rows import Job

NOTE = "duration"
"""Key of the doctor's note among the project's facts."""
TRIED, RECORDED = (0.8, 1.35), (0.85, 1.2)
"""The true time is mostly within these shares of what was expected, on a machine without other work."""
FEWEST = 40
"""Samples that the teacher is asked about where hardly any is flawed (docs/benchmarks/gain.md, clean data)."""
FEW = 0.05
"""The least share of samples beyond a threshold that is reckoned with."""
PART = {"score": 0.5, "rewrite": 0.25, "verify": 0.25}
"""Least shares of a first round's stages that later ones take: losses under the base are known by then, and fewer
samples are flawed.
"""


class Span(Struct, frozen=True):
    """Seconds: from, to."""

    low: float
    high: float

    def times(self, share: float) -> Span:
        """A part, or a multiple."""
        return Span(self.low * share, self.high * share)

    def grown(self, fixed: Span, share: float) -> Span:
        """A multiple of all but what is ``fixed``."""
        ends = ((self.low, fixed.low), (self.high, fixed.high))
        low, high = (start + (whole - start) * share for whole, start in ends)
        return Span(low, high)


class Duration(Struct, frozen=True):
    """What the doctor worked out for ``rows`` samples: seconds by stage, in round 0 and in later ones, where known.

    fixed: of these, what does not grow with the dataset: libraries, weights, held-out samples. key: of the settings
    that it holds for. basis: what it is based on, in words.
    """

    rows: int
    first: dict[str, Span]
    later: dict[str, Span]
    basis: str
    key: str = ""
    fixed: dict[str, Span] = {}


class Remaining(Struct, frozen=True):
    """What is still to come: of the round at hand (``number``), by stage; of the whole run; and what is not known."""

    number: int
    stages: dict[str, Span]
    round: Span
    run: Span
    rounds: int
    unknown: tuple[str, ...] = ()
    basis: str = ""


class Recorded(Struct, frozen=True):
    """A stage that this project has run: seconds, on how many samples, in which round."""

    seconds: float
    rows: int
    round: int


class LoopState(Struct, frozen=True):
    """Where a run stands. done: shares of the stages of the newest round, 1 where it is done. rounds: that are wanted;
    final: training and evaluation once more at the end. closing: the newest round is this. rows: of the dataset.
    """

    rounds: int
    final: bool
    rows: int
    newest: int = -1
    closing: bool = False
    done: Mapping[str, float] = field(default_factory=dict)


# --------------------------------------------------------------------------------------------------- by the model


def asked(config: Config, rows: int, selected: int) -> tuple[int, int]:
    """Samples that the teacher is asked about in a round: from, to. ``selected``: in the last one; 0: none yet."""
    most = max(1, int(config.select.max_share * rows)) if config.select.parity == "ours" else 2 * rows
    if config.merge.flawed == "drop" and config.select.threshold != "evidence":
        most = max(1, rows // 10)
    if selected:
        return min(most, selected // 2), min(most, 2 * selected)
    least = FEWEST if config.select.threshold == "evidence" else int(FEW * rows)
    return min(most, least), most


def expected(facts: RoundWork, config: Config, speeds: Speeds, selected: int, basis: str) -> Duration:
    """The seconds of each stage whose speeds are known. ``selected``: as in ``asked``."""
    low, high = asked(config, facts.rows, selected)
    first: dict[str, Span] = {}
    later: dict[str, Span] = {}
    fixed: dict[str, Span] = {}
    for stage, work in cost_model.amounts(replace(facts, rows=0, fresh=0, asked=0, passed=0), config).items():
        if (least := cost_model.seconds(stage, work, speeds)) is not None:
            fixed[stage] = Span(least * TRIED[0], least * TRIED[1])
    rounds = ((first, (facts.rows, facts.rows)), (later, (low, high)))
    for out, fresh in rounds if speeds else ():
        both = [replace(facts, fresh=new, asked=count) for new, count in zip(fresh, (low, high), strict=True)]
        ends = [cost_model.amounts(one, config) for one in both]
        for stage in ends[0]:
            span = [cost_model.seconds(stage, work[stage], speeds) for work in ends]
            if span[0] is not None and span[1] is not None:
                out[stage] = Span(span[0] * TRIED[0], span[1] * TRIED[1])
        if "rewrite" in out:  # no faster than the provider allows
            waits = [cost_model.least_seconds(one, config) for one in both]
            out["rewrite"] = Span(max(out["rewrite"].low, waits[0]), max(out["rewrite"].high, waits[1]))
    return Duration(facts.rows, first, later, basis, settings_key(config), fixed)


def settings_key(config: Config) -> str:
    """What a note of the doctor depends on."""
    return configs.slice_hash(config, ("model", "train", "score", "judge", "evaluate", "select", "teacher", "launch"))


# ----------------------------------------------------------------------------------------------------- what is left


def remaining(at: LoopState, noted: Duration | None, recorded: Mapping[str, Recorded]) -> Remaining | None:
    """What is left of a run; None: nothing is, or nothing of it is known."""
    ahead = [*_ahead(at)]
    spans = [(round, stage, _span(round, stage, at.rows, noted, recorded)) for round, stage in ahead]
    if not any(span for _, _, span in spans):
        return None
    done = {stage: at.done.get(stage, 0.0) for stage in NAMES}
    here = max(at.newest, 0) if any(round == at.newest for round, _ in ahead) else at.newest + 1
    counted = [
        (round, stage, span.times(1 - done[stage] if round == at.newest else 1.0))
        for round, stage, span in spans
        if span
    ]
    return Remaining(
        number=here,
        stages={stage: span for round, stage, span in counted if round == here},
        round=_sum(span for round, _, span in counted if round == here),
        run=_sum(span for _, _, span in counted),
        rounds=len({round for round, _ in ahead}),
        unknown=tuple(dict.fromkeys(stage for _, stage, span in spans if span is None)),
        basis=_basis(noted, recorded, {stage for _, stage in ahead}),
    )


def _ahead(at: LoopState) -> Iterable[tuple[int, str]]:
    """(round, stage) of all that is not done. A person's review takes as long as it takes."""
    names = CLOSING if at.closing else NAMES
    if at.newest >= 0:
        yield from ((at.newest, s) for s in names if s != "review" and at.done.get(s, 0.0) < 1)
    if at.closing:
        return
    for round in range(at.newest + 1, at.rounds):
        yield from ((round, stage) for stage in NAMES if stage != "review")
    if at.final:
        yield from ((max(at.rounds, at.newest + 1), stage) for stage in CLOSING)


def _span(round: int, stage: str, rows: int, noted: Duration | None, recorded: Mapping[str, Recorded]) -> Span | None:
    if (known := recorded.get(stage)) is not None:
        took = cost_model.scaled(stage, known.seconds, known.rows, rows)
        least = PART.get(stage, 1.0) if round > known.round == 0 else 1.0
        return Span(took * RECORDED[0] * least, took * RECORDED[1])
    if noted is None:
        return None
    found, fixed = (noted.later if round else noted.first).get(stage), noted.fixed.get(stage, Span(0.0, 0.0))
    return None if found is None else found.grown(fixed, rows / max(noted.rows, 1))


def _sum(spans: Iterable[Span]) -> Span:
    spans = list(spans)
    return Span(sum(s.low for s in spans), sum(s.high for s in spans))


def _basis(noted: Duration | None, recorded: Mapping[str, Recorded], ahead: set[str]) -> str:
    own = [stage for stage in NAMES if stage in recorded and stage in ahead]
    if not own:
        return noted.basis if noted else ""
    said = f"from this project's own {', '.join(own)}" if len(own) < len(ahead) else "from this project's own stages"
    return f"{said}; the rest {noted.basis}" if noted and len(own) < len(ahead) else said


# ------------------------------------------------------------------------------------------------------ the project


def of_project(db: sqlite3.Connection, project: Path, jobs: Sequence[Job]) -> Remaining | None:
    """What is left of a project's run, by the doctor's note and the stages that have run; None: nothing, or unknown."""
    try:
        config = configs.load(project)
    except ConfigError:  # the caller says so
        return None
    if jobs and _over(db, config, jobs):
        return None
    return remaining(
        loop_state(db, config, jobs), _noted(db, config), recorded(db, configs.placed(config, project), jobs)
    )


def _over(db: sqlite3.Connection, config: Config, jobs: Sequence[Job]) -> bool:
    """Whether nothing comes after the stages that are done, or what comes is only what a person asked for."""
    newest = max(job.round for job in jobs)
    facts = read.round_facts(db, newest)
    step = next_step(jobs, read.closing_rounds(db), read.plan(db), facts, Limits.of(config))
    return isinstance(step, Reselect) or (isinstance(step, Stop) and step.state == "done")


def loop_state(db: sqlite3.Connection, config: Config, jobs: Sequence[Job]) -> LoopState:
    """Where the run of a project stands."""
    newest = max((job.round for job in jobs), default=-1)
    closing = read.closing_rounds(db)
    rounds = read.plan(db).rounds if jobs else config.loop.rounds
    done = {job.stage: _share(job) for job in jobs if job.round == newest}
    return LoopState(rounds, config.loop.final_train, read.size(db, max(newest, 0)), newest, newest in closing, done)


def _share(job: Job) -> float:
    if job.state == "done":
        return 1.0
    return min(job.done / job.total, 0.99) if job.total else 0.0


def _noted(db: sqlite3.Connection, config: Config) -> Duration | None:
    row = db.execute("SELECT value FROM meta WHERE key=?", (NOTE,)).fetchone()
    if row is None:
        return None
    try:
        found = msgspec.convert(json.loads(row[0]), Duration)
    except msgspec.ValidationError:  # another version's
        return None
    return found if found.key == settings_key(config) else None


def recorded(db: sqlite3.Connection, config: Config, jobs: Sequence[Job]) -> dict[str, Recorded]:
    """The newest run of each stage with today's settings. ``config`` is placed."""
    newest = {job.stage: job for job in jobs if job.state == "done" and job.seconds and not outdated(job, config)}
    sizes = {round: read.size(db, round) for round in {job.round for job in newest.values()}}  # each is counted
    return {stage: Recorded(job.seconds, sizes[job.round], job.round) for stage, job in newest.items()}


# ------------------------------------------------------------------------------------------------------- in words


SHORT = 10
"""Seconds below which a stage is not told of by itself."""
STEPS = ((90, 10, 1, "s"), (600, 60, 60, "min"), (5_400, 300, 60, "min"), (36_000, 1_800, 3_600, "h"))
"""Up to how many seconds an end of a span is rounded to what, and told in which unit; beyond, to hours."""


def rounded(seconds: float) -> tuple[str, str]:
    """A number and its unit: no more exact than an estimate is."""
    for most, step, unit, name in (*STEPS, (float("inf"), 3_600, 3_600, "h")):
        if seconds < most:
            return f"{max(1, round(seconds / step)) * step / unit:g}", name
    raise AssertionError


def words(span: Span) -> str:
    """``20 to 30 s``, ``50 s to 2 min``, ``about 3 h``."""
    if span.high < SHORT:
        return "a few seconds"
    (low, unit), (high, other) = rounded(span.low), rounded(span.high)
    if (low, unit) == (high, other):
        return f"about {low} {unit}"
    return f"{low} to {high} {unit}" if unit == other else f"{low} {unit} to {high} {other}"


def sentence(left: Remaining) -> str:
    """What is left, in words: the round at hand with its longest stages, the run, and what is not known."""
    longest = sorted(left.stages.items(), key=lambda one: -one[1].high)
    parts = [f"{stage} {words(span)}" for stage, span in longest if span.high >= SHORT]
    least = "at least " if left.unknown else ""
    text = f"round {left.number}: {least}{words(left.round)}" if left.stages else f"round {left.number}: not known yet"
    text += f" ({', '.join(parts)})" if parts else ""
    if left.rounds > 1:
        text += f"; the whole run: {least}{words(left.run)}, if it does not stop earlier"
    if left.unknown:
        text += f"; without {', '.join(left.unknown)}, which {'is' if len(left.unknown) == 1 else 'are'} not known"
    return f"{text}. {left.basis[:1].upper()}{left.basis[1:]}"


def as_json(left: Remaining | None) -> dict[str, Any] | None:
    """For scripts: seconds."""
    if left is None:
        return None
    spans = {stage: {"low_s": round(s.low, 1), "high_s": round(s.high, 1)} for stage, s in left.stages.items()}
    return {
        "text": sentence(left),
        "round_number": left.number,
        "round": {"low_s": round(left.round.low, 1), "high_s": round(left.round.high, 1)},
        "run": {"low_s": round(left.run.low, 1), "high_s": round(left.run.high, 1)},
        "stages": spans,
        "unknown": list(left.unknown),
        "basis": left.basis,
    }
