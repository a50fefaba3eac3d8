"""The names of what can be shown below, in one row; the one that is shown stands in brackets."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.widgets.lines import Line, Lines, Run, justified


class Tabs(Struct, frozen=True):
    """Names, the shown one, and a word at the right edge."""

    names: tuple[str, ...]
    at: int = 0
    aside: str = ""


class TabBar(Lines[Tabs]):
    """One row."""

    def draw(self, data: Tabs, width: int, height: int) -> list[Line]:
        """Names from left to right."""
        runs = [
            Run(f" [{name}]" if at == data.at else f"  {name} ", "active-strong" if at == data.at else "dim")
            for at, name in enumerate(data.names)
        ]
        return [justified(tuple(runs), (Run(f"{data.aside} ", "dim"),), width)]
