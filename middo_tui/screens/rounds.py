"""The Rounds screen: one row per round with everything that was counted, and one round in detail below it."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from textual.binding import BindingType

from middo_tui.feed.distributions import SIGNALS
from middo_tui.keys import tables
from middo_tui.screens.export import AskFormat, Wanted, export
from middo_tui.screens.rounds_keys import KEYS
from middo_tui.screens.rounds_overlay import RoundsOverlay
from middo_tui.text.notice import Notice
from middo_tui.widgets.chart_view import next_scale
from middo_tui.widgets.histogram import next_point
from middo_tui.widgets.round_grid import columns, fitting, most
from middo_tui.widgets.round_panels import TABS


class RoundsScreen(RoundsOverlay):
    """Move over rounds and columns, look closer at one, go on to its samples, lay other projects over it."""

    NAME = "rounds"
    KEYS = KEYS
    CSS_PATH = "rounds.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def aim(self, target: object) -> None:
        """``target``: a round's number."""
        if isinstance(target, int):
            self._chosen = target
            self._paint()

    def _move(self, to: int) -> None:
        rounds = self._rounds.rounds
        at = max(0, min(len(rounds) - 1, to))
        self._chosen = None if at == len(rounds) - 1 else rounds[at].round
        self._paint()

    def action_down(self) -> None:
        """The next round."""
        self._move(self._at() + 1)

    def action_up(self) -> None:
        """The round before."""
        self._move(self._at() - 1)

    def action_first(self) -> None:
        """The first round."""
        self._move(0)

    def action_last(self) -> None:
        """The newest round; it stays the newest when another one begins."""
        self._move(len(self._rounds.rounds) - 1)

    def action_right(self) -> None:
        """A page of columns further; the last page is full."""
        shown = len(fitting(columns(self._rounds), self._left, self.size.width))
        self._left = min(self._left + max(1, shown - 1), most(self._rounds, self.size.width))
        self._paint()

    def action_left(self) -> None:
        """A page of columns back."""
        all_, width = columns(self._rounds), self.size.width
        first = self._left
        while first > 0 and first - 1 + len(fitting(all_, first - 1, width)) > self._left:
            first -= 1
        self._left = first
        self._paint()

    def _show_tab(self, at: int) -> None:
        self._tab, self._top = at % len(TABS), 0
        self._paint()
        self.call_after_refresh(self.state_changed)  # what fits is known once it has its place

    def action_tab(self) -> None:
        """What is shown below."""
        self._show_tab(self._tab + 1)

    def action_tab_back(self) -> None:
        """The tab before."""
        self._show_tab(self._tab - 1)

    def action_signal(self) -> None:
        """Another signal's shape."""
        self._signal = (self._signal + 1) % len(SIGNALS)
        self._paint()

    def action_signal_back(self) -> None:
        """The signal before."""
        self._signal = (self._signal - 1) % len(SIGNALS)
        self._paint()

    def action_figures(self) -> None:
        """The next curves; behind the last ones the first again."""
        self._figure = 0 if self._figure >= self._most_figures() else self._figure + 1
        self._paint()

    def action_figures_back(self) -> None:
        """The curves before."""
        self._figure = self._figure - 1 if self._figure else self._most_figures()
        self._paint()

    def action_axis(self) -> None:
        """A linear, logarithmic or square-root axis."""
        self._scale = next_scale(self._scale)
        self._paint()

    def action_cursor_left(self) -> None:
        """A part of the shapes' range back."""
        self._point(-1)

    def action_cursor_right(self) -> None:
        """A part on."""
        self._point(1)

    def _point(self, by: int) -> None:
        self._cursor = next_point(self._cursor, by)
        self._paint()

    def action_before(self) -> None:
        """Settings against the round before, or the defaults."""
        self._before, self._top = not self._before, 0
        self._paint()

    def _scroll(self, by: int) -> None:
        self._top = max(0, min(self._top + by, self._length() - self._height()))
        self._paint()

    def action_page_down(self) -> None:
        """More rows."""
        self._scroll(self._height() - 1)

    def action_page_up(self) -> None:
        """Back."""
        self._scroll(1 - self._height())

    def action_samples(self) -> None:
        """The round's samples."""
        from middo_tui.feed.orders import Order  # brings the filters along: only when it is used

        if self.chosen is not None:
            self.go("samples", Order(self.chosen.round))

    def action_thresholds(self) -> None:
        """The round's cuts."""
        if self.chosen is not None:
            self.go("thresholds", self.chosen.round)

    def action_map(self) -> None:
        """The round's embeddings."""
        if self.chosen is not None:
            self.go("map", (self.chosen.round, None))

    def action_flips(self) -> None:
        """The held-out questions that flipped."""
        if self.chosen is not None:
            self.go("flips", self.chosen.round)

    def action_export(self) -> None:
        """A dataset as a file."""
        if self.chosen is not None:
            self.app.push_screen(AskFormat(self.chosen.round, self.chosen.merged), self._export)

    def _export(self, wanted: Wanted | None) -> None:
        if wanted is not None:
            self.say(Notice(f"Exporting the dataset of round {wanted.round} ({wanted.format}) …", "strong"))
            self.ask(partial(export, self.project, wanted))
