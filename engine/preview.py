"""What the select stage would select at other thresholds, told at once: the numbers behind the Thresholds screen.

``Preview.load`` reads a round in one pass; after that a keypress costs a search in sorted values and a few passes over
bit masks, not another look at the data. Everything is exactly what ``engine.stages.select`` would do with the same
settings (one rewrite per replaced sample, memory, floors, cap), because both use ``engine.selection``.

Imports numpy: load it in a thread of the screen that needs it. An object is used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import config as configs
from engine import projection, selection, signals
from engine.columns import Round, read_round
from engine.projection import Owed, Projection
from engine.selection import Chosen, Picks, Rule, Signal
from engine.signals import Bools, Floats
from engine.store.rows import AXES, Axis, Threshold

Places = NDArray[np.int32]


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
        self._owed: dict[Axis, tuple[Bools, Owed]] = {}

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
        chosen = self.chosen(m, rule)
        pairs = [(a, b) for i, a in enumerate(AXES) for b in AXES[i + 1 :]]
        both = {(a, b): chosen.selected[a] & chosen.selected[b] for a, b in pairs}
        owed = {axis: self._taken(axis, chosen.owed[axis]) for axis in AXES}
        return Count(
            size=self.size,
            beyond={axis: picked[axis].beyond for axis in AXES},
            selected={axis: int(np.count_nonzero(chosen.selected[axis])) for axis in AXES},
            both={pair: int(np.count_nonzero(mask)) for pair, mask in both.items()},
            all_three=int(np.count_nonzero(both["complexity", "diversity"] & chosen.selected["quality"])),
            rewrites={axis: owed[axis].count for axis in AXES},
            again=sum(one.beyond - one.fresh for one in picked.values()),
            capped=chosen.capped,
            teacher=projection.project(owed, self._data.usage, self._data.lengths, self.config),
        )

    def chosen(self, m: Mapping[Axis, float], rule: Rule = "sigma") -> Chosen:
        """The selection itself, as masks over the dataset."""
        picks: Picks = {axis: one.mask for axis, one in self._picks(m, rule).items()}
        most = selection.most(self.config.select, self.size)
        order = self.config.merge.order
        if sum(int(np.count_nonzero(mask)) for mask in picks.values()) <= most:
            return selection.choose(picks, {}, order, most)
        values = {name: column.values() for name, column in self._columns.items()}
        return selection.choose(picks, selection.badness(values, self.thresholds(m, rule)), order, most)

    def margin(self, axis: Axis, m: float, n: int, rule: Rule = "sigma") -> tuple[list[Near], list[Near]]:
        """Up to ``n`` samples just selected and up to ``n`` just kept on ``axis``, nearest to the cut first. Samples
        that are not tried again are in neither; the cap is not looked at.
        """
        marks = [t for t in self.cut(axis, m, rule) if rule == "sigma" or t.signal != selection.UNUSED]
        if len(marks) < len(selection.OF_AXIS[axis]) and rule == "sigma":
            return [], []
        distance = np.full(self.size, np.inf)
        nearest = np.zeros(self.size, dtype=np.int8)
        for i, mark in enumerate(marks):
            side = 1.0 if selection.BY_NAME[mark.signal].side == "above" else -1.0
            own = side * (self._columns[mark.signal].values() - selection.limit(mark)) / (mark.sigma or 1.0)
            nearest[own < distance] = i
            distance = np.minimum(distance, own)
        open_ = np.isfinite(distance)
        if axis in self._data.tried:
            open_ &= ~self._data.tried[axis]
        beyond, kept = np.flatnonzero(open_ & (distance > 0)), np.flatnonzero(open_ & (distance <= 0))

        def near(places: NDArray[np.int64], sign: float) -> list[Near]:
            first = places[np.argsort(sign * distance[places], kind="stable")[:n]]
            out = []
            for i in first:
                name = marks[nearest[i]].signal
                value = self._columns[name].values()[i]
                out.append(Near(int(self._data.ids[i]), name, float(value), float(distance[i])))
            return out

        return near(beyond, 1.0), near(kept, -1.0)

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
        fresh = mask & ~self._data.tried[axis] if axis in self._data.tried else mask
        return _Picked(limits, fresh, int(np.count_nonzero(mask)), int(np.count_nonzero(fresh)))

    def _taken(self, axis: Axis, mask: Bools) -> Owed:
        """The rewrites of ``mask`` with their samples' lengths, kept for as long as the mask does not change."""
        before = self._owed.get(axis)
        if before is None or not np.array_equal(before[0], mask):
            self._owed[axis] = (mask, self._data.lengths.owed(mask))
        return self._owed[axis][1]

    def _sigma(self, s: Signal, m: float) -> Threshold:
        plain = self._plain[s.name]
        cut = signals.relative(plain.mean, plain.sigma, m, s.side)
        return Threshold(self.round, s.name, s.axis, plain.mean, plain.sigma, m, cut, plain.floor)

    def _mixture(self, s: Signal) -> Threshold:
        if s.name not in self._mixed:
            column = self._columns[s.name]
            self._mixed[s.name] = selection.mixture_cut(s, column.sorted, self._plain[s.name], self._data.earlier)
        return self._mixed[s.name]


@dataclass(frozen=True, slots=True)
class _Picked:
    """The samples of one axis that are beyond ``limits`` and may be tried, and how many there are with and without
    those that may not.
    """

    limits: tuple[float | None, ...]
    mask: Bools
    beyond: int
    fresh: int


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
