"""What the select stage would select at other thresholds, told at once: the numbers behind the Thresholds screen.

A round's signals are laid out in a file that is mapped: the one that the select stage kept (``saved_signals`` beside
this), or else one without a name that ``build`` makes in a process of its own. From then on a key press costs a search
in sorted values and some hundred operations on bitmaps, not another look at the data. Everything is exactly what
``engine.stages.select`` would do with the same settings (one rewrite per replaced sample, memory, floors, cap): means,
sigmas, mixtures and ranks are the stage's own.

No numpy here. An object is used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isfinite
from pathlib import Path

from msgspec.structs import replace
from pyroaring import BitMap

from engine.config import schema as configs
from engine.files.mapped_file import Sections
from engine.selection.preview import build_process, saved_signals
from engine.selection.preview.bitplanes import Numbers, smallest
from engine.selection.preview.build_process import Given
from engine.selection.preview.facts import PreviewFacts, of_round
from engine.selection.preview.sorted_signal import BinCounts, SortedSignal, histogram, members, numbers, places
from engine.signals import axes
from engine.signals.axes import Rule
from engine.store import flagging
from engine.store.connect import reader
from engine.store.rows import AXES, Axis, Threshold
from engine.teacher import forecast
from engine.teacher.forecast import PendingRewrites, Projection, RequestTokens

PAIRS: tuple[tuple[Axis, Axis], ...] = (
    ("complexity", "diversity"),
    ("complexity", "quality"),
    ("diversity", "quality"),
)
Seek = Callable[[Sections, Given], Sections]
"""From a prepared round to what the mixture rule says of it."""


@dataclass(frozen=True, slots=True)
class Count:
    """What a round would select and rewrite.

    ``beyond``: samples beyond the axis' limits, without those that a rewrite would lose something of. ``selected``:
    those of them that memory and cap leave, as the stage would store them. ``both``: selected on two axes.
    ``rewrites``: pending per axis (a replaced sample once). ``again``: beyond, but not tried again (over all axes).
    ``capped``: rewrites left out by ``select.max_share``.
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
class MarginSample:
    """A sample next to the cut: ``signal`` is the one that decides (of complexity's two the one nearer to its cut),
    ``distance`` how many sigmas it lies beyond (negative or 0: kept).
    """

    id: int
    signal: str
    value: float
    distance: float


@dataclass(frozen=True, slots=True)
class Mixed:
    """What the mixture rule says about an axis: its cut on ``signal`` and the sigma rule's m that gives the same cut;
    both None without two groups. ``verdict`` says why in either case.
    """

    signal: str
    cut: float | None
    m: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The selection itself, as sets of samples: what is selected, what is pending, how many the cap left out."""

    selected: Mapping[Axis, BitMap]
    pending: Mapping[Axis, BitMap]
    capped: int


class Preview:
    """One round, ready to be asked. ``config`` gives memory, floors, cap, order and prices; ``m`` and the rule come
    with each question. ``missing``: signals that no sample has; their axis selects nothing.
    """

    def __init__(self, laid: Sections, facts: PreviewFacts, seek: Seek) -> None:
        head = laid.head
        self.config = facts.config
        self.round: int = head["round"]
        self.size: int = head["size"]
        self._laid, self._seek = laid, seek
        floors, marks = facts.earlier.floors, head["plain"]
        self._plain = {name: replace(Threshold(**mark), floor=floors.get(name)) for name, mark in marks.items()}
        self.missing = tuple(s.name for s in axes.SIGNALS if s.name not in self._plain)
        self._fixed = members(laid, "unwritable") if laid.has("unwritable") else BitMap()
        self._fixed |= places(laid, facts.held)
        replacing = places(laid, facts.tried.get("complexity", ()))  # quality's are the same
        inspired = places(laid, facts.tried.get("diversity", ()))
        self._tried = {axis: inspired if axis == "diversity" else replacing for axis in facts.tried}
        self._requests = {axis: RequestTokens(*head["requests"][axis]) for axis in AXES}
        self._usage, self._frozen = facts.usage, facts.earlier.frozen
        self._mixed: tuple[Sections, dict[str, Threshold]] | None = None
        self._histograms: dict[tuple[str, int, float], BinCounts] = {}
        self._picked: dict[Axis, _Picked] = {}
        self._ranks: dict[Rule, list[Numbers]] = {}
        laid.rest()

    @cached_property
    def _everybody(self) -> BitMap:
        return BitMap(range(self.size))

    @cached_property
    def _columns(self) -> dict[str, SortedSignal]:
        return {s.name: SortedSignal(s, self._laid, self._everybody) for s in axes.SIGNALS}

    @cached_property
    def _tokens(self) -> list[Numbers]:
        return [numbers(self._laid, name, self._everybody) for name in ("prompt", "response")]

    def rest(self) -> None:
        """Hold little until the next question, which takes some milliseconds more: half a million samples are 8 MB."""
        for name in ("_everybody", "_columns", "_tokens"):
            self.__dict__.pop(name, None)
        self._picked, self._ranks = {}, {}
        self._laid.rest()

    @classmethod
    def load(cls, project: Path, round: int) -> Preview:
        """Read ``round`` of a project with its present config.toml.

        Raises:
            StoreError: there is no project, or its database cannot be read.
            ConfigError: config.toml or a rewrite prompt cannot be used.
        """
        folder = project.resolve()
        config = configs.load(folder)
        db = reader(folder)
        db.row_factory = None
        try:
            db.execute("BEGIN")  # one snapshot, whatever is written meanwhile
            facts = of_round(db, round, config)
            asked = None if facts.usage.made else forecast.asked_with(config, folder, flagging.flagged(db, round))
            laid = saved_signals.opened(db, folder, round, facts.believed, asked)
        finally:
            db.close()
        if laid is None:
            laid = build_process.prepared(folder, "round", str(folder), str(round), str(facts.believed))
        return cls(laid, facts, partial(_sought, folder))

    @property
    def configured(self) -> dict[Axis, float]:
        """The m of every axis as config.toml has it."""
        select = self.config.select
        return {"complexity": select.m_complexity, "diversity": select.m_diversity, "quality": select.m_quality}

    def thresholds(self, m: Mapping[Axis, float], rule: Rule = "sigma") -> dict[str, Threshold]:
        """The threshold of every signal, as the stage would store it. Under the mixture rule ``m`` does not count, and
        the first call may take some seconds.
        """
        if rule == "mixture":
            return dict(self._mixture()[1])
        return {name: self._sigma(plain, m[axes.BY_NAME[name].axis]) for name, plain in self._plain.items()}

    def cut(self, axis: Axis, m: float, rule: Rule = "sigma") -> tuple[Threshold, ...]:
        """The thresholds of one axis (complexity has two, the others one; none when its signal is missing).
        ``engine.signals.axes.threshold_value`` of one is the stricter of its cut and floor.
        """
        found = self.thresholds(dict.fromkeys(AXES, m), rule)
        return tuple(t for t in found.values() if t.axis == axis)

    def counts(self, m: Mapping[Axis, float], rule: Rule = "sigma") -> Count:
        """What the stage would select with these m (all three axes), and what rewriting that would take."""
        picked = self._picks(m, rule)
        choice = self._capped(picked, rule)
        selected: Mapping[Axis, BitMap]
        if choice is None:
            selected, pending = _samples(picked), self._pending(picked)
        else:
            selected, pending = choice.selected, {axis: self._lengths(choice.pending[axis]) for axis in AXES}
        return Count(
            size=self.size,
            beyond={axis: picked[axis].beyond for axis in AXES},
            selected={axis: len(selected[axis]) for axis in AXES},
            both={(a, b): selected[a].intersection_cardinality(selected[b]) for a, b in PAIRS},
            all_three=len(BitMap.intersection(*(selected[axis] for axis in AXES))),
            rewrites={axis: pending[axis].rewrites for axis in AXES},
            again=sum(one.beyond - len(one.samples) for one in picked.values()),
            capped=0 if choice is None else choice.capped,
            teacher=forecast.project(pending, self._usage, self._requests, self.config),
        )

    def chosen(self, m: Mapping[Axis, float], rule: Rule = "sigma") -> Choice:
        """The selection itself."""
        picked = self._picks(m, rule)
        return self._capped(picked, rule) or Choice(_samples(picked), self._once(picked), 0)

    def _once(self, picked: Mapping[Axis, _Picked]) -> dict[Axis, BitMap]:
        """The rewrites before any cap: a replaced sample is rewritten for the first axis that selected it."""
        early, late = axes.replacing(self.config.merge.order)
        pending = _samples(picked)
        return {**pending, late: pending[late] - pending[early]}

    def _capped(self, picked: Mapping[Axis, _Picked], rule: Rule) -> Choice | None:
        """The choice where the cap holds; None where all that was picked is selected."""
        most = axes.rewrite_cap(self.config.select, self.size)
        pending = self._once(picked)
        total = sum(map(len, pending.values()))
        if total <= most:
            return None
        groups = [(pending[axis], ranks) for axis, ranks in zip(AXES, self._ranked(rule), strict=True)]
        pending = dict(zip(AXES, smallest(groups, most), strict=True))
        replaced = pending["complexity"] | pending["quality"]
        selected = {a: picked[a].samples & (pending[a] if a == "diversity" else replaced) for a in AXES}
        return Choice(selected, pending, total - most)

    def _pending(self, picked: Mapping[Axis, _Picked]) -> dict[Axis, PendingRewrites]:
        """The rewrites without a cap, with the lengths of their samples; what did not move is not summed again."""
        early, late = axes.replacing(self.config.merge.order)
        out: dict[Axis, PendingRewrites] = {}
        for axis in AXES:
            one, before = picked[axis], picked[early] if axis == late else None
            if one.pending is None or one.before is not before:
                left = one.samples if before is None else one.samples - before.samples
                one.pending, one.before = self._lengths(left), before
            out[axis] = one.pending
        return out

    def _lengths(self, of: BitMap) -> PendingRewrites:
        """Once rewrites were made, what they took is known better than what lengths would tell."""
        if self._usage.made:
            return PendingRewrites(len(of), 0, 0)
        return PendingRewrites(len(of), *(tokens.total(of) for tokens in self._tokens))

    def margin(
        self, axis: Axis, m: float, n: int, rule: Rule = "sigma"
    ) -> tuple[list[MarginSample], list[MarginSample]]:
        """Up to ``n`` samples just selected and up to ``n`` just kept on ``axis``, nearest to the cut first. Samples
        that are not tried again are in neither; the cap is not looked at. Both are empty where there is no cut.
        """
        marks = [t for t in self.cut(axis, m, rule) if rule == "sigma" or t.signal != axes.UNUSED]
        there = all(s.name in self._plain for s in axes.OF_AXIS[axis])
        if not there or not all(isfinite(axes.threshold_value(mark)) for mark in marks):
            return [], []
        beyond = [near for mark in marks for near in self._beside(mark, marks, n, beyond=True)]
        kept = [near for mark in marks for near in self._beside(mark, marks, n, beyond=False)]
        beyond.sort(key=lambda near: near.distance)
        kept.sort(key=lambda near: -near.distance)
        self._laid.rest()
        return beyond[:n], kept[:n]

    def _beside(self, mark: Threshold, marks: Sequence[Threshold], n: int, beyond: bool) -> list[MarginSample]:
        """Up to ``n`` samples that ``mark`` decides about, walking away from its cut."""
        column = self._columns[mark.signal]
        first = column.first(axes.threshold_value(mark))
        upwards = beyond == (column.signal.side == "above")
        out: list[MarginSample] = []
        for place in range(first, len(column.order)) if upwards else range(first - 1, -1, -1):
            sample, value = column.order[place], column.sorted[place]
            distance = axes.sigmas_beyond(mark, value)
            if self._decides(sample, distance, mark, marks):
                out.append(MarginSample(self._ids[sample], mark.signal, value, distance))
                if len(out) == n:
                    break
        return out

    @property
    def _ids(self) -> Sequence[int]:
        return self._laid.integers("ids", "q")

    def _decides(self, sample: int, distance: float, mark: Threshold, marks: Sequence[Threshold]) -> bool:
        """Whether the sample may be tried and ``mark`` is the one of ``marks`` that it is nearest to."""
        tried = self._tried.get(axes.BY_NAME[mark.signal].axis)
        if sample in self._fixed or (tried is not None and sample in tried):
            return False
        if len(marks) == 1:
            return all(self._columns[s.name].place[sample] >= 0 for s in axes.OF_AXIS[axes.BY_NAME[mark.signal].axis])
        other = next(one for one in marks if one is not mark)
        theirs = axes.sigmas_beyond(other, self._columns[other.signal].value(sample))
        return distance < theirs or (distance == theirs and mark is marks[0])

    def _ranked(self, rule: Rule) -> list[Numbers]:
        """Who is worst on each axis, which does not depend on m."""
        if rule not in self._ranks:
            laid = self._laid if rule == "sigma" else self._mixture()[0]
            self._ranks[rule] = [numbers(laid, f"rank {axis}", self._everybody) for axis in AXES]
        return self._ranks[rule]

    def histogram(self, signal: str, bins: int, trim: float = 0.001) -> BinCounts:
        """The distribution of a signal over ``bins`` equal bins between its ``trim`` and 1 - ``trim`` quantiles."""
        key = (signal, bins, trim)
        if key not in self._histograms:
            self._histograms[key] = histogram(self._columns[signal].sorted, bins, trim)
            self._laid.rest()
        return self._histograms[key]

    def for_mixture(self, axis: Axis) -> Mixed:
        """Where the mixture rule would cut an axis. The first call may take some seconds."""
        name = axes.shown_signal(axis, "mixture")
        if name not in self._plain:
            return Mixed(name, None, None, "no sample has this signal")
        found = self._mixture()[1][name]
        said = axes.verdict(found)
        return Mixed(name, found.cut, found.m, said) if isfinite(found.cut) else Mixed(name, None, None, said)

    def _mixture(self) -> tuple[Sections, dict[str, Threshold]]:
        if self._mixed is None:
            found = self._seek(self._laid, Given(self._plain, self._frozen))
            self._mixed = found, {name: Threshold(**mark) for name, mark in found.head["marks"].items()}
        return self._mixed

    def _sigma(self, plain: Threshold, m: float) -> Threshold:
        cut = axes.relative_threshold(plain.mean, plain.sigma, m, axes.BY_NAME[plain.signal].side)
        return Threshold(self.round, plain.signal, plain.axis, plain.mean, plain.sigma, m, cut, plain.floor)

    def _picks(self, m: Mapping[Axis, float], rule: Rule) -> dict[Axis, _Picked]:
        """What lies beyond the limits, per axis; an axis whose limits did not move is not looked at again."""
        marks = self.thresholds(m, rule)
        for axis in AXES:
            limits = tuple(axes.threshold_value(marks[s.name]) if s.name in marks else None for s in axes.OF_AXIS[axis])
            if axis not in self._picked or self._picked[axis].limits != limits:
                self._picked[axis] = self._pick(axis, limits)
        return dict(self._picked)

    def _pick(self, axis: Axis, limits: tuple[float | None, ...]) -> _Picked:
        samples = self._everybody - self._fixed
        for s, limit in zip(axes.OF_AXIS[axis], limits, strict=True):
            samples = samples & self._columns[s.name].beyond(limit) if limit is not None else BitMap()
        tried = self._tried.get(axis)
        return _Picked(limits, samples if tried is None else samples - tried, len(samples))


@dataclass(eq=False, slots=True)
class _Picked:
    """The samples of one axis that are beyond ``limits`` and may be tried; ``beyond``: how many with those that may not
    be tried. ``pending``: the rewrites left when ``before`` has taken its own.
    """

    limits: tuple[float | None, ...]
    samples: BitMap
    beyond: int
    pending: PendingRewrites | None = None
    before: _Picked | None = None


def _samples(picked: Mapping[Axis, _Picked]) -> dict[Axis, BitMap]:
    return {axis: picked[axis].samples for axis in AXES}


def _sought(folder: Path, laid: Sections, given: Given) -> Sections:
    file = laid.file.fileno()
    return build_process.prepared(folder, "mixture", given.text, str(file), passing=(file,))
