"""The reading half of the Rounds screen: the store's rounds, other projects beside them, and all that is painted."""

from __future__ import annotations

from pathlib import Path

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.worker import get_current_worker

from engine.errors import MiddoError
from middo_tui.feed.distributions import SIGNALS
from middo_tui.feed.overlay import OtherProject
from middo_tui.feed.rounds import RoundDetail, RoundsReader, RoundsView, moved
from middo_tui.feed.view import LoopView
from middo_tui.keys.tables import press
from middo_tui.screens.frame import TALL, VAST, WIDE, Framed
from middo_tui.screens.rounds_keys import RoundsKeyState
from middo_tui.screens.rounds_shapes import shape
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice
from middo_tui.widgets.chart_view import AxisScale, ChartView
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.histogram import Cutting, Histogram
from middo_tui.widgets.round_charts import MARKS, RoundCharts, RoundFigures, charts, shown
from middo_tui.widgets.round_grid import Grid, RoundGrid, most
from middo_tui.widgets.round_panels import TABS, Panel, RoundPanel, panel_lines
from middo_tui.widgets.tab_bar import TabBar, Tabs

BESIDE = frozenset({"scores", "time"})
"""Tabs whose rows leave room for curves beside them."""
PANEL = 82
"""Cells of such a tab's rows."""


class RoundsRead(Message):
    """There is more to show, or ``problem``: why there is not."""

    def __init__(self, view: RoundsView, problem: str = "") -> None:
        super().__init__()
        self.view = view
        self.problem = problem


class RoundsReading(Framed):
    """The table, a row of tabs, one of them; no keys."""

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view)
        self._reader = RoundsReader(project)
        self._rounds = RoundsView(reading=True)
        self._moved: object = None
        self._problem = ""
        self._chosen: int | None = None  # a round's number; None follows the newest
        self._left = 0
        self._tab = 0
        self._signal = 0
        self._before = False
        self._top = 0
        self._scale: AxisScale = "linear"
        self._cursor: int | None = None  # a part of a shape's range
        self._figure = 0  # charts that are scrolled away
        self._others: tuple[OtherProject, ...] = ()

    # ------------------------------------------------------------------------------- what is shown

    def body(self) -> ComposeResult:
        """Top to bottom."""
        yield RoundGrid(Grid(self._rounds))
        yield Divider()
        yield TabBar(Tabs(TABS))
        with Horizontal(id="below"):
            yield RoundPanel(self._panel())
            yield RoundCharts(self.figures(), id="charts")
        with Vertical(id="shapes"):
            for at in range(len(SIGNALS)):
                yield Histogram(Cutting(None, "above", "complexity"), id=f"shape-{at}")

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
        self._rounds, self._problem = message.view, message.problem
        self._paint()

    def on_resize(self, event: events.Resize) -> None:
        """Other columns fit."""
        self.call_after_refresh(self._paint)

    def _paint(self) -> None:
        width = self.size.width
        self._left = min(self._left, most(self._rounds, width))
        self.query_one(RoundGrid).show(Grid(self._rounds, self._at(), self._left))
        chosen = self.chosen
        self.query_one(TabBar).show(Tabs(TABS, self._tab, _words(chosen)))
        self._lay_out()
        self._top = max(0, min(self._top, self._length() - self._height()))
        self.query_one(RoundPanel).show(self._panel())
        for at, histogram in enumerate(self.query(Histogram)):
            signal = SIGNALS[(self._signal + at) % len(SIGNALS)]
            histogram.show(shape(self._rounds, chosen, signal, width, self._scale, self._cursor))
        self.query_one(RoundCharts).show(self.figures())
        self.state_changed()

    def _lay_out(self) -> None:
        """Widget by widget: a class of the whole screen would style and paint all of it anew."""
        width, height = self.size
        shapes, curves = self.tab == "shapes", self.tab == "curves"
        self.query_one("#below").display = not shapes
        self.query_one("#shapes").display = shapes
        self.query_one(RoundPanel).display = not curves
        charts = self.query_one(RoundCharts)
        charts.display = curves or (self.tab in BESIDE and width >= WIDE and height >= TALL)
        charts.styles.width = "1fr" if curves else width - PANEL
        room = 4 if height >= VAST else 2 if height >= TALL else 1
        for at, histogram in enumerate(self.query(Histogram)):
            histogram.display = shapes and at < room

    @property
    def reading(self) -> bool:
        """Nothing was read yet, nor is it known why not."""
        return self._rounds.reading

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

    def figures(self) -> RoundFigures:
        """The curves over the rounds."""
        chosen, look = self.chosen, ChartView(self._scale)
        name = self.view.project
        return RoundFigures(
            self._rounds, chosen.round if chosen else None, self.tab, name, self._others, self._figure, look
        )

    def _length(self) -> int:
        return len(panel_lines(self._panel(), self.query_one(RoundPanel).size.width or self.size.width))

    def _height(self) -> int:
        return self.query_one("#below").size.height or 1

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
            more=self.is_mounted and self.tab == "curves" and self._most_figures() > 0,
            overlaid=len(self._others),
        )

    def _most_figures(self) -> int:
        """How many charts can be scrolled away."""
        size, data = self.query_one(RoundCharts).size, self.figures()
        return max(0, len(charts(data)) - shown(data, size.width, size.height))

    def own_notice(self) -> Notice:
        """What to do where there is nothing to see yet."""
        if self._problem:
            return Notice(self._problem, "bad")
        if not self.reading and not self._rounds.rounds:
            start = f"Press {press('app.go-loop')}, then {press('loop.run')}, to start the first."
            return Notice(f"No rounds yet. {start}", "decide")
        drawn = self._others if self.tab in ("curves", *BESIDE) else ()
        if not drawn:
            return Notice("")
        names = (self.figures().name or "this project", *(other.name for other in drawn))
        said = ", ".join(f"{mark} {name}" for mark, name in zip(MARKS, names, strict=False))
        others = [mark for mark, other in zip(MARKS[1:], drawn, strict=False) if not other.same_questions]
        held = f" Other samples are held out in {', '.join(others)}: accuracy and held-out loss do not compare."
        return Notice(f"Lines: {said}.{held if others else ''}", "dim")


def _words(chosen: RoundDetail | None) -> str:
    """The state of the round, in words, for the end of the tab row."""
    if chosen is None:
        return ""
    kind = "final evaluation" if chosen.closing else f"round {chosen.round}"
    return f"{kind} · {chosen.state}" + (f" in {chosen.stage}" if chosen.stage else "")
