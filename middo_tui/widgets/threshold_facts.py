"""What a cut selects, in figures: this axis beside the round before, what memory and cap take away, the overlaps."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run, width_of

LABEL = 14
NUMBER = 7


class SelectionFacts(Struct, frozen=True):
    """``selected`` of ``size`` samples on the axis of colour ``role``; ``beyond`` the cut before memory and cap.

    ``before``: selected and size of the round before, None when there is none. ``again``: beyond a cut, but tried
    before; ``capped``: rewrites over the cap; both over all axes. ``overlaps``: letters of two or three axes and how
    many samples they share. ``rewrites``: pending over all axes.
    """

    role: str
    size: int
    selected: int
    beyond: int
    rewrites: int
    round: int = 0
    before: tuple[int, int] | None = None
    again: int = 0
    capped: int = 0
    overlaps: tuple[tuple[str, int], ...] = ()


def share(part: int, whole: int) -> str:
    """``3.7 %``; what is there at all is never 0."""
    if not whole:
        return number_format.NONE
    percent = 100 * part / whole
    return f"{percent:.1f} %" if percent >= 0.1 or not part else "<0.1 %"


def threshold_facts(data: SelectionFacts, width: int) -> list[Line]:
    """A row per fact; what is nothing has no row."""
    rows = [
        _row("selected", data.selected, share(data.selected, data.size), data.role),
        _row("past threshold", data.beyond, share(data.beyond, data.size)),
    ]
    if data.before is not None:
        rows.append(_row(f"round {data.round - 1}", data.before[0], share(*data.before)))
    rows.append(())
    rows.append(_row("all axes", data.rewrites, "rewrite" if data.rewrites == 1 else "rewrites"))
    if data.again:
        rows.append(_row("already tried", data.again, "skipped"))
    if data.capped:
        rows.append(_row("over the cap", data.capped, "skipped"))
    return [*rows, (), *_overlaps(data.overlaps, width)]


def _row(label: str, value: int, more: str, role: str = "") -> Line:
    number = Run(f"{number_format.count(value):>{NUMBER}}", f"{role}-strong" if role else "")
    return (Run(f" {label:<{LABEL}}", "dim"), number, Run(f"  {more}", "" if role else "dim"))


def _overlaps(overlaps: tuple[tuple[str, int], ...], width: int) -> list[Line]:
    """``overlap  C∩D 12  D∩Q 40``, wrapped."""
    rows: list[Line] = []
    row: Line = (Run(" overlap", "dim"),)
    for letters, count in overlaps:
        more = (Run(f"  {'∩'.join(letters)} ", "dim"), Run(number_format.count(count)))
        if width_of((*row, *more)) > width:
            rows.append(row)
            row = (Run(" " * 8),)
        row = (*row, *more)
    return [*rows, row] if overlaps else rows


class ThresholdFacts(Lines[SelectionFacts | None]):
    """``threshold_facts`` as a widget; empty until there is something to say."""

    DEFAULT_CSS = """
    ThresholdFacts { height: 1fr; }
    """

    def draw(self, data: SelectionFacts | None, width: int, height: int) -> list[Line]:
        """As many rows as there is room for."""
        return [] if data is None else threshold_facts(data, width)[:height]
