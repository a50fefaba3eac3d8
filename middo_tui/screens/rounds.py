"""The Rounds screen: one row per round with everything that was counted, and one round in detail below it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.worker import get_current_worker

from engine.errors import MiddoError
from middo_tui.feed.bins import Bins, Side
from middo_tui.feed.distributions import MADE_BY, SIGNALS
from middo_tui.feed.rounds import RoundDetail, RoundsReader, RoundsView, moved
from middo_tui.feed.view import LoopView
from middo_tui.keys import tables
from middo_tui.keys.tables import press
from middo_tui.screens.export import AskFormat, Wanted, export
from middo_tui.screens.frame import TALL, Framed
from middo_tui.screens.rounds_keys import KEYS, RoundsKeyState
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.histogram import Cutting, Histogram
from middo_tui.widgets.lines import Line, Run, width_of
from middo_tui.widgets.round_grid import Grid, RoundGrid, columns, fitting, most
from middo_tui.widgets.round_panels import TABS, Panel, RoundPanel, panel_lines
from middo_tui.widgets.tab_bar import TabBar, Tabs

WORDS = {
    "loss_before": "base loss",
    "loss_after": "tuned loss",
    "similarity": "similarity",
    "quality": "quality",
}
AXIS = {"loss_before": "complexity", "loss_after": "complexity", "similarity": "diversity", "quality": "quality"}
SIDE: dict[str, Side] = {"loss_before": "above", "loss_after": "above", "similarity": "below", "quality": "below"}


class RoundsRead(Message):
    """There is more to show, or ``problem``: why there is not."""

    def __init__(self, view: RoundsView, problem: str = "") -> None:
        super().__init__()
        self.view = view
        self.problem = problem


class RoundsScreen(Framed):
    """The table, a row of tabs, one of them."""

    NAME = "rounds"
    KEYS = KEYS
    CSS_PATH = "rounds.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view)
        self._reader = RoundsReader(project)
        self._rounds = RoundsView()
        self._moved: object = None
        self._problem = ""
        self._read_once = False
        self._chosen: int | None = None  # a round's number; None follows the newest
        self._first = 0
        self._tab = 0
        self._signal = 0
        self._before = False
        self._top = 0

    # ------------------------------------------------------------------------------- what is shown

    def body(self) -> ComposeResult:
        """Top to bottom."""
        yield RoundGrid(Grid(self._rounds))
        yield Divider()
        yield TabBar(Tabs(TABS))
        with Vertical(id="below"):
            yield RoundPanel(self._panel())
            yield Histogram(Cutting(None, "above", "complexity"), id="shape")
            yield Histogram(Cutting(None, "above", "complexity"), id="next-shape")

    def changed(self, view: LoopView) -> None:
        """Read the rounds again when they have moved; otherwise nothing here depends on it."""
        now = moved(view)
        if now != self._moved:
            self._moved = now
            self.run_worker(self._read, group="rounds", thread=True, exclusive=True, exit_on_error=False)

    def _read(self) -> None:
        """In a thread: the counts at once, the distributions as they come."""
        worker = get_current_worker()

        def post(view: RoundsView) -> None:
            if not worker.is_cancelled:
                self.post_message(RoundsRead(view))

        try:
            post(view := self._reader.read())
            if not view.complete:
                self._reader.measure(post, lambda: worker.is_cancelled)
        except MiddoError as error:
            self.post_message(RoundsRead(RoundsView(), guard.clean(str(error)).text))

    @on(RoundsRead)
    def _was_read(self, message: RoundsRead) -> None:
        self._rounds, self._problem, self._read_once = message.view, message.problem, True
        self._paint()

    def on_resize(self, event: events.Resize) -> None:
        """Other columns fit."""
        self.call_after_refresh(self._paint)

    def _paint(self) -> None:
        width = self.size.width
        self._first = min(self._first, most(self._rounds, width))
        self.query_one(RoundGrid).show(Grid(self._rounds, self._at(), self._first))
        chosen = self.chosen
        self.query_one(TabBar).show(Tabs(TABS, self._tab, _words(chosen)))
        self._show_shapes(self.tab == "shapes")
        self._top = max(0, min(self._top, self._length() - self._height()))
        self.query_one(RoundPanel).show(self._panel())
        self.query_one("#shape", Histogram).show(self._shape(chosen, SIGNALS[self._signal]))
        self.query_one("#next-shape", Histogram).show(self._shape(chosen, SIGNALS[(self._signal + 1) % len(SIGNALS)]))
        self.state_changed()

    def _show_shapes(self, shapes: bool) -> None:
        """Widget by widget: a class of the whole screen would style and paint all of it anew."""
        self.query_one(RoundPanel).display = not shapes
        self.query_one("#shape").display = shapes
        self.query_one("#next-shape").display = shapes and self.size.height >= TALL

    @property
    def reading(self) -> bool:
        """Nothing was read yet, nor is it known why not."""
        return not self._read_once

    def _at(self) -> int:
        """The row of the cursor."""
        numbers = [one.round for one in self._rounds.rounds]
        return numbers.index(self._chosen) if self._chosen in numbers else max(0, len(numbers) - 1)

    @property
    def chosen(self) -> RoundDetail | None:
        """The round that is looked at."""
        return self._rounds.rounds[self._at()] if self._rounds.rounds else None

    @property
    def tab(self) -> str:
        """What is shown of it."""
        return TABS[self._tab]

    def _panel(self) -> Panel:
        chosen = self.chosen
        return Panel(self._rounds, chosen.round if chosen else None, self.tab, self._before, self._top)

    def _length(self) -> int:
        return len(panel_lines(self._panel(), self.size.width))

    def _height(self) -> int:
        return self.query_one("#below").size.height or 1

    def _shape(self, chosen: RoundDetail | None, signal: str) -> Cutting:
        """The chosen round's distribution over the one before it."""
        if chosen is None:
            return Cutting(None, SIDE[signal], AXIS[signal])
        shapes = self._rounds.overlaid(signal)
        bins, earlier = shapes.get(chosen.round), shapes.get(chosen.round - 1)
        if bins is not None and earlier is not None:
            total, was = sum(bins.counts), sum(earlier.counts)
            earlier = earlier.scaled(total / was) if was else None
        cut = chosen.cut(signal)
        return Cutting(
            bins,
            SIDE[signal],
            AXIS[signal],
            cut=None if cut is None else cut.cut,
            floor=None if cut is None else cut.floor,
            earlier=earlier,
            heading=self._heading(chosen, signal, earlier),
            empty=self._no_shape(chosen, signal),
        )

    def _heading(self, chosen: RoundDetail, signal: str, earlier: Bins | None) -> Line:
        """The signal's name, its middle and how that has moved."""
        now = self._rounds.shape(chosen.round, signal)
        was = self._rounds.shape(chosen.round - 1, signal)
        runs = [Run(WORDS[signal], AXIS[signal])]
        if now is not None:
            runs += [Run(f"  mean {_with_change(now.mean, was.mean if was else None)}")]
            runs += [Run(f"  median {_with_change(now.median, was.median if was else None)}")]
        if earlier is not None:
            runs += [Run(f"  round {chosen.round - 1} ", "dim"), Run("⠒⠒", "faint")]
        if now is not None:
            runs += [Run(f"   5–95 %: {now.low:.2f} to {now.high:.2f}", "dim")]
        fits = [width_of(tuple(runs[: n + 1])) <= self.size.width - 2 for n in range(len(runs))]
        return tuple(run for run, fit in zip(runs, fits, strict=True) if fit)

    def _no_shape(self, chosen: RoundDetail, signal: str) -> str:
        if chosen.closing:
            return "the final evaluation only trains and measures: it has no signals"
        stage = MADE_BY[signal]
        done = any(one.name == stage and one.state == "done" for one in chosen.stages)
        if done:
            return "no sample has this signal" if self._rounds.complete else "counting …"
        return f"not computed yet: the {stage} stage has not run"

    def state(self) -> RoundsKeyState:
        """What the keys depend on."""
        width = self.size.width
        return RoundsKeyState(
            rounds=len(self._rounds.rounds),
            chosen=self.chosen,
            tab=self.tab,
            columns=bool(self._rounds.rounds) and most(self._rounds, width) > 0,
            scrolls=self.is_mounted and self.tab != "shapes" and self._length() > self._height(),
            before=self._before,
        )

    def own_notice(self) -> Notice:
        """What to do where there is nothing to see yet."""
        if self._problem:
            return Notice(self._problem, "bad")
        if self._read_once and not self._rounds.rounds:
            start = f"Press {press('app.go-loop')}, then {press('loop.run')}, to start the first."
            return Notice(f"No rounds yet. {start}", "decide")
        return Notice("")

    # ------------------------------------------------------------------------------------ the keys

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
        shown = len(fitting(columns(self._rounds), self._first, self.size.width))
        self._first = min(self._first + max(1, shown - 1), most(self._rounds, self.size.width))
        self._paint()

    def action_left(self) -> None:
        """A page of columns back."""
        all_, width = columns(self._rounds), self.size.width
        first = self._first
        while first > 0 and first - 1 + len(fitting(all_, first - 1, width)) > self._first:
            first -= 1
        self._first = first
        self._paint()

    def _show_tab(self, at: int) -> None:
        self._tab, self._top = at % len(TABS), 0
        self._paint()

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


def _with_change(now: float, was: float | None) -> str:
    return f"{now:.3f}" + ("" if was is None else f" ({number_format.change(now - was, 3)})")


def _words(chosen: RoundDetail | None) -> str:
    """The state of the round, in words, for the end of the tab row."""
    if chosen is None:
        return ""
    kind = "final evaluation" if chosen.closing else f"round {chosen.round}"
    return f"{kind} · {chosen.state}" + (f" in {chosen.stage}" if chosen.stage else "")
