"""Columns of a table: how wide each is, and a row as runs of one style."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from middo_tui.look.theme import ROLES
from middo_tui.terminal import guard

R = TypeVar("R")


class Column(Struct, Generic[R], frozen=True):
    """A column: ``width`` cells without the gap on its left, 0 for one that takes what is left.

    ``text`` is clean (see ``guard``). ``role`` (a key of ``theme.ROLES``) colours a cell; leave it out where it can be:
    every coloured cell costs some thirty bytes.
    """

    title: str
    width: int
    text: Callable[[R], str]
    role: Callable[[R], str] | None = None
    right: bool = False
    title_role: str = "dim"


def widths(columns: Sequence[Column[Any]], width: int) -> list[int]:
    """The cells of every column: what is left goes to the one of width 0."""
    fixed = sum(column.width for column in columns) + len(columns) - 1
    return [column.width or max(1, width - fixed) for column in columns]


def cells(row: R, columns: Sequence[Column[R]], width: int, signs: str = "") -> list[tuple[str, str]]:
    """``signs`` and a row in ``width`` cells as (text, role) runs: neighbours of one role are one run, gaps of none."""
    pieces: list[tuple[str, str]] = []
    for column, wide in zip(columns, widths(columns, width), strict=True):
        role = column.role(row) if column.role is not None else ""
        pieces += [(" ", ""), (guard.fit(column.text(row), wide, right=column.right), role)]
    out: list[tuple[str, str]] = [(signs, "")] if signs else []
    for text, role in pieces[1:]:
        if out and out[-1][1] == role:
            out[-1] = (out[-1][0] + text, role)
        else:
            out.append((text, role))
    return out


def header(columns: Sequence[Column[Any]], width: int, base: Style) -> Strip:
    """The titles, over rows of ``width`` cells that begin with two signs."""
    segments, lead = [], "  "
    for column, wide in zip(columns, widths(columns, width - 2), strict=True):
        title = guard.fit(column.title, wide, right=column.right)
        segments.append(Segment(lead + title, base + ROLES[column.title_role]))
        lead = " "
    return Strip(segments).adjust_cell_length(width, base)
