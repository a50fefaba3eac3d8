"""How far the current stage is: name, bar, counts, rate and time left, in one row."""

from __future__ import annotations

from middo_tui.feed.view import StageView
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run, width_of

NAME_WIDTH = 9
LEAST_BAR = 8
STARTING = "starting: loading libraries"


def bar(share: float, width: int, role: str) -> Line:
    """A thin bar of ``width`` cells; the heavy part is done (told apart by shape, not by colour alone)."""
    full = min(width, int(share * width + 1e-9))
    return Run("━" * full, role), Run("─" * (width - full), "faint")


def progress_line(stage: StageView | None, width: int) -> Line:
    """The row for ``stage``; without counts there is no bar, and what is not known is left out."""
    if stage is None:
        return ()
    name = Run(f" {stage.name:<{NAME_WIDTH}}", "strong")
    if not stage.total:
        began = f"started at {number_format.clock(stage.started_at, seconds=True)}" if stage.started_at else "starting"
        words = {"running": began, "pending": "next", "starting": STARTING}
        return name, Run(guard.fit(words.get(stage.state, stage.state), width - NAME_WIDTH - 2).rstrip(), "dim")
    running = stage.state == "running"
    figures_ = [f"{number_format.count(stage.done)} / {number_format.count(stage.total)}", f"{stage.share:4.0%}"]
    if running and stage.rate:
        figures_.append(number_format.rate(stage.rate))
    elif running and stage.started_at and stage.done < stage.total:  # the first batch or step of a large model: minutes
        figures_.append(f"since {number_format.clock(stage.started_at, seconds=True)}")
    elif stage.state == "starting":
        figures_.append("starting")
    if running and (left := stage.left_s) is not None:
        figures_.append(f"{number_format.duration(left)} left")
    while len(figures_) > 1 and width < width_of((name,)) + LEAST_BAR + _room(figures_):
        figures_.pop()
    tail = tuple(Run(f"  {text}") for text in figures_)
    room = max(0, width - width_of((name, *tail)) - 1)
    return (name, *bar(stage.share, min(room, 60), "active" if running else "dim"), *tail)


def _room(texts: list[str]) -> int:
    return sum(2 + len(text) for text in texts) + 1


class ProgressLine(Lines[StageView | None]):
    """``progress_line`` as a widget, one row high."""

    def draw(self, data: StageView | None, width: int, height: int) -> list[Line]:
        """One row."""
        return [progress_line(data, width)]
