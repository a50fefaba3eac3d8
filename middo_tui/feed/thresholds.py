"""What the Thresholds screen reads of the store besides the preview: where the round stands, the selection that is
stored, the round before, the texts next to the cut. For threads.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from engine.config import schema as configs
from engine.config.schema import Config
from engine.runtime import launch
from engine.signals import judge_trust
from engine.signals.judge_trust import UNTESTED, JudgeTrust
from engine.store import read
from engine.store.connect import reader
from engine.store.rows import AXES, Axis, Threshold
from middo_tui.feed.bins import Bins, Side
from middo_tui.feed.view import LoopView
from middo_tui.terminal import guard

if TYPE_CHECKING:
    from engine.selection.preview.counts import MarginSample, Preview

Rule = Literal["sigma", "mixture"]
PARTS = 960
"""How finely a histogram is read: several parts to a cell of the widest screen."""
TEXT_LIMIT = 300
BEGUN = "state<>'owed' OR attempts>0"


class SignalLabel(Struct, frozen=True):
    """A signal as the screen speaks of it. A test holds this and the engine's own table together."""

    axis: Axis
    side: Side
    title: str
    stage: str


SIGNALS: dict[str, SignalLabel] = {
    "loss_before": SignalLabel("complexity", "above", "base loss", "score"),
    "loss_after": SignalLabel("complexity", "above", "tuned loss", "score"),
    "similarity": SignalLabel("diversity", "below", "similarity", "score"),
    "quality": SignalLabel("quality", "below", "quality", "judge"),
}


def signals_of(axis: str) -> tuple[str, ...]:
    """Complexity has two, the other axes one."""
    return tuple(name for name, signal in SIGNALS.items() if signal.axis == axis)


class RoundState(Struct, frozen=True):
    """Where ``round`` stands as far as another cut is concerned.

    ``selected``: its select stage is done. ``begun``: rewrites that the teacher was asked for; ``decided``: those of
    them that somebody decided; ``cost``: what they cost. ``newest``: no later round has begun. ``merged``: its dataset
    has become the next round's, and is another one. ``running``: a worker runs. ``reading``: it is in select, which has
    read config.toml already. ``stored``: its thresholds. ``trust``: whether its judge is believed.
    """

    round: int
    selected: bool = False
    begun: int = 0
    decided: int = 0
    tokens: int = 0
    cost: float = 0.0
    newest: bool = True
    merged: bool = False
    running: bool = False
    reading: bool = False
    stored: tuple[Threshold, ...] = ()
    trust: JudgeTrust = UNTESTED

    @property
    def history(self) -> bool:
        """Nothing can be selected anew here: the next round stands on it."""
        return self.merged or not self.newest

    @property
    def free(self) -> bool:
        """Select can run anew at once, and nothing is lost by it."""
        return self.selected and not (self.history or self.running or self.begun)

    def made_with(self, m: Mapping[Axis, float], rule: str) -> bool:
        """Whether the stored selection was made with these cuts."""
        if not self.selected or any(t.rule != rule for t in self.stored):
            return False  # also where evidence selected
        return rule == "mixture" or all(t.m == m[axis] for t in self.stored for axis in AXES if t.axis == axis)


class ThresholdRound(Struct, frozen=True):
    """A round, ready to be cut, and how its signals are distributed (None: no sample has the signal)."""

    round: int
    preview: Preview
    config: Config
    standing: RoundState
    bins: Mapping[str, Bins | None]


class Margin(Struct, frozen=True):
    """A sample next to the cut: its value on ``signal``, the first words of its prompt (clean)."""

    id: int
    signal: str
    value: float
    text: str


def shown_round(view: LoopView) -> int | None:
    """The newest round that has its signals, of the two newest; None when neither has."""
    for round, stages in ((view.round, view.stages), ((view.round or 0) - 1, view.earlier)):
        if round is not None and any(stage.name == "score" and stage.state == "done" for stage in stages):
            return round
    return None


def load(project: Path, round: int) -> ThresholdRound:
    """All there is to know of ``round``; takes some seconds at 500k samples, most of them in another process.

    Raises:
        StoreError, ConfigError: what cannot be read.
    """
    from engine.selection.preview.counts import Preview

    preview = Preview.load(project, round)
    bins = {name: None if name in preview.missing else _bins(preview, name) for name in SIGNALS}
    preview.thresholds(preview.configured, rule_of(preview.config))  # a mixture is looked for here, once
    return ThresholdRound(round, preview, preview.config, standing(project, round), bins)


def _bins(preview: Preview, name: str) -> Bins:
    found = preview.histogram(name, PARTS)
    return Bins(found.edges[0], found.edges[-1], tuple(float(count) for count in found.counts))


def standing(project: Path, round: int) -> RoundState:
    """Where ``round`` stands now.

    Raises:
        StoreError: the store cannot be read.
    """
    db = reader(project)
    try:
        db.execute("BEGIN")
        return _standing(db, round)
    finally:
        db.close()


def _standing(db: sqlite3.Connection, round: int) -> RoundState:
    jobs = read.jobs(db)
    state = {job.stage: job.state for job in jobs if job.round == round}
    made = db.execute(
        f"SELECT count(*), coalesce(sum(tokens_in + tokens_out), 0), coalesce(sum(cost), 0) FROM rewrite"  # noqa: S608
        f" WHERE round=? AND ({BEGUN})",
        (round,),
    ).fetchone()
    decided = db.execute(
        "SELECT count(*) FROM rewrite r WHERE round=? AND EXISTS (SELECT 1 FROM decision d"
        " WHERE d.sample_id=r.sample_id AND d.axis=r.axis AND d.round=r.round AND undone=0)",
        (round,),
    ).fetchone()[0]
    merged = read.round_facts(db, round)
    return RoundState(
        round=round,
        selected=state.get("select") == "done",
        begun=made[0],
        decided=decided,
        tokens=made[1],
        cost=made[2],
        newest=round == max((job.round for job in jobs), default=0),
        merged=merged is not None and bool(merged.accepted or merged.dropped),
        running=launch.alive(read.worker(db)),
        reading=state.get("select") == "running",
        stored=tuple(read.rows(db, Threshold, round)) if "select" in state else (),
        trust=judge_trust.of_round(db, round),
    )


def verdicts(stored: Iterable[Threshold]) -> dict[str, str]:
    """What the mixture rule, or evidence, said, by signal, where a stored selection was made by it. Clean."""
    found = ((t.signal, json.loads(t.detail)) for t in stored if t.rule in ("mixture", "evidence") and t.detail)
    return {signal: guard.one_line(str(detail.get("verdict", ""))) for signal, detail in found}


def round_before(project: Path, loaded: ThresholdRound) -> dict[str, Bins]:
    """The round before over the same ranges, scaled to the same size; empty when there is none.

    Raises:
        StoreError: the store cannot be read.
    """
    if not loaded.round:
        return {}
    from engine.selection.preview import saved_signals

    db = reader(project)
    try:
        ordered = saved_signals.sorted_values(db, project, loaded.round - 1)
        return {
            name: _counted(db, loaded.round - 1, name, bins, ordered.get(name, ()))
            for name, bins in loaded.bins.items()
            if bins is not None
        }
    finally:
        db.close()


def _counted(db: sqlite3.Connection, round: int, name: str, bins: Bins, ordered: Sequence[float]) -> Bins:
    """``round``'s values of a signal in the same parts, scaled to the same size. ``ordered``: the values, if known."""
    same = bins.low, bins.high, len(bins.counts)
    found = Bins.of(ordered, *same) if len(ordered) else counted_bins(db, round, name, *same)
    total = sum(found.counts)
    return found.scaled(sum(bins.counts) / total if total else 0.0)


def counted_bins(db: sqlite3.Connection, round: int, name: str, low: float, high: float, parts: int) -> Bins:
    """``round``'s values of a signal in equal parts of [``low``, ``high``], those outside in the first and last; one
    pass over an index.
    """
    counts = [0.0] * parts
    scale = parts / (high - low) if high > low else 0.0
    found = db.execute(
        f"SELECT max(0, min(?, CAST(({name} - ?) * ? AS INTEGER))) AS part, count(*) FROM signal"  # noqa: S608 - own names
        f" WHERE round=? AND {name} IS NOT NULL GROUP BY part",
        (parts - 1, low, scale, round),
    )
    for part, count in found:
        counts[part] = float(count)
    return Bins(low, high, tuple(counts))


def margins(project: Path, near: Iterable[MarginSample]) -> tuple[Margin, ...]:
    """The samples with their prompts, in one row each.

    Raises:
        StoreError: the store cannot be read.
    """
    db = reader(project)
    try:
        out = []
        for one in near:
            sample = read.sample(db, one.id)
            text = "" if sample is None else guard.one_line(sample.prompt.strip(), TEXT_LIMIT)
            out.append(Margin(one.id, one.signal, one.value, text))
        return tuple(out)
    finally:
        db.close()


def state_and_config(project: Path, round: int) -> tuple[RoundState, Config]:
    """Where ``round`` stands, and config.toml as it is now.

    Raises:
        StoreError, ConfigError: what cannot be read.
    """
    return standing(project, round), configs.load(project)


def configured(config: Config) -> dict[Axis, float]:
    """The m of every axis."""
    select = config.select
    return {"complexity": select.m_complexity, "diversity": select.m_diversity, "quality": select.m_quality}


def rule_of(config: Config) -> Rule:
    """The rule whose thresholds are shown: by evidence there are none, and sigma's are shown for comparison."""
    return "mixture" if config.select.rule == "mixture" else "sigma"


def same_but_cuts(a: Config, b: Config) -> bool:
    """Whether two configs differ in nothing but m and the rule."""
    select = replace(b.select, threshold=a.select.threshold, **{f"m_{axis}": m for axis, m in configured(a).items()})
    return a == replace(b, select=select)
