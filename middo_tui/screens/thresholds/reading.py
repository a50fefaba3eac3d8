"""The reading half of the Thresholds screen: the round's signals, where it stands, and all that is painted of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.worker import get_current_worker

from engine.config.schema import Config
from engine.errors import MiddoError
from engine.store.rows import AXES, Axis, Threshold
from middo_tui.feed import thresholds as feed
from middo_tui.feed.bins import Bins
from middo_tui.feed.thresholds import SIGNALS, RoundState, Rule, ThresholdRound
from middo_tui.feed.view import LoopView
from middo_tui.look.theme import LETTERS
from middo_tui.screens.frame import Framed
from middo_tui.screens.thresholds import wording as words
from middo_tui.screens.thresholds.keys import ThresholdsKeyState
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice
from middo_tui.widgets.axes_bar import Axes, AxesBar
from middo_tui.widgets.chart_view import AxisScale
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.histogram import Cutting, Histogram
from middo_tui.widgets.margin_list import MarginList, Margins
from middo_tui.widgets.paragraph import wrap
from middo_tui.widgets.teacher_line import Takes, TeacherLine
from middo_tui.widgets.threshold_facts import SelectionFacts, ThresholdFacts

if TYPE_CHECKING:
    from engine.selection.preview.counts import Count

T = TypeVar("T")
REST_S = 0.08
"""The samples next to the cut are looked up when no key came for this long."""
MOST_SIGMAS = 20.0
MOST_SAMPLES = 16
NOTICE_ROWS = 2


class Read(Message):
    """Something came back from a thread: ``take`` puts it in its place, in the app's own thread."""

    def __init__(self, take: Callable[[], None]) -> None:
        super().__init__()
        self.take = take


class ThresholdsReading(Framed):
    """Axes, histograms with the cut, figures, samples next to the cut, what the teacher will need; no keys."""

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view)
        self.axis: Axis = "complexity"
        self.m: dict[Axis, float] = {}
        self.rule: Rule = "sigma"
        self._loaded: ThresholdRound | None = None
        self._config: Config | None = None
        self._standing = RoundState(0)
        self._before: Mapping[str, Bins] = {}
        self._problem = ""
        self._key: object = None
        self._signature: object = None
        self._seeking = False
        self._counts: AxisScale = "linear"
        self._cursor: int | None = None  # a part of the histograms' range
        self._rest: Timer | None = None
        self._aimed: int | None = None
        self._aimed_in: int | None = None  # the newest round when it was asked for

    def body(self) -> ComposeResult:
        """Top to bottom."""
        yield AxesBar(Axes(self.axis))
        yield Divider()
        with Horizontal(id="picture"):
            with Vertical(id="histograms"):
                yield Histogram(Cutting(None, "above", "complexity"), id="first")
                yield Histogram(Cutting(None, "above", "complexity"), id="second")
            yield ThresholdFacts(None)
        yield MarginList(Margins(self.axis))
        yield TeacherLine(None)

    # ------------------------------------------------------------------------------ reading the store

    def on_screen_resume(self) -> None:
        """Looked at again: config.toml may have been changed meanwhile."""
        self._signature = None
        super().on_screen_resume()

    def on_screen_suspend(self) -> None:
        """Another screen is looked at: hold little meanwhile."""
        if self._loaded is not None:
            self._loaded.preview.rest()

    def _round_of(self, view: LoopView) -> int | None:
        """The round that another screen asked for, until a newer one begins; else the newest with signals."""
        if self._aimed is not None and view.round == self._aimed_in:
            return self._aimed
        return feed.shown_round(view)

    def aim(self, target: object) -> None:
        """The number of a round."""
        if isinstance(target, int) and target != feed.shown_round(self.view):
            earlier = self.view.round is not None and target < self.view.round
            self._aimed, self._aimed_in = (target if earlier else None), self.view.round
        else:
            self._aimed = None
        self.changed(self.view)

    def changed(self, view: LoopView) -> None:
        """Load a round when its signals are there; else only look where it stands."""
        round = self._round_of(view)
        stages = view.stages if round == view.round else view.earlier
        there = tuple(s.state == "done" for s in stages if s.name in ("score", "judge"))
        signature = (round, view.round, view.worker, view.waiting, tuple((s.name, s.state) for s in stages))
        if round is None:
            self._loaded, self._key = None, None
            self._paint_all()
        elif (round, there) != self._key:
            self._key, self._signature, self._problem = (round, there), signature, ""
            self._read("load", partial(feed.load, self.project, round), self._take_round)
        elif signature != self._signature:
            self._signature = signature
            self._look(round)

    @property
    def reading(self) -> bool:
        """Nothing was read yet, nor is it known why not."""
        return self._loaded is None and not self._problem and self._round_of(self.view) is not None

    def _look(self, round: int) -> None:
        """See where the round stands, and what config.toml says now."""
        self._read("stand", partial(feed.state_and_config, self.project, round), self._take_standing)

    def _read(self, group: str, work: Callable[[], T], take: Callable[[T], None]) -> None:
        """Have ``work`` done in a thread and what it gives taken in ours; a newer call of a group replaces an older."""

        def run() -> None:
            try:
                found = work()
                then = partial(take, found)
            except (MiddoError, sqlite3.Error, OSError) as error:
                then = partial(self._failed, guard.clean(str(error)).text)
            if not get_current_worker().is_cancelled:
                self.post_message(Read(then))

        self.run_worker(run, group=group, thread=True, exclusive=True, exit_on_error=False)

    @on(Read)
    def _taken(self, message: Read) -> None:
        if self.there:
            message.take()

    def _failed(self, problem: str) -> None:
        self._problem, self._seeking = problem, False
        self.state_changed()

    def _take_round(self, loaded: ThresholdRound) -> None:
        again = self._loaded is not None and self._loaded.round == loaded.round
        self._loaded, self._standing, self._before = loaded, loaded.standing, {}
        self._take_config(loaded.config, keep=again)
        self._paint_all()
        self._read("before", partial(feed.round_before, self.project, loaded), self._take_before)

    def _take_config(self, config: Config, keep: bool) -> None:
        """The cuts follow config.toml, unless a person has moved them (``keep``)."""
        moved = keep and self._moved()
        self._config = config
        if not moved:
            self.m, self.rule = feed.configured(config), feed.rule_of(config)

    def _take_before(self, bins: Mapping[str, Bins]) -> None:
        self._before = bins
        self._paint_cut()

    def _take_standing(self, found: tuple[RoundState, Config]) -> None:
        where, config = found
        self._problem = ""
        if self._loaded is None or where.round != self._loaded.round:
            return
        self._standing = where
        rewritten = where.begun != self._loaded.standing.begun and not where.running
        if rewritten or not feed.same_but_cuts(config, self._loaded.config):
            self._key = None  # what a rewrite takes, memory, floors, cap or prices: the preview is made of them
            self.changed(self.view)
        self._take_config(config, keep=True)
        self._paint_all()

    # -------------------------------------------------------------------------------------- painting

    def _marks(self) -> dict[str, Threshold]:
        return {} if self._loaded is None else self._loaded.preview.thresholds(self.m, self.rule)

    def _paint_all(self) -> None:
        """Everything; the samples next to the cut when they are there."""
        self._paint_cut()
        self._look_beside()

    def _paint_cut(self) -> None:
        """What every key press changes."""
        loaded = self._loaded
        bar = self.query_one(AxesBar)
        if loaded is None:
            bar.show(Axes(self.axis))
            self.query_one(ThresholdFacts).show(None)
            self.query_one(TeacherLine).show(None)
            self._paint_histograms({})
        else:
            count = loaded.preview.counts(self.m, self.rule)
            bar.show(Axes(self.axis, tuple(count.selected[axis] for axis in AXES), f"round {loaded.round}"))
            self.query_one(ThresholdFacts).show(self._facts(count))
            self.query_one(TeacherLine).show(takes(count))
            self._paint_histograms(self._marks())
        self.state_changed()

    def _paint_histograms(self, marks: Mapping[str, Threshold]) -> None:
        names = feed.signals_of(self.axis)
        second = self.query_one("#second", Histogram)
        second.set_class(len(names) < 2, "-off")
        for name, histogram in zip(names, (self.query_one("#first", Histogram), second), strict=False):
            histogram.show(self._cutting(name, marks.get(name)))

    def _cutting(self, name: str, mark: Threshold | None) -> Cutting:
        signal = SIGNALS[name]
        bins = self._loaded.bins[name] if self._loaded else None
        return Cutting(
            bins=bins,
            side=signal.side,
            role=signal.axis,
            cut=None if mark is None else mark.cut,
            floor=None if mark is None else mark.floor,
            earlier=self._before.get(name),
            heading=words.heading(name, mark),
            empty=words.empty(name, self._doubt()) if self._loaded else "",
            counts=self._counts,
            cursor=self._cursor,
        )

    def _doubt(self) -> str:
        """Why the quality axis is off, if it is."""
        return words.doubt(self._standing, self._loaded.config.select) if self._loaded else ""

    def _facts(self, count: Count) -> SelectionFacts:
        row = next((row for row in self.view.table if row.round == self._standing.round - 1), None)
        at = AXES.index(self.axis)
        pairs = [(LETTERS[a] + LETTERS[b], n) for (a, b), n in count.both.items() if n]
        three = [("".join(LETTERS.values()), count.all_three)] if count.all_three else []
        return SelectionFacts(
            role=self.axis,
            size=count.size,
            selected=count.selected[self.axis],
            beyond=count.beyond[self.axis],
            rewrites=sum(count.rewrites.values()),
            round=self._standing.round,
            before=(row.selected[at], row.size) if row is not None and row.selected is not None else None,
            again=count.again,
            capped=count.capped,
            overlaps=(*pairs, *three),
        )

    def _look_beside(self) -> None:
        """Look up the samples next to the cut, once the keys rest."""
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST_S, self._read_beside)

    def _read_beside(self) -> None:
        loaded, axis, m, rule = self._loaded, self.axis, dict(self.m), self.rule
        if loaded is None:
            self.query_one(MarginList).show(Margins(axis))
            return
        mark = next((mark for mark in self._marks().values() if mark.axis == axis), None)
        places = words.digits(mark.sigma) if mark is not None else 3

        def work() -> Margins:
            selected, kept = loaded.preview.margin(axis, m[axis], MOST_SAMPLES, rule)
            beside = (feed.margins(self.project, selected), feed.margins(self.project, kept))
            return Margins(axis, places, *beside, known=True)

        self._read("beside", work, self._take_beside)

    def _take_beside(self, margins: Margins) -> None:
        if margins.role == self.axis:
            self.query_one(MarginList).show(margins)

    # ------------------------------------------------------------------------------- keys and notice

    def _moved(self) -> bool:
        if self._config is None:
            return False
        if self.rule != feed.rule_of(self._config):
            return True
        return self.rule == "sigma" and self.m != feed.configured(self._config)

    def state(self) -> ThresholdsKeyState:
        """What the keys depend on."""
        where = self._standing
        unlike = where.selected and bool(where.stored) and not where.made_with(self.m, self.rule)
        return ThresholdsKeyState(
            ready=self._loaded is not None and not self.view.problem,
            seeking=self._seeking,
            rule=self.rule,
            moved=self._moved(),
            unlike=self._loaded is not None and unlike,
            may_select=where.free,
            costs=bool(where.begun) and not where.history and not where.running,
            evidence=self._config is not None and self._config.select.rule == "evidence",
        )

    def state_changed(self) -> None:
        """Also give the notice its room."""
        self._make_room()
        super().state_changed()

    def say(self, text: Notice) -> None:
        """Also give the notice its room."""
        super().say(text)
        self._make_room()

    def _make_room(self) -> None:
        """The notice has a place of two rows, so that what it says moves nothing else; only trouble takes more."""
        self.set_class(len(wrap(self._notice().text, max(1, self.size.width - 2), 3)) > NOTICE_ROWS, "-long")

    def own_notice(self) -> Notice:
        """What enter would do; before there are signals, how to get them."""
        if self._problem:
            return Notice(self._problem, "bad")
        if self._loaded is None:
            round = self._round_of(self.view)
            return (
                words.absent(self.view) if round is None else Notice(f"Loading the signals of round {round} …", "dim")
            )
        if self._seeking:
            return Notice("Looking for a bimodal split …", "dim")
        odd = words.missing(self._loaded.preview.missing, self._doubt()) or words.flat(self._marks(), self.axis)
        state, said = self.state(), feed.verdicts(self._standing.stored)
        if state.evidence and not state.moved:
            return words.by_evidence(said.get("flaw", ""))
        if state.evidence:
            return words.leaving_evidence(self._standing, self.rule)
        verdict = said.get(feed.signals_of(self.axis)[0], "")
        usual = words.standing(self._standing, state.moved, state.unlike, verdict, self.rule)
        return Notice(f"{odd} {usual.text}", usual.role) if odd else usual


def takes(count: Count) -> Takes:
    """The projection as its row shows it."""
    teacher = count.teacher
    tokens = teacher.tokens_in + teacher.tokens_out
    return Takes(teacher.calls, tokens, teacher.cost, *teacher.caps, guard.one_line(teacher.basis))
