"""The names of what can be shown below, in one row; the one that is shown stands in brackets."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.widgets.lines import Line, Lines, Run, justified, width_of


class Tabs(Struct, frozen=True):
    """Names, the shown one, and a word at the right edge."""

    names: tuple[str, ...]
    at: int = 0
    aside: str = ""


class TabBar(Lines[Tabs]):
    """One row."""

    def draw(self, data: Tabs, width: int, height: int) -> list[Line]:
        """Names from left to right."""
        aside = (Run(f"{data.aside} ", "dim"),)
        roomy = sum(len(name) + 3 for name in data.names) + width_of(aside) < width
        runs = [_tab(name, at == data.at, roomy) for at, name in enumerate(data.names)]
        return [justified(tuple(runs), aside, width)]


def _tab(name: str, shown: bool, roomy: bool) -> Run:
    """Two cells wider where there is room for all and the word."""
    text = f"[{name}]" if shown else f" {name} " if roomy else f" {name}"
    return Run(f" {text}" if roomy or shown else text, "active-strong" if shown else "dim")
