"""The three axes in one row, with how many samples each selects; the one that is being cut stands in brackets."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.look.theme import LETTERS
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run, justified


class Axes(Struct, frozen=True):
    """``selected``: samples per axis in the order of ``theme.LETTERS``. ``on``: the axis that is cut."""

    on: str
    selected: tuple[int | None, ...] = (None, None, None)
    title: str = ""


def axes_bar(data: Axes, width: int) -> Line:
    """`` C complexity 4,011  [D diversity 1,902]  Q quality 3,204      round 2``."""
    runs: list[Run] = []
    for (axis, letter), count in zip(LETTERS.items(), data.selected, strict=True):
        on = axis == data.on
        name = f"{'[' if on else ' '}{letter} {axis} "
        runs += [
            Run(" "),
            Run(name, f"{axis}-strong" if on else axis),
            Run(number_format.count(count), "strong" if on else ""),
        ]
        runs.append(Run("]" if on else " ", f"{axis}-strong" if on else axis))
    return justified(tuple(runs), (Run(f"{data.title} ", "dim"),), width)


class AxesBar(Lines[Axes]):
    """``axes_bar`` as a widget, one row high."""

    def draw(self, data: Axes, width: int, height: int) -> list[Line]:
        """One row."""
        return [axes_bar(data, width)]
