"""What the select stage would select at other thresholds, told at once: the numbers behind the Thresholds screen.

``Preview.load`` reads a round in one pass; after that a keypress costs a search in sorted values and a few passes over
bit masks, not another look at the data. Everything is exactly what ``engine.stages.select`` would do with the same
settings (one rewrite per replaced sample, memory, floors, cap), because both use ``engine.selection``.

Imports numpy: load it in a thread of the screen that needs it. An object is used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import config as configs
from engine import projection, selection, signals
from engine.columns import Round, read_round
from engine.nearest import Bools, Floats
from engine.projection import Owed, Projection
from engine.selection import Chosen, Picks, Rule, Signal
from engine.store.rows import AXES, Axis, Threshold

Places = NDArray[np.int32]
Bits = NDArray[np.uint64]
PAIRS: tuple[tuple[Axis, Axis], ...] = (
    ("complexity", "diversity"),
    ("complexity", "quality"),
    ("diversity", "quality"),
)
WALK = 4096  # samples looked at at once for the nearest to a cut


@dataclass(frozen=True, slots=True)
class Count:
    """What a round would select and rewrite.

    ``beyond``: samples beyond the axis' limits. ``selected``: those of them that memory and cap leave, as the stage
    would store them. ``both``: selected on two axes. ``rewrites``: owed per axis (a replaced sample once). ``again``:
    beyond, but not tried again (over all axes). ``capped``: rewrites left out by ``select.max_share``.
    """

    size: int
    beyond: Mapping[Axis, int]
    selected: Mapping[Axis, int]
    both: Mapping[tuple[Axis, Axis], int]
    all_three: int
    rewrites: Mapping[Axis, int]
    again: int
    capped: int
    teacher: Projection


@dataclass(frozen=True, slots=True)
class Near:
    """A sample next to the cut: ``signal`` is the one that decides (of complexity's two the one nearer to its cut),
    ``distance`` how many sigmas it lies beyond (negative or 0: kept).
    """

    id: int
    signal: str
    value: float
    distance: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts[i]`` values lie in [edges[i], edges[i + 1]); the outermost bins hold what lies further out as well."""

    counts: tuple[int, ...]
    edges: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Mixed:
    """What the mixture rule says about an axis: its cut on ``signal`` and the sigma rule's m that gives the same cut;
    both None without two groups. ``verdict`` says why in either case.
    """

    signal: str
    cut: float | None
    m: float | None
    verdict: str


class Column:
    """One signal of all samples, sorted once. ``place[i]`` is sample i's place among the known values, or a place that
    is never beyond when it has none.
    """

    def __init__(self, signal: Signal, values: Floats) -> None:
        self.signal = signal
        known = np.flatnonzero(np.isfinite(values))
        order = known[np.argsort(values[known], kind="stable")]
        self.order: Places = order.astype(np.int32)
        self.sorted: Floats = np.ascontiguousarray(values[order], dtype=np.float64)
        self.place: Places = np.full(len(values), -1 if signal.side == "above" else np.iinfo(np.int32).max, np.int32)
        self.place[order] = np.arange(len(order), dtype=np.int32)

    def values(self) -> Floats:
        """The values in dataset order, NaN where there is none."""
        out = np.full(len(self.place), np.nan)
        out[self.order] = self.sorted
        return out

    def known(self, samples: Places) -> Bools:
        """Which of ``samples`` have a value."""
        place = self.place[samples]
        return (place >= 0) & (place < len(self.sorted))

    def first(self, limit: float) -> int:
        """The place where being beyond ``limit`` begins (above) or ends (below)."""
        return int(np.searchsorted(self.sorted, limit, side="right" if self.signal.side == "above" else "left"))

    def beyond(self, limit: float) -> Bools:
        """Which samples lie strictly beyond ``limit``."""
        first = self.first(limit)
        return self.place >= first if self.signal.side == "above" else self.place < first


class Preview:
    """One round, ready to be asked. ``config`` gives memory, floors, cap, order and prices; ``m`` and the rule come
    with each question. ``missing``: signals that no sample has; their axis selects nothing.
    """

    def __init__(self, data: Round, config: configs.Config) -> None:
        self.config = config
        self.round = data.round
        self.size = len(data.ids)
        self._data = data
        self._columns = {s.name: Column(s, data.values[s.name]) for s in selection.SIGNALS}
        self._plain: dict[str, Threshold] = {}
        for s in selection.SIGNALS:
            found = selection.sigma_cut(s, data.values[s.name], 0.0, data.earlier, data.round)
            if found is not None:
                self._plain[s.name] = found
        self.missing = tuple(s.name for s in selection.SIGNALS if s.name not in self._plain)
        self._mixed: dict[str, Threshold] = {}
        self._histograms: dict[tuple[str, int, float], Histogram] = {}
        self._picked: dict[Axis, _Picked] = {}
        self._ranks: dict[Rule, selection.Ranks] = {}

    @classmethod
    def load(cls, project: Path, round: int) -> Preview:
        """Read ``round`` of a project with its present config.toml.

        Raises:
            StoreError: there is no project, or its database cannot be read.
            ConfigError: config.toml or a rewrite prompt cannot be used.
        """
        config = configs.load(project)
        return cls(read_round(project, round, config), config)

    @property
    def configured(self) -> dict[Axis, float]:
        """The m of every axis as config.toml has it."""
        select = self.config.select
        return {"complexity": select.m_complexity, "diversity": select.m_diversity, "quality": select.m_quality}

    def thresholds(self, m: Mapping[Axis, float], rule: Rule = "sigma") -> dict[str, Threshold]:
        """The threshold of every signal, as the stage would store it. Under the mixture rule ``m`` does not count, and
        the first call may take a second.
        """
        out = {}
        for s in selection.SIGNALS:
            if s.name in self._plain:
                out[s.name] = self._mixture(s) if rule == "mixture" else self._sigma(s, m[s.axis])
        return out

    def cut(self, axis: Axis, m: float, rule: Rule = "sigma") -> tuple[Threshold, ...]:
        """The thresholds of one axis (complexity has two, the others one; none when its signal is missing).
        ``engine.selection.limit`` of one is the stricter of its cut and floor.
        """
        found = self.thresholds(dict.fromkeys(AXES, m), rule)
        return tuple(t for t in found.values() if t.axis == axis)

    def counts(self, m: Mapping[Axis, float], rule: Rule = "sigma") -> Count:
        """What the stage would select with these m (all three axes), and what rewriting that would take."""
        picked = self._picks(m, rule)
        chosen = self._capped(picked, rule)
        held = picked if chosen is None else {axis: _Picked((), chosen.selected[axis]) for axis in AXES}
        both = {pair: held[pair[0]].bits & held[pair[1]].bits for pair in PAIRS}
        owed = self._owed(picked) if chosen is None else {a: self._data.lengths.owed(chosen.owed[a]) for a in AXES}
        return Count(
            size=self.size,
            beyond={axis: picked[axis].beyond for axis in AXES},
            selected={axis: held[axis].count for axis in AXES},
            both={pair: _count(bits) for pair, bits in both.items()},
            all_three=_count(both["complexity", "diversity"] & held["quality"].bits),
            rewrites={axis: owed[axis].rewrites for axis in AXES},
            again=sum(one.beyond - one.count for one in picked.values()),
            capped=0 if chosen is None else chosen.capped,
            teacher=projection.project(owed, self._data.usage, self._data.lengths, self.config),
        )

    def chosen(self, m: Mapping[Axis, float], rule: Rule = "sigma") -> Chosen:
        """The selection itself, as masks over the dataset."""
        picks: Picks = {axis: one.mask for axis, one in self._picks(m, rule).items()}
        most = selection.most(self.config.select, self.size)
        return selection.choose(picks, lambda: self._ranked(rule), self.config.merge.order, most)

    def _capped(self, picked: Mapping[Axis, _Picked], rule: Rule) -> Chosen | None:
        """The choice where the cap holds; None where all that was picked is selected."""
        twice = _count(picked["complexity"].bits & picked["quality"].bits)
        most = selection.most(self.config.select, self.size)
        if sum(one.count for one in picked.values()) - twice <= most:
            return None
        masks: Picks = {axis: one.mask for axis, one in picked.items()}
        return selection.choose(masks, lambda: self._ranked(rule), self.config.merge.order, most)

    def _owed(self, picked: Mapping[Axis, _Picked]) -> dict[Axis, Owed]:
        """The rewrites without a cap, with the lengths of their samples; what did not move is not summed again."""
        early, late = selection.replacing(self.config.merge.order)
        out: dict[Axis, Owed] = {}
        for axis in AXES:
            one, before = picked[axis], picked[early] if axis == late else None
            if one.owed is None or one.before is not before:
                mask = one.mask if before is None else one.mask & ~before.mask
                one.owed, one.before = self._data.lengths.owed(mask), before
            out[axis] = one.owed
        return out

    def margin(self, axis: Axis, m: float, n: int, rule: Rule = "sigma") -> tuple[list[Near], list[Near]]:
        """Up to ``n`` samples just selected and up to ``n`` just kept on ``axis``, nearest to the cut first. Samples
        that are not tried again are in neither; the cap is not looked at. Both are empty where there is no cut.
        """
        marks = [t for t in self.cut(axis, m, rule) if rule == "sigma" or t.signal != selection.UNUSED]
        there = all(s.name in self._plain for s in selection.OF_AXIS[axis])
        if not there or not all(np.isfinite(selection.limit(mark)) for mark in marks):
            return [], []
        beyond = [near for mark in marks for near in self._beside(mark, marks, n, beyond=True)]
        kept = [near for mark in marks for near in self._beside(mark, marks, n, beyond=False)]
        beyond.sort(key=lambda near: near.distance)
        kept.sort(key=lambda near: -near.distance)
        return beyond[:n], kept[:n]

    def _beside(self, mark: Threshold, marks: Sequence[Threshold], n: int, beyond: bool) -> list[Near]:
        """Up to ``n`` samples that ``mark`` decides about, walking away from its cut."""
        column = self._columns[mark.signal]
        first = column.first(selection.limit(mark))
        upwards = beyond == (column.signal.side == "above")
        places = range(first, len(column.order)) if upwards else range(first - 1, -1, -1)
        tried = self._data.tried.get(column.signal.axis)
        out: list[Near] = []
        for start in range(0, len(places), WALK):
            part = places[start : start + WALK]
            samples = column.order[np.arange(part.start, part.stop, part.step)]
            away = self._distance(mark, samples)
            mine = np.ones(len(samples), dtype=np.bool_) if tried is None else ~tried[samples]
            for unused in (s for s in selection.OF_AXIS[column.signal.axis] if len(marks) == 1):
                mine &= self._columns[unused.name].known(samples)
            for other in marks:
                if other is not mark:
                    theirs = self._distance(other, samples)
                    mine &= (away < theirs) | ((away == theirs) & (mark is marks[0]))
            for i in np.flatnonzero(mine)[: n - len(out)]:
                value = float(column.sorted[column.place[samples[i]]])
                out.append(Near(int(self._data.ids[samples[i]]), mark.signal, value, float(away[i])))
            if len(out) == n:
                break
        return out

    def _distance(self, mark: Threshold, samples: Places) -> Floats:
        """How many sigmas ``samples`` lie beyond a limit; NaN (never the nearest) where there is no value."""
        column = self._columns[mark.signal]
        place = column.place[samples]
        known = column.known(samples)
        value = np.where(known, column.sorted[np.where(known, place, 0)], np.nan)
        sign = 1.0 if column.signal.side == "above" else -1.0
        return np.asarray(sign * (value - selection.limit(mark)) / (mark.sigma or 1.0))

    def _ranked(self, rule: Rule) -> selection.Ranks:
        """Who is worst, which does not depend on m."""
        if rule not in self._ranks:
            values = {name: column.values() for name, column in self._columns.items()}
            marks = self.thresholds(dict.fromkeys(AXES, 0.0), rule)
            self._ranks[rule] = selection.ranked(selection.badness(values, marks))
        return self._ranks[rule]

    def histogram(self, signal: str, bins: int, trim: float = 0.001) -> Histogram:
        """The distribution of a signal over ``bins`` equal bins between its ``trim`` and 1 - ``trim`` quantiles."""
        key = (signal, bins, trim)
        if key not in self._histograms:
            self._histograms[key] = _histogram(self._columns[signal].sorted, bins, trim)
        return self._histograms[key]

    def for_mixture(self, axis: Axis) -> Mixed:
        """Where the mixture rule would cut an axis. The first call may take a second."""
        name = selection.shown(axis, "mixture")
        if name not in self._plain:
            return Mixed(name, None, None, "no sample has this signal")
        found = self._mixture(selection.BY_NAME[name])
        said = selection.verdict(found)
        return Mixed(name, found.cut, found.m, said) if np.isfinite(found.cut) else Mixed(name, None, None, said)

    def _picks(self, m: Mapping[Axis, float], rule: Rule) -> dict[Axis, _Picked]:
        """What lies beyond the limits, per axis; an axis whose limits did not move is not looked at again."""
        marks = self.thresholds(m, rule)
        for axis in AXES:
            limits = tuple(selection.limit(marks[s.name]) if s.name in marks else None for s in selection.OF_AXIS[axis])
            if axis not in self._picked or self._picked[axis].limits != limits:
                self._picked[axis] = self._pick(axis, limits)
        return dict(self._picked)

    def _pick(self, axis: Axis, limits: tuple[float | None, ...]) -> _Picked:
        mask = np.full(self.size, None not in limits)
        for s, limit in zip(selection.OF_AXIS[axis], limits, strict=True):
            if limit is not None:
                mask &= self._columns[s.name].beyond(limit)
        if axis in self._data.tried:
            return _Picked(limits, mask & ~self._data.tried[axis], int(np.count_nonzero(mask)))
        return _Picked(limits, mask)

    def _sigma(self, s: Signal, m: float) -> Threshold:
        plain = self._plain[s.name]
        cut = signals.relative(plain.mean, plain.sigma, m, s.side)
        return Threshold(self.round, s.name, s.axis, plain.mean, plain.sigma, m, cut, plain.floor)

    def _mixture(self, s: Signal) -> Threshold:
        if s.name not in self._mixed:
            column = self._columns[s.name]
            self._mixed[s.name] = selection.mixture_cut(s, column.sorted, self._plain[s.name], self._data.earlier)
        return self._mixed[s.name]


class _Picked:
    """The samples of one axis that are beyond ``limits`` and may be tried, as a mask and as bits; ``count`` of them,
    ``beyond`` with those that may not be tried. ``owed``: the rewrites left when ``before`` has taken its own.
    """

    def __init__(self, limits: tuple[float | None, ...], mask: Bools, beyond: int | None = None) -> None:
        self.limits = limits
        self.mask = mask
        packed = np.packbits(mask)
        self.bits: Bits = np.zeros(-(-len(packed) // 8), dtype=np.uint64)
        self.bits.view(np.uint8)[: len(packed)] = packed
        self.count = _count(self.bits)
        self.beyond = self.count if beyond is None else beyond
        self.owed: Owed | None = None
        self.before: _Picked | None = None


def _count(bits: Bits) -> int:
    """How many bits are set."""
    return int(np.bitwise_count(bits).sum())


def _histogram(known: Floats, bins: int, trim: float) -> Histogram:
    """From sorted values, by searching the edges."""
    if not len(known):
        return Histogram((0,) * bins, tuple(np.linspace(0.0, 1.0, bins + 1).tolist()))
    low, high = known[int(trim * (len(known) - 1))], known[int((1 - trim) * (len(known) - 1))]
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    inner = np.searchsorted(known, edges[1:-1], side="left")
    counts = np.diff(np.concatenate([[0], inner, [len(known)]]))
    return Histogram(tuple(counts.tolist()), tuple(edges.tolist()))
