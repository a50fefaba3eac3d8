"""One row per round with a cursor; what does not fit in the width is a few columns further right.

The Loop screen's table shows where a run is going; this one has everything, also every evaluation task.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from middo_tui.feed.rounds import RoundDetail, RoundsView
from middo_tui.feed.view import MARKS
from middo_tui.look.theme import LETTERS
from middo_tui.text import number_format
from middo_tui.text.score_format import MAIN_TASKS, SHORT, amount, error, figure, mark, scale
from middo_tui.widgets.lines import Line, Lines, Run

FIXED = 9
SIGNALS = (
    ("base loss", "loss_before"),
    ("tuned loss", "loss_after"),
    ("quality", "quality"),
    ("similarity", "similarity"),
)


class Grid(Struct, frozen=True):
    """All rounds; ``at``: the row of the cursor; ``first``: how many columns are scrolled away."""

    view: RoundsView
    at: int = 0
    first: int = 0


class GridColumn(Struct, frozen=True):
    """A column: its width includes the gap on its left; ``role`` colours its title."""

    title: str
    width: int
    value: Callable[[RoundDetail, RoundsView], str]
    role: str = "dim"


def tasks(view: RoundsView) -> list[str]:
    """Every task that any round has, the main ones first; one figure each, the scores tab has the others."""
    found = {score.task for one in view.rounds for score in one.scores if score.main}
    return [*(name for name in MAIN_TASKS if name in found), *sorted(found - set(MAIN_TASKS))]


def columns(view: RoundsView) -> list[GridColumn]:
    """All there are, left to right."""
    out = [GridColumn("size", 9, lambda row, _: number_format.count(row.size))]
    for at, (axis, letter) in enumerate(LETTERS.items()):
        out.append(GridColumn(f"{letter} sel", 7, lambda row, _, at=at: _selected(row, at), axis))  # type: ignore[misc]
    out.append(GridColumn("accepted", 10, lambda row, _: _counted(row, "accepted")))
    out.append(GridColumn("accept %", 10, lambda row, _: _gain(row)))
    for task in tasks(view):
        title = SHORT.get(task, task)
        share = any((one := row.score(task)) and scale(one) > 1 for row in view.rounds)
        name = f"{title} %" if share else title
        out.append(GridColumn(name, max(14, len(name) + 2), lambda row, _, t=task: _score(row, t)))  # type: ignore[misc]
        out.append(GridColumn("change", 9, lambda row, _, t=task: _change(row, t)))  # type: ignore[misc]
    for title, signal in SIGNALS:
        out.append(GridColumn(title, len(title) + 2, lambda row, all_, s=signal: _mean(all_, row, s)))  # type: ignore[misc]
    for at, (axis, letter) in enumerate(LETTERS.items()):
        out.append(GridColumn(f"{letter} acc", 7, lambda row, _, at=at: _accepted(row, at), axis))  # type: ignore[misc]
    out.append(GridColumn("rejected", 10, lambda row, _: _counted(row, "rejected")))
    out.append(GridColumn("failed", 8, lambda row, _: _counted(row, "failed")))
    out.append(GridColumn("clusters", 10, lambda row, _: _clusters(row)))
    out.append(
        GridColumn(
            "time",
            12,
            lambda row, _: number_format.NONE if row.seconds is None else number_format.duration(row.seconds),
        )
    )
    out.append(GridColumn("calls", 8, lambda row, _: "" if row.closing else number_format.count(row.teacher.calls)))
    out.append(GridColumn("tokens", 8, lambda row, _: _tokens(row)))
    out.append(GridColumn("cost", 9, lambda row, _: "" if row.closing else number_format.money(row.teacher.cost)))
    return out


def _selected(row: RoundDetail, at: int) -> str:
    if row.closing:
        return ""
    return number_format.count(row.axes[at].selected) if row.selected() else number_format.NONE


def _accepted(row: RoundDetail, at: int) -> str:
    if row.closing:
        return ""
    return number_format.count(row.axes[at].accepted) if row.total("rewritten") else number_format.NONE


def _counted(row: RoundDetail, name: str) -> str:
    if row.closing:
        return ""
    return number_format.count(row.total(name)) if row.total("rewritten") or row.total("failed") else number_format.NONE


def _gain(row: RoundDetail) -> str:
    if row.closing:
        return ""
    return number_format.NONE if row.gain is None else f"{row.gain:.0%}"


def _score(row: RoundDetail, task: str) -> str:
    if (one := row.score(task)) is None:
        return number_format.NONE
    return figure(one) + error(one, one.stderr)


def _change(row: RoundDetail, task: str) -> str:
    one = row.score(task)
    return "" if one is None or one.change is None else f"{amount(one, one.change)} {mark(one)}".rstrip()


def _mean(view: RoundsView, row: RoundDetail, signal: str) -> str:
    shape = view.shape(row.round, signal)
    return ("" if row.closing else number_format.NONE) if shape is None else f"{shape.mean:.2f}"


def _clusters(row: RoundDetail) -> str:
    if not row.clusters:
        return "" if row.closing else number_format.NONE
    return number_format.count(sum(one.size > 0 for one in row.clusters))


def _tokens(row: RoundDetail) -> str:
    return "" if row.closing else number_format.short(row.teacher.tokens_in + row.teacher.tokens_out)


def fitting(all_: list[GridColumn], first: int, width: int) -> list[GridColumn]:
    """The columns from ``first`` on that fit beside the fixed ones; at least one. Two cells stay for the ``›``."""
    room = width - FIXED - 2
    out: list[GridColumn] = []
    for column in all_[first:]:
        if out and column.width > room:
            break
        room -= column.width
        out.append(column)
    return out


def most(view: RoundsView, width: int) -> int:
    """How many columns can be scrolled away before the last one is shown."""
    all_ = columns(view)
    return next((first for first in range(len(all_)) if first + len(fitting(all_, first, width)) == len(all_)), 0)


def grid_lines(grid: Grid, width: int, height: int) -> list[Line]:
    """Titles and the rounds around the cursor that fit in ``height`` rows (0: all)."""
    rows = grid.view.rounds
    if not rows:
        return [(Run(" reading the rounds …" if grid.view.reading else " no rounds yet", "dim"),)]
    all_ = columns(grid.view)
    shown = fitting(all_, grid.first, width)
    more = grid.first + len(shown) < len(all_)
    title = Run(f"{'‹' if grid.first else ' '}{'round':>6}  ", "dim")
    head = (title, *(Run(f"{c.title:>{c.width}}", c.role) for c in shown), Run(" ›" if more else "  ", "dim"))
    room = height - 1 if height > 1 else len(rows)
    top = max(0, min(grid.at - room // 2, len(rows) - room))
    return [head, *(_row(row, grid, shown, at, width) for at, row in enumerate(rows) if top <= at < top + room)]


def _row(row: RoundDetail, grid: Grid, shown: list[GridColumn], at: int, width: int) -> Line:
    chosen = at == grid.at
    state = MARKS.get(row.state, "?") if row.state != "pending" else MARKS["pending"]
    text = f" {'▸' if chosen else ' '}{row.round:>5} {state}"
    text += "".join(f"{column.value(row, grid.view):>{column.width}}" for column in shown)
    return (Run(text.ljust(width) if chosen else text, "cursor" if chosen else ""),)


class RoundGrid(Lines[Grid]):
    """``grid_lines`` as a widget, as high as it has rounds up to its maximum."""

    DEFAULT_CSS = """
    RoundGrid { height: auto; max-height: 6; }
    """

    def draw(self, data: Grid, width: int, height: int) -> list[Line]:
        """Titles and rows."""
        return grid_lines(data, width, height)
