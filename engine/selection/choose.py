"""Which samples a round selects and which rewrites become pending: numpy, for the select stage and for preparing a
preview.

A signal's threshold is one of two rules (``select.threshold``):

- sigma: mean ± m·sigma of the round's own values, as published; it always selects somebody;
- mixture: two groups are looked for (``engine.selection.mixture``); without two groups the cut is infinite and selects
  nobody.

A limit is the stricter of that cut and the floor. Complexity has two signals under the sigma rule; under the mixture
rule only the loss before training counts, the loss after it is kept for its mean and sigma.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.config import schema as configs
from engine.selection import mixture
from engine.selection import thresholds as signals
from engine.selection.earlier_rounds import Earlier as Earlier
from engine.selection.earlier_rounds import Lineage as Lineage
from engine.selection.earlier_rounds import Try as Try
from engine.selection.earlier_rounds import blocked as blocked
from engine.signals.axes import BY_NAME as BY_NAME
from engine.signals.axes import OF_AXIS as OF_AXIS
from engine.signals.axes import SIGNALS as SIGNALS
from engine.signals.axes import UNUSED as UNUSED
from engine.signals.axes import Rule as Rule
from engine.signals.axes import Signal as Signal
from engine.signals.axes import replacing as replacing
from engine.signals.axes import rewrite_cap as rewrite_cap
from engine.signals.axes import shown_signal as shown_signal
from engine.signals.axes import threshold_value as threshold_value
from engine.signals.axes import verdict as verdict
from engine.signals.nearest import Bools, Floats
from engine.store.rows import AXES, Axis, Threshold

Values = Mapping[str, Floats]
Picks = dict[Axis, Bools]
Ranks = Mapping[Axis, NDArray[np.int32]]


# ------------------------------------------------------------------------------------------------ thresholds


def cuts(values: Values, settings: configs.Select, earlier: Earlier, round: int) -> dict[str, Threshold]:
    """The threshold of every signal that has values enough for one."""
    m = {"complexity": settings.m_complexity, "diversity": settings.m_diversity, "quality": settings.m_quality}
    out = {}
    for s in SIGNALS:
        found = sigma_cut(s, values[s.name], m[s.axis], earlier, round)
        if found is not None:
            mixed = settings.threshold == "mixture"
            out[s.name] = mixture_cut(s, values[s.name], found, earlier) if mixed else found
    return out


def sigma_cut(s: Signal, values: Floats, m: float, earlier: Earlier, round: int) -> Threshold | None:
    """Mean ± m·sigma; None when there are too few values to have a sigma."""
    found = signals.cut(values, m, s.side, s.ddof)
    if not np.isfinite(found.cut):
        return None
    floor = earlier.floors.get(s.name)
    return Threshold(round, s.name, s.axis, found.mean, found.sigma, found.m, found.cut, floor)


def mixture_cut(s: Signal, values: Floats, plain: Threshold, earlier: Earlier) -> Threshold:
    """``plain`` (of the same values) with the mixture rule's cut; its ``m`` is the cut's distance from the mean."""
    sign = 1.0 if s.side == "above" else -1.0
    floor = plain.floor if s.axis != "complexity" else None
    detail: dict[str, object]
    if s.name == UNUSED:
        cut, detail = -sign * np.inf, {"verdict": "not part of the mixture rule"}
    elif s.axis == "complexity" and earlier.frozen is not None:
        cut, detail = earlier.frozen.cut, json.loads(earlier.frozen.detail or "{}")
        detail["frozen"] = earlier.frozen.round
    else:
        found = mixture.split(values, s.side, log=s.log)
        cut, detail = found.cut if found.cut is not None else sign * np.inf, found.detail()
    m = sign * (cut - plain.mean) / (plain.sigma or 1.0)
    row = (plain.round, plain.signal, plain.axis, plain.mean, plain.sigma, float(m), float(cut), floor)
    return Threshold(*row, rule="mixture", detail=json.dumps(detail))


# ------------------------------------------------------------------------------------------------- selections


@dataclass(frozen=True, slots=True)
class SelectionMasks:
    """The outcome, as masks over the dataset: samples selected per axis, pending rewrites per axis, and how many
    rewrites the cap left out.
    """

    selected: Picks
    pending: Picks
    capped: int

    def rewrites(self) -> list[tuple[Axis, int]]:
        """The pending rewrites, each (axis, place in the dataset), by axis and then in dataset order."""
        return [(axis, int(i)) for axis in AXES for i in np.flatnonzero(self.pending[axis])]


def beyond_all(values: Values, thresholds: Mapping[str, Threshold]) -> Picks:
    """Per axis, which samples are beyond the thresholds of all of its signals."""
    size = len(values["quality"])
    out: Picks = {axis: np.ones(size, dtype=np.bool_) for axis in AXES}
    for s in SIGNALS:
        there = thresholds.get(s.name)
        out[s.axis] &= signals.beyond(values[s.name], threshold_value(there) if there else float("nan"), s.side)
    return out


def badness(values: Values, thresholds: Mapping[str, Threshold]) -> dict[Axis, Floats]:
    """How many sigmas a sample lies on the bad side of the mean, per axis; for complexity the milder of its two (under
    the mixture rule: the one that counts).
    """
    out: dict[Axis, Floats] = {}
    for s in SIGNALS:
        there = thresholds.get(s.name)
        if there is None:
            distance: Floats = np.zeros(len(values[s.name]))
        elif there.rule == "mixture" and s.name == UNUSED:
            continue
        else:
            sign = 1.0 if s.side == "above" else -1.0
            distance = sign * (values[s.name] - there.mean) / (there.sigma or 1.0)
        out[s.axis] = np.minimum(out[s.axis], distance) if s.axis in out else distance
    return out


def choose(picks: Picks, ranks: Callable[[], Ranks], order: Sequence[str], most: int) -> SelectionMasks:
    """The pending rewrites: one per replaced sample, at most ``most``, the worst first; and the selections they stand
    for.

    ``ranks`` (see ``ranked``) is only asked when there are too many.
    """
    pending = one_axis_each(picks, order)
    total = sum(int(np.count_nonzero(mask)) for mask in pending.values())
    if total > most:
        pending = _worst(pending, ranks(), most)
    replaced = pending["complexity"] | pending["quality"]
    selected: Picks = {a: picks[a] & (pending[a] if a == "diversity" else replaced) for a in AXES}
    return SelectionMasks(selected, pending, max(0, total - most))


def one_axis_each(picks: Picks, order: Sequence[str]) -> Picks:
    """The rewrites before any cap: a replaced sample is rewritten for the first of ``order`` that selected it."""
    early, late = replacing(order)
    return {**picks, late: picks[late] & ~picks[early]}


def ranked(bad: Mapping[Axis, Floats]) -> Ranks:
    """The place of every sample on every axis, the worst of all first. Equal badness is decided by dataset order, then
    by axis.
    """
    every = np.stack([bad[axis] for axis in AXES], axis=1)
    places = np.empty(every.size, dtype=np.int32)
    places[np.argsort(-every, axis=None, kind="stable")] = np.arange(every.size, dtype=np.int32)
    by_axis = places.reshape(every.shape)
    return {axis: np.ascontiguousarray(by_axis[:, i]) for i, axis in enumerate(AXES)}


def _worst(pending: Picks, ranks: Ranks, most: int) -> Picks:
    """The ``most`` worst of all pending rewrites."""
    if not most:
        return {axis: np.zeros_like(pending[axis]) for axis in AXES}
    every = np.concatenate([ranks[axis][pending[axis]] for axis in AXES])
    last = np.partition(every, most - 1)[most - 1]
    return {axis: pending[axis] & (ranks[axis] <= last) for axis in AXES}


# --------------------------------------------------------------------------------------------------- memory


def tried(ids: Sequence[int], data: Iterable[Lineage], past: Sequence[Try]) -> Picks:
    """``blocked`` as masks over the dataset's ``ids``."""
    without, used = blocked(data, past)
    replacing = np.fromiter((id in without for id in ids), np.bool_, len(ids))
    inspired = np.fromiter((id in used for id in ids), np.bool_, len(ids))
    return {"complexity": replacing, "diversity": inspired, "quality": replacing}
