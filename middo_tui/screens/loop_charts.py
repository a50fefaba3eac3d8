"""The Loop screen's charts and the keys that look at them: which figure is large, its axis, smoothing, zoom, cursor."""

from __future__ import annotations

from pathlib import Path

from middo_tui.feed.machine import PARTS, PARTS_PER_MINUTE
from middo_tui.feed.view import LoopView
from middo_tui.screens.frame import Framed
from middo_tui.widgets.chart_view import ChartView
from middo_tui.widgets.line_chart import Chart, LineChart
from middo_tui.widgets.small_multiples import MACHINE, Multiples, SmallMultiples, title_of

EMPTY_CHART = "no training step logged yet"
LOSS = "loss"
FAR = 10
"""Cells that the cursor goes at once."""


class LoopCharts(Framed):
    """One large chart, and small ones where there is room for them."""

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view)
        self._figure = LOSS
        self._steps = ChartView()
        self._minutes = ChartView()  # the machine's readings lie over time, not over steps

    def chart(self) -> Chart:
        """The large one."""
        found = next((one for one in self.view.series if one.name == self._figure), None)
        if found is None:
            return Chart(LOSS, self.view.curves, empty=EMPTY_CHART, view=self._steps)
        if found.name in MACHINE:
            title = title_of(found, self._live)
            return Chart(title, found.curves, "min", "", self._minutes, PARTS, PARTS_PER_MINUTE, bounds=(0.0, 100.0))
        return Chart(title_of(found), found.curves, view=self._steps)

    def small(self) -> Multiples:
        """The small ones."""
        return Multiples(self.view.series, self._steps, self._live)

    @property
    def _live(self) -> bool:
        """A worker takes readings of the machine."""
        return self.view.worker == "running"

    def paint_charts(self) -> None:
        """All of them."""
        self.query_one(LineChart).show(self.chart())
        self.query_one(SmallMultiples).show(self.small())

    def _look(self, view: ChartView) -> None:
        if self._figure in MACHINE:
            self._minutes = view
        else:
            self._steps = view
        self.paint_charts()

    def action_figure(self) -> None:
        """Another figure in the large chart."""
        names = [LOSS, *(one.name for one in self.view.series)]
        at = names.index(self._figure) if self._figure in names else 0
        self._figure = names[(at + 1) % len(names)]
        self._look(self.chart().view)

    def action_log_axis(self) -> None:
        """A linear, logarithmic or square-root axis."""
        self._look(self.chart().view.rescaled())

    def action_smooth(self) -> None:
        """Another smoothing of the curves."""
        self._look(self.chart().view.smoothed())

    def action_zoom_in(self) -> None:
        """Half as many steps."""
        self._look(self.chart().zoomed(1))

    def action_zoom_out(self) -> None:
        """Twice as many."""
        self._look(self.chart().zoomed(-1))

    def action_whole(self) -> None:
        """All steps, and no cursor."""
        self._look(self.chart().view.whole())

    def _move(self, cells: int) -> None:
        self._look(self.chart().moved(cells, self.query_one(LineChart).size.width))

    def action_left(self) -> None:
        """The cursor, a cell back."""
        self._move(-1)

    def action_right(self) -> None:
        """A cell on."""
        self._move(1)

    def action_far_left(self) -> None:
        """Ten cells back."""
        self._move(-FAR)

    def action_far_right(self) -> None:
        """Ten cells on."""
        self._move(FAR)
