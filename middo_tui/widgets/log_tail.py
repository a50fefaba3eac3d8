"""The newest events, newest first, one row each: cut, never wrapped, so that nothing below moves."""

from __future__ import annotations

from middo_tui.feed.view import LogLine
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run

STAGE_WIDTH = 8
LEVEL_ROLES = {"error": "error", "warning": "warn"}


def log_tail(log: tuple[LogLine, ...], width: int, height: int) -> list[Line]:
    """At most ``height`` rows; ``log`` is newest first."""
    room = max(0, width - 11 - STAGE_WIDTH - 1)
    return [
        (
            Run(f" {number_format.clock(line.at, seconds=True)} {guard.fit(line.stage, STAGE_WIDTH)} ", "dim"),
            Run(guard.fit(_marked(line), room).rstrip(), LEVEL_ROLES.get(line.level, "")),
        )
        for line in log[:height]
    ]


def _marked(line: LogLine) -> str:
    """Levels by sign too, not by colour alone."""
    return {"error": "✘ ", "warning": "! "}.get(line.level, "") + line.text


class LogTail(Lines[tuple[LogLine, ...]]):
    """``log_tail`` as a widget; shows what fits."""

    def draw(self, data: tuple[LogLine, ...], width: int, height: int) -> list[Line]:
        """The newest rows."""
        return log_tail(data, width, height)
