"""One row per round, plain right-aligned text: what was selected, what was taken, what it brought, what it cost."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from middo_tui.feed.view import RoundView
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run

AXIS_ROLES = ("complexity", "diversity", "quality")
LETTERS = "CDQ"
WIDE = 100


class RoundColumn(Struct, frozen=True):
    """A column of the table: its width includes the gap on its left."""

    title: str
    width: int
    value: Callable[[RoundView], str]
    role: str = ""


def _axis(counts: tuple[int, int, int] | None, axis: int, closing: bool) -> str:
    if counts is None:
        return "" if closing else number_format.NONE
    return number_format.count(counts[axis])


def score(row: RoundView) -> str:
    """With its standard error, shares in per cent: ``35.6 ±1.3``."""
    if row.score is None:
        return number_format.NONE
    scale = 100 if abs(row.score) <= 1 else 1
    error = "" if row.stderr is None else f" ±{row.stderr * scale:.1f}"
    return f"{row.score * scale:.1f}{error}"


def teacher(row: RoundView) -> str:
    """Tokens, and dollars where the teacher has a price."""
    if not row.tokens:
        return "" if row.closing else number_format.NONE
    return number_format.short(row.tokens) + (f" {number_format.money(row.cost)}" if row.cost else "")


def _accepted(row: RoundView) -> str:
    if row.accepted is None:
        return "" if row.closing else number_format.NONE
    return number_format.count(sum(row.accepted))


def table_columns(width: int, task: str = "accuracy") -> tuple[RoundColumn, ...]:
    """The columns for a screen of ``width`` cells; from ``WIDE`` on, what was accepted is split by axis too. ``task``:
    the one whose figure is shown.
    """
    split = width >= WIDE
    selected = tuple(
        RoundColumn(f"{LETTERS[i]} sel", 7, lambda row, i=i: _axis(row.selected, i, row.closing), AXIS_ROLES[i])  # type: ignore[misc]
        for i in range(3)
    )
    taken = tuple(
        RoundColumn(f"{LETTERS[i]} acc", 7, lambda row, i=i: _axis(row.accepted, i, row.closing), AXIS_ROLES[i])  # type: ignore[misc]
        for i in range(3)
    )
    return (
        RoundColumn("round", 6, lambda row: str(row.round)),
        RoundColumn("size", 9, lambda row: number_format.count(row.size)),
        *selected,
        *(taken if split else (RoundColumn("accepted", 10, _accepted),)),
        RoundColumn("heldout", 9, lambda row: number_format.fixed(row.heldout_loss, 3)),
        RoundColumn(
            guard.fit(task, 10).strip(), 11, lambda row: score(row) if row.task == task else number_format.NONE
        ),
        RoundColumn("teacher", 13 if not split else 15, teacher),
    )


def rounds_table(rows: tuple[RoundView, ...], width: int, height: int = 0) -> list[Line]:
    """Header and the newest rounds that fit in ``height`` rows (0: all)."""
    columns = table_columns(width, next((row.task for row in reversed(rows) if row.task), "accuracy"))
    header = tuple(Run(f"{column.title:>{column.width}}", column.role or "dim") for column in columns)
    shown = rows[-(height - 1) :] if height > 1 else rows
    last = rows[-1].round if rows else 0
    return [header, *(_row(row, columns, row.round == last) for row in shown)]


def _row(row: RoundView, columns: tuple[RoundColumn, ...], newest: bool) -> Line:
    role = "" if newest else "dim"
    return tuple(Run(f"{column.value(row):>{column.width}}", role) for column in columns)


class RoundsTable(Lines[tuple[RoundView, ...]]):
    """``rounds_table`` as a widget, as high as it has rounds up to its maximum."""

    DEFAULT_CSS = """
    RoundsTable { height: auto; }
    """

    def draw(self, data: tuple[RoundView, ...], width: int, height: int) -> list[Line]:
        """Header and rows."""
        return rounds_table(data, width, height)
