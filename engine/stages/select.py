"""Which samples are rewritten this round, and why.

Per axis a sample is selected when it lies beyond the relative cut (``engine.signals``). On top of that, unless
``select.parity`` is "reference":

- floor: a later round selects only what is also beyond round 0's cut, because a relative cut keeps selecting after the
  data is clean;
- memory: what was rewritten before without getting better is not selected again on a replacing axis, and a core prompt
  inspires one new sample at most once;
- cap: at most ``select.max_share`` of the dataset is rewritten in a round, the worst first (in sigmas beyond the mean).

A sample selected for both complexity and quality is rewritten once, for the first of ``merge.order``. ``m`` stays
configurable with parity "reference"; the reference scripts use 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine import config as configs
from engine import signals
from engine.signals import Bools, Cut, Floats, Side
from engine.stage import Ctx
from engine.store.rows import (
    AXES,
    RATING_COLUMNS,
    Axis,
    Losses,
    Neighbourhood,
    Ratings,
    Rewrite,
    Row,
    Sample,
    Selection,
    Threshold,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Signal:
    """One thresholded signal: its axis, the side that is suboptimal, and its sigma's ddof."""

    name: str
    axis: Axis
    side: Side
    ddof: int = 0


SIGNALS = (
    Signal("loss_before", "complexity", "above"),
    Signal("loss_after", "complexity", "above"),
    Signal("similarity", "diversity", "below"),
    Signal("quality", "quality", "below", ddof=1),
)
SHOWN: dict[Axis, str] = {"complexity": "loss_after", "diversity": "similarity", "quality": "quality"}
"""The signal whose value and threshold a selection shows: for complexity the last one to be passed."""

Values = Mapping[str, Floats]
Picks = dict[Axis, Bools]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The outcome: samples (by position) selected per axis, and the rewrites owed, each (axis, position)."""

    selected: Picks
    rewrites: list[tuple[Axis, int]]
    capped: int


def run(ctx: Ctx) -> None:
    """Write this round's thresholds, selections and owed rewrites in one transaction."""
    ctx.begin(1)
    data = ctx.dataset()
    values = gather(data, ctx.rows(Losses), ctx.rows(Neighbourhood), ctx.rows(Ratings))
    settings = ctx.config.select
    ours = settings.parity == "ours"
    thresholds = cuts(values, settings, _floors(ctx) if ours else {}, ctx.round)
    picks = beyond_all(values, thresholds)
    tried = remembered(ctx, data) if ours and settings.remember else {}
    fresh = {axis: picks[axis] & ~tried[axis] if axis in tried else picks[axis] for axis in AXES}
    most = int(settings.max_share * len(data)) if ours else len(data)
    chosen = choose(fresh, badness(values, thresholds), ctx.config.merge.order, most)
    ctx.save(_rows(ctx.round, data, values, thresholds, chosen), done=1)
    skipped = sum(int((picks[axis] & ~fresh[axis]).sum()) for axis in AXES)
    ctx.event(describe(chosen, len(data), skipped))
    for name in (s.name for s in SIGNALS if s.name not in thresholds):
        ctx.event(f"no sample has {name}: its axis selected nothing", "warning")


# --------------------------------------------------------------------------------------------- pure decisions


def gather(
    data: Sequence[Sample], losses: Sequence[Losses], near: Sequence[Neighbourhood], ratings: Sequence[Ratings]
) -> dict[str, Floats]:
    """The four signals as arrays in dataset order; NaN where a sample has none."""
    scored = {row.sample_id: row for row in losses}
    placed = {row.sample_id: row for row in near}
    judged = {row.sample_id: row for row in ratings}
    six = np.array([_six(judged.get(s.id)) for s in data], dtype=np.float64).reshape(len(data), 6)
    return {
        "loss_before": _column(data, lambda id: scored[id].loss_before if id in scored else None),
        "loss_after": _column(data, lambda id: scored[id].loss_after if id in scored else None),
        "similarity": _column(data, lambda id: placed[id].similarity if id in placed else None),
        "quality": signals.mean_rating(six),
    }


def _column(data: Sequence[Sample], value: Callable[[int], float | None]) -> Floats:
    found = (value(s.id) for s in data)
    return np.array([np.nan if v is None else v for v in found], dtype=np.float64)


def _six(row: Ratings | None) -> list[float]:
    values = [getattr(row, column) if row else None for column in RATING_COLUMNS]
    return [float("nan") if v is None else float(v) for v in values]


def cuts(values: Values, settings: configs.Select, floors: Mapping[str, float], round: int) -> dict[str, Threshold]:
    """The threshold of every signal that has values enough for one."""
    m = {"complexity": settings.m_complexity, "diversity": settings.m_diversity, "quality": settings.m_quality}
    out = {}
    for s in SIGNALS:
        found: Cut = signals.cut(values[s.name], m[s.axis], s.side, s.ddof)
        if np.isfinite(found.cut):
            floor = floors.get(s.name)
            out[s.name] = Threshold(round, s.name, s.axis, found.mean, found.sigma, found.m, found.cut, floor)
    return out


def limit(threshold: Threshold) -> float:
    """What a sample must be strictly beyond: the stricter of cut and floor."""
    side = next(s.side for s in SIGNALS if s.name == threshold.signal)
    return signals.held(threshold.cut, threshold.floor, side)


def beyond_all(values: Values, thresholds: Mapping[str, Threshold]) -> Picks:
    """Per axis, which samples are beyond the thresholds of all of its signals."""
    size = len(values["quality"])
    out: Picks = {axis: np.ones(size, dtype=np.bool_) for axis in AXES}
    for s in SIGNALS:
        there = thresholds.get(s.name)
        out[s.axis] &= signals.beyond(values[s.name], limit(there) if there else float("nan"), s.side)
    return out


def badness(values: Values, thresholds: Mapping[str, Threshold]) -> dict[Axis, Floats]:
    """How many sigmas a sample lies on the bad side of the mean, per axis; for complexity the milder of its two."""
    out: dict[Axis, Floats] = {}
    for s in SIGNALS:
        there = thresholds.get(s.name)
        if there is None:
            distance: Floats = np.zeros(len(values[s.name]))
        else:
            sign = 1.0 if s.side == "above" else -1.0
            distance = sign * (values[s.name] - there.mean) / (there.sigma or 1.0)
        out[s.axis] = np.minimum(out[s.axis], distance) if s.axis in out else distance
    return out


def choose(picks: Picks, bad: Mapping[Axis, Floats], order: Sequence[str], most: int) -> Chosen:
    """The rewrites owed: one per replaced sample, at most ``most``, the worst first; and the selections they stand for.

    Equal badness is decided by dataset order. The rewrites come back by axis, then in dataset order.
    """
    first = {name: i for i, name in enumerate(order)}
    replacing = sorted((a for a in AXES if a != "diversity"), key=lambda a: first.get(a, len(first)))
    taken = np.zeros(len(picks["quality"]), dtype=np.bool_)
    owed: list[tuple[Axis, int]] = []
    for axis in replacing:
        owed += [(axis, int(i)) for i in np.flatnonzero(picks[axis] & ~taken)]
        taken |= picks[axis]
    owed += [("diversity", int(i)) for i in np.flatnonzero(picks["diversity"])]
    ranked = sorted(owed, key=lambda pair: (-bad[pair[0]][pair[1]], pair[1], AXES.index(pair[0])))
    kept = sorted(ranked[:most], key=lambda pair: (AXES.index(pair[0]), pair[1]))
    replaced = {i for axis, i in kept if axis != "diversity"}
    added = {i for axis, i in kept if axis == "diversity"}
    selected = {axis: _only(picks[axis], added if axis == "diversity" else replaced) for axis in AXES}
    return Chosen(selected, kept, len(owed) - len(kept))


def _only(mask: Bools, positions: set[int]) -> Bools:
    return mask & np.isin(np.arange(len(mask)), list(positions))


def describe(chosen: Chosen, size: int, skipped: int) -> str:
    """The log line: counts per axis, overlaps, what memory and cap left out."""
    counts = {axis: int(mask.sum()) for axis, mask in chosen.selected.items()}
    parts = [f"{axis} {counts[axis]}" for axis in AXES]
    pairs = [(a, b) for i, a in enumerate(AXES) for b in AXES[i + 1 :]]
    both = {(a, b): int((chosen.selected[a] & chosen.selected[b]).sum()) for a, b in pairs}
    overlaps = [f"{a} and {b} {n}" for (a, b), n in both.items() if n]
    text = f"selected {', '.join(parts)} of {size} samples"
    text += f" (both {'; '.join(overlaps)})" if overlaps else ""
    text += f": {len(chosen.rewrites)} rewrites"
    text += f"; {skipped} not again after an earlier try" if skipped else ""
    return text + (f"; {chosen.capped} left out by select.max_share" if chosen.capped else "")


def blocked(
    data: Sequence[Sample], past: Sequence[Rewrite], improved: Mapping[tuple[int, int, str], bool | None]
) -> tuple[set[int], set[int]]:
    """Sample ids that are not selected again: on the replacing axes, and as a core of diversity.

    A rewrite that was never begun (the budget ran out) is no try. ``improved`` is keyed (round, parent id, axis).
    """
    tries = [r for r in past if r.attempts > 0]
    without = {r.sample_id for r in tries if r.axis != "diversity" and r.state in ("failed", "rejected")}
    for sample in data:
        if sample.parent_id is not None and sample.axis is not None and sample.axis != "diversity":
            key = (sample.born_round - 1, sample.parent_id, sample.axis)
            if not improved.get(key, False):
                without.add(sample.id)
    return without, {r.sample_id for r in tries if r.axis == "diversity"}


# ------------------------------------------------------------------------------------------------- the store


def remembered(ctx: Ctx, data: Sequence[Sample]) -> Picks:
    """Per axis, which samples earlier rounds say should not be tried again."""
    past = [row for r in range(ctx.round) for row in ctx.rows(Rewrite, r)]
    verdicts = (v for r in range(ctx.round) for v in ctx.rows(Verdict, r))
    improved = {(v.round, v.sample_id, v.axis): v.improved for v in verdicts}
    without, used = blocked(data, past, improved)
    replacing = np.array([s.id in without for s in data], dtype=np.bool_)
    return {
        "complexity": replacing,
        "diversity": np.array([s.id in used for s in data], dtype=np.bool_),
        "quality": replacing,
    }


def _floors(ctx: Ctx) -> dict[str, float]:
    """Round 0's cuts by signal, for a later round."""
    if ctx.round == 0 or ctx.config.select.floor == "none":
        return {}
    return {row.signal: row.cut for row in ctx.rows(Threshold, 0)}


def _rows(
    round: int, data: Sequence[Sample], values: Values, thresholds: Mapping[str, Threshold], chosen: Chosen
) -> list[Row]:
    out: list[Row] = list(thresholds.values())
    for axis in AXES:
        name = SHOWN[axis]
        for i in np.flatnonzero(chosen.selected[axis]):
            out.append(Selection(round, data[i].id, axis, float(values[name][i]), limit(thresholds[name])))
    out += [Rewrite(round, data[i].id, axis, "owed") for axis, i in chosen.rewrites]
    return out
