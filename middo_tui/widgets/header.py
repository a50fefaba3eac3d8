"""The first row: which project, which round, and whose turn it is. States are words, not only colours."""

from __future__ import annotations

from middo_tui.feed.turn import label
from middo_tui.feed.view import LoopView
from middo_tui.terminal import guard
from middo_tui.widgets.lines import Line, Lines, Run, justified, width_of
from middo_tui.widgets.link_gauge import LinkState, link_gauge


def header(view: LoopView, link: LinkState, width: int) -> Line:
    """`` middo  project · model   round 1 (2/3)   ● running``; names give way when it is narrow."""
    state, role = label(view)
    right = (Run(_round(view)), Run(f"   {state} ", role), *link_gauge(link))
    left = Run(" middo  ", "active-strong")
    names = view.project + (f" · {view.model}" if view.model else "")
    room = max(0, width - width_of((left, *right)) - 2)
    return justified((left, Run(guard.fit(names, room).rstrip(), "strong")), right, width)


def _round(view: LoopView) -> str:
    if view.round is None:
        return ""
    return "final evaluation" if view.closing else f"round {view.round} ({view.round + 1}/{view.rounds})"


class Header(Lines[tuple[LoopView, LinkState]]):
    """``header`` as a widget, one row high."""

    def draw(self, data: tuple[LoopView, LinkState], width: int, height: int) -> list[Line]:
        """One row."""
        return [header(*data, width)]
