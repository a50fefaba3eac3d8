"""The Thresholds screen: where each axis is cut, what lies beyond the cut, and what rewriting that would take.

A key press moves the cut and paints the exact counts; the samples next to the cut follow when the keys rest. Nothing
is written before enter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import on
from textual.binding import BindingType

from engine.plurals import counted
from engine.store.rows import AXES
from middo_tui.feed import apply_thresholds
from middo_tui.feed import thresholds as feed
from middo_tui.feed.orders import Order
from middo_tui.feed.thresholds import SIGNALS, Rule
from middo_tui.keys import tables
from middo_tui.screens.input_number import TypeNumber
from middo_tui.screens.thresholds import wording as words
from middo_tui.screens.thresholds.keys import FAR, KEYS, NEAR
from middo_tui.screens.thresholds.lens_shapes import LensShapes
from middo_tui.screens.thresholds.reading import ThresholdsReading
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.widgets.chart_view import next_scale
from middo_tui.widgets.histogram import Histogram, next_point
from middo_tui.widgets.margin_list import MarginList, Margins

if TYPE_CHECKING:
    from engine.selection.preview.counts import Mixed

T = TypeVar("T")
MOST_SIGMAS = 20.0


class ThresholdsScreen(ThresholdsReading):
    """Move the cut, look at both its sides, apply it."""

    NAME = "thresholds"
    CSS_PATH = "thresholds.tcss"
    KEYS = KEYS
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def _set(self, m: float) -> None:
        """Cut the axis at ``m`` sigmas."""
        self.m = {**self.m, self.axis: round(max(-MOST_SIGMAS, min(MOST_SIGMAS, m)), 6)}
        self._shown_notice = None
        self._paint_cut()
        self._look_beside()

    def _step(self, to_the_right: float) -> None:
        up = SIGNALS[feed.signals_of(self.axis)[0]].side == "above"
        self._set(self.m[self.axis] + (to_the_right if up else -to_the_right))

    def action_lenses(self) -> None:
        """The lenses' histograms."""
        if self._loaded is not None:
            self.app.push_screen(LensShapes(self.project, self._loaded.round), self._open_lenses)

    def _open_lenses(self, order: Order | None) -> None:
        if order is not None:
            self.go("samples", order)

    def action_left(self) -> None:
        """A little to the left."""
        self._step(-NEAR)

    def action_right(self) -> None:
        """A little to the right."""
        self._step(NEAR)

    def action_far_left(self) -> None:
        """Much to the left."""
        self._step(-FAR)

    def action_far_right(self) -> None:
        """Much to the right."""
        self._step(FAR)

    @on(Histogram.Dragged)
    def _dragged(self, message: Histogram.Dragged) -> None:
        names = feed.signals_of(self.axis)
        name = names[1] if message.histogram.id == "second" else names[0]
        mark = self._marks().get(name)
        if mark is not None and mark.sigma > 0 and self.rule == "sigma":
            away = (message.value - mark.mean) / mark.sigma
            self._set(round(away if SIGNALS[name].side == "above" else -away, 2))

    def action_counts(self) -> None:
        """The histograms' counts on another axis."""
        self._counts = next_scale(self._counts)
        self._paint_cut()

    def action_cursor_left(self) -> None:
        """How many samples have a value here: a part to the left."""
        self._point(-1)

    def action_cursor_right(self) -> None:
        """A part to the right."""
        self._point(1)

    def _point(self, by: int) -> None:
        self._cursor = next_point(self._cursor, by)
        self._paint_cut()

    def action_next_axis(self) -> None:
        """One axis on."""
        self._turn(1)

    def action_previous_axis(self) -> None:
        """One axis back."""
        self._turn(-1)

    def _turn(self, by: int) -> None:
        self.axis = AXES[(AXES.index(self.axis) + by) % len(AXES)]
        self._shown_notice, self._cursor = None, None
        self.query_one(MarginList).show(Margins(self.axis))
        self._paint_all()

    def action_number(self) -> None:
        """Type m."""
        question = f"Threshold for {self.axis} in sigmas: m ="
        self.app.push_screen(TypeNumber(question, _checked), lambda m: None if m is None else self._set(m))

    def action_reset(self) -> None:
        """As config.toml has it."""
        if self._config is not None:
            self.m, self.rule = feed.configured(self._config), feed.rule_of(self._config)
            self._shown_notice = None
            self._paint_all()

    def action_mixture(self) -> None:
        """Where two groups part, if there are two."""
        if self._loaded is not None:
            self._seek(partial(self._loaded.preview.for_mixture, self.axis), self._take_mixture)

    def _take_mixture(self, found: Mixed) -> None:
        self._seeking = False
        said = guard.one_line(found.verdict)
        if found.m is not None:
            self._set(found.m)
        self.state_changed()
        self.say(Notice(f"{SIGNALS[found.signal].title}: {said}", "strong" if found.m is not None else "decide"))

    def action_rule(self) -> None:
        """The other rule, for all axes."""
        if self._loaded is not None:
            other: Rule = "mixture" if self.rule == "sigma" else "sigma"
            work = partial(self._loaded.preview.thresholds, dict(self.m), other)
            self._seek(work, lambda marks: self._take_rule(other))

    def _take_rule(self, rule: Rule) -> None:
        self._seeking, self.rule = False, rule
        self._paint_all()

    def _seek(self, work: Callable[[], T], take: Callable[[T], None]) -> None:
        """Have the preview look for two groups, which may take a second; no key moves the cut meanwhile."""
        self._seeking, self._shown_notice = True, None
        self.state_changed()
        self._read("seek", work, take)

    def action_apply(self) -> None:
        """Write the cuts, and select anew where nothing stands on the old ones."""
        self.ask(
            partial(apply_thresholds.apply, self.project, self._standing.round, dict(self.m), self.rule), self._again
        )

    def action_redo(self) -> None:
        """Throw the round's rewrites away and select anew."""
        where = self._standing
        cost = f", {number_format.money(where.cost)}" if where.cost else ""
        question = (
            f"Discard {counted(where.begun, 'rewrite')} of round {where.round} ({where.decided:,} decided{cost}) and"
            " redo the selection with these thresholds? This cannot be undone."
        )
        self.confirm(
            question,
            partial(apply_thresholds.redo_selection, self.project, where.round, dict(self.m), self.rule),
            self._again,
        )

    def _again(self) -> None:
        """Something was written: look where the round stands now."""
        self._look(self._standing.round)

    def action_open(self) -> None:
        """The selected side on the Samples screen, the worst first."""
        name = feed.signals_of(self.axis)[0]
        where = words.beyond([mark for mark in self._marks().values() if mark.axis == self.axis])
        if where:
            self.go("samples", Order(self._standing.round, where, name, down=SIGNALS[name].side == "above"))
        else:
            self.say(Notice(f"{self.axis.capitalize()} has no threshold: nothing is selected.", "decide"))


def _checked(m: float) -> str:
    return "" if abs(m) <= MOST_SIGMAS else f"m must be between -{MOST_SIGMAS:g} and {MOST_SIGMAS:g}."
