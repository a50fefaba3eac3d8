"""Curves over the rounds: scores, what was selected and accepted by axis, signals, teacher, time. Pure functions.

The chosen round is the cursor: its values stand in each legend. Other projects are laid over this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from middo_tui.feed.distributions import SIGNALS
from middo_tui.feed.overlay import OtherProject
from middo_tui.feed.rounds import RoundDetail, RoundsView
from middo_tui.feed.view import Curve
from middo_tui.look.theme import LETTERS
from middo_tui.text import number_format
from middo_tui.text.score_format import SHORT, scale
from middo_tui.widgets.chart_view import ChartView
from middo_tui.widgets.line_chart import Chart, line_chart
from middo_tui.widgets.lines import Line, Lines, Run, beside
from middo_tui.widgets.round_grid import tasks
from middo_tui.widgets.round_panels import NAMES

LEAST_WIDTH, LEAST_HEIGHT = 38, 7
MOST_ACROSS = 4
GAP = 1
NAME, CELL = 11, 9
"""Cells of a stage's name and of a round in the table of stages."""
MARKS = ("a", "b", "c", "d")
"""What stands at the end of a project's curve; this one's is the first."""

Value = Callable[[RoundDetail], tuple[float, float] | None]
"""A figure of a round and its standard error; None: it has none."""


class RoundFigures(Struct, frozen=True):
    """``tab``: what the room is for. ``first``: charts that are scrolled away; ``view``: axis of the charts."""

    view: RoundsView
    chosen: int | None = None
    tab: str = "curves"
    name: str = ""
    others: tuple[OtherProject, ...] = ()
    first: int = 0
    look: ChartView = ChartView()


def charts(data: RoundFigures) -> list[Chart]:
    """All there are, the most important first; on the other tabs those that belong beside them."""
    scores = [_projects(data, _title(data.view, task), _score(task), task) for task in tasks(data.view)]
    counts = [_by_axis(data, name) for name in ("selected", "accepted")]
    time = [
        _projects(data, "minutes", lambda row: None if row.seconds is None else (row.seconds / 60, 0.0)),
        _projects(data, "teacher tokens", _asked(lambda row: row.teacher.tokens_in + row.teacher.tokens_out)),
        _projects(data, "teacher $", _asked(lambda row: row.teacher.cost)),
    ]
    signals = [_signal(data, name) for name in SIGNALS]
    found = {"scores": [*scores, *counts], "time": time}.get(data.tab, [*scores, *counts, *signals, *time])
    return [chart for chart in found if any(curve.points for curve in chart.curves)]


def _title(view: RoundsView, task: str) -> str:
    percent = any((one := row.score(task)) and scale(one) > 1 for row in view.rounds)
    return f"{SHORT.get(task, task)}{' %' if percent else ''}"


def _score(task: str) -> Value:
    def value(row: RoundDetail) -> tuple[float, float] | None:
        one = row.score(task)
        return None if one is None else (one.value * scale(one), (one.stderr or 0.0) * scale(one))

    return value


def _asked(figure: Callable[[RoundDetail], float]) -> Value:
    """Only of rounds in which the teacher was asked and took anything: a local one costs nothing."""
    return lambda row: (float(figure(row)), 0.0) if row.teacher.calls and figure(row) else None


def _points(rows: Iterable[RoundDetail], value: Value) -> tuple[tuple[int, float, float], ...]:
    found = ((row.round, value(row)) for row in rows)
    return tuple((at, one[0] - one[1], one[0] + one[1]) for at, one in found if one is not None)


def _chart(data: RoundFigures, title: str, curves: Sequence[Curve], roles: tuple[str, ...] = ()) -> Chart:
    last = max((row.round for rows in _all(data) for row in rows), default=0)
    curves = [Curve(one.round, one.points, last, one.name, one.mark) for one in curves]
    look = ChartView(data.look.scale, cursor=data.chosen)
    return Chart(title, tuple(curves), "round", view=look, roles=roles)


def _all(data: RoundFigures) -> list[tuple[RoundDetail, ...]]:
    return [data.view.rounds, *(other.rounds for other in data.others)]


def _projects(data: RoundFigures, title: str, value: Value, task: str = "") -> Chart:
    """A curve per project."""
    curves = [Curve(0, _points(data.view.rounds, value), 0, data.name or "this project", MARKS[0])]
    for other, mark in zip(data.others, MARKS[1:], strict=False):
        name = other.name if other.comparable(task) else f"{other.name} (asked otherwise)"
        curves.append(Curve(0, _points(other.rounds, value), 0, name, mark))
    return _chart(data, title, curves)


def _by_axis(data: RoundFigures, name: str) -> Chart:
    """A curve per axis; with other projects the total of each."""
    if data.others:
        return _projects(data, name, lambda row: (float(row.total(name)), 0.0) if _began(row, name) else None)
    curves = []
    for at, (axis, letter) in enumerate(LETTERS.items()):

        def value(row: RoundDetail, at: int = at) -> tuple[float, float] | None:
            return (float(getattr(row.axes[at], name)), 0.0) if _began(row, name) else None

        curves.append(Curve(at, _points(data.view.rounds, value), 0, axis, letter))
    return _chart(data, name, curves, tuple(LETTERS))


def _began(row: RoundDetail, name: str) -> bool:
    return not row.closing and (row.selected() if name == "selected" else row.total("rewritten") > 0)


def _signal(data: RoundFigures, name: str) -> Chart:
    """A signal's mean over the dataset; of this project only."""

    def value(row: RoundDetail) -> tuple[float, float] | None:
        shape = data.view.shape(row.round, name)
        return None if shape is None else (shape.mean, 0.0)

    title = f"mean {'tuned loss' if name == 'loss_after' else NAMES[name]}"
    return _chart(data, title, [Curve(0, _points(data.view.rounds, value), 0, "this project", MARKS[0])])


def stage_table(view: RoundsView, chosen: int | None, width: int) -> list[Line]:
    """Seconds per stage, a column for each of the newest rounds that fit."""
    rounds = view.rounds[-max(1, (width - NAME - 1) // CELL) :]
    names = list(dict.fromkeys(stage.name for row in rounds for stage in row.stages))
    if not any(row.seconds for row in rounds):
        return []
    rows: list[Line] = [(Run(" time per stage", "strong"),)]
    rows.append((Run(f" {'round':<{NAME}}", "dim"), *(_cell(str(row.round), row, chosen) for row in rounds)))
    for name in names:
        took = {row.round: stage.seconds for row in rounds for stage in row.stages if stage.name == name}
        rows.append((Run(f" {name:<{NAME}}", "dim"), *(_cell(_took(took.get(r.round)), r, chosen) for r in rounds)))
    total = [_cell(_took(row.seconds), row, chosen) for row in rounds]
    return [*rows, (Run(f" {'total':<{NAME}}", "strong"), *total), ()]


def _cell(text: str, row: RoundDetail, chosen: int | None) -> Run:
    return Run(f"{text:>{CELL}}", "strong" if row.round == chosen else "")


def _took(seconds: float | None) -> str:
    return number_format.NONE if seconds is None else number_format.duration(seconds).replace(" min", "m")


def grid(count: int, width: int, height: int) -> tuple[int, int]:
    """Columns and rows of charts: as many as can be read."""
    across = max(1, min(MOST_ACROSS, count, (width + GAP) // (LEAST_WIDTH + GAP)))
    return across, max(1, min(math.ceil(count / across), height // LEAST_HEIGHT))


def shown(data: RoundFigures, width: int, height: int) -> int:
    """How many charts fit at once."""
    across, down = grid(len(charts(data)), width, height)
    return across * down


def round_charts(data: RoundFigures, width: int, height: int) -> list[Line]:
    """The table of stages where time is what it is about, and as many charts as fit from the first on."""
    rows = stage_table(data.view, data.chosen, width) if data.tab == "time" else []
    found = charts(data)
    if not found and data.view.reading:
        return []
    if not found:
        return rows or [(Run(" nothing to draw yet: the first round has not been measured", "dim"),)]
    across, down = grid(len(found), width, height - len(rows))
    each = (width - GAP * (across - 1)) // across
    tall, more = divmod(height - len(rows), down)
    for line in range(down):
        begin = data.first + line * across
        high = tall + (line < more) - (1 if line < down - 1 else 0)
        drawn = [line_chart(chart, each, high) for chart in found[begin : begin + across]]
        rows += [*beside(drawn, each, high, GAP), *([()] if line < down - 1 else [])]
    return rows


class RoundCharts(Lines[RoundFigures]):
    """``round_charts`` as a widget; fills what it is given."""

    DEFAULT_CSS = """
    RoundCharts { height: 1fr; }
    """

    def draw(self, data: RoundFigures, width: int, height: int) -> list[Line]:
        """A grid of charts."""
        return round_charts(data, width, height)
