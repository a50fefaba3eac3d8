"""The stages of the round in one row: name and mark, so that colour is never the only sign."""

from __future__ import annotations

from middo_tui.feed.view import MARKS, StageView
from middo_tui.widgets.lines import Line, Lines, Run, width_of

ROLE = {
    "pending": "dim",
    "running": "active-strong",
    "failed": "bad",
    "waiting": "decide",
    "paused": "strong",
    "interrupted": "strong",
    "cancelled": "strong",
    "stale": "strong",
}
SHORT = 4


def stage_strip(stages: tuple[StageView, ...], width: int) -> Line:
    """The roomiest form that fits: spaced, then name and mark together, then short names."""
    line: Line = ()
    for gap, between, letters in ((" ", "  ", 99), ("", "  ", 99), ("", " ", 99), ("", " ", SHORT)):
        line = _strip(stages, gap, between, letters)
        if width_of(line) <= width:
            break
    return line


def _strip(stages: tuple[StageView, ...], gap: str, between: str, letters: int) -> Line:
    runs: list[Run] = []
    for at, stage in enumerate(stages):
        percent = f"{stage.share:.0%}" if stage.state == "running" and stage.total else ""
        separator = between if at else " "
        role = ROLE.get(stage.state, "")
        if stage.state == "done":
            runs.append(Run(f"{separator}{stage.name[:letters]}{gap}{MARKS['done']}", "dim"))
        else:
            mark = MARKS.get(stage.state, "?")
            runs += [Run(separator), Run(f"{stage.name[:letters]}{gap}{mark}{gap if percent else ''}{percent}", role)]
    return tuple(runs)


class StageStrip(Lines[tuple[StageView, ...]]):
    """``stage_strip`` as a widget, one row high."""

    def draw(self, data: tuple[StageView, ...], width: int, height: int) -> list[Line]:
        """One row."""
        return [stage_strip(data, width)]
