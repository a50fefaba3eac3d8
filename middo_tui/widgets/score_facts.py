"""What the newest measured round brought, task by task against the round before, and what the teacher took so far."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.feed.loop_notice import says_teacher
from middo_tui.feed.view import LoopView
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.score_changes import ScoreChange
from middo_tui.text.score_format import MAIN_TASKS, SHORT, WORSE, amount, error, figure, mark, scale
from middo_tui.widgets.lines import Line, Lines, Run, justified

CHANGE, WITH_ERROR = 10, 16
"""Cells of the change and its sign, and of both with the change's standard error."""


class RoundScores(Struct, frozen=True):
    """``round``: whose ``scores`` they are, None before the first were measured. The teacher's tokens and cost are of
    all rounds together.
    """

    round: int | None = None
    scores: tuple[ScoreChange, ...] = ()
    tokens: int = 0
    cost: float = 0.0

    @classmethod
    def of(cls, view: LoopView) -> RoundScores:
        """From the rounds of a view; without the teacher while the notice speaks of it."""
        spent = [] if says_teacher(view) else view.table
        tokens, cost = sum(row.tokens for row in spent), sum(row.cost for row in spent)
        newest = next((row for row in reversed(view.table) if row.scores), None)
        return cls(None, (), tokens, cost) if newest is None else cls(newest.round, newest.scores, tokens, cost)


def score_facts(data: RoundScores, width: int) -> list[Line]:
    """A title, a row per task (the main ones first), and the teacher."""
    rows: list[Line] = []
    if data.scores:
        rows.append((Run(f"scores of round {data.round}", "dim"),))
        order = {task: at for at, task in enumerate(MAIN_TASKS)}
        scores = sorted(data.scores, key=lambda one: (order.get(one.task, 9), one.task))
        roomy = all(len(_name(one)) + len(figure(one)) + WITH_ERROR < width for one in scores)
        rows += [_row(one, width, WITH_ERROR if roomy else CHANGE) for one in scores]
    if data.tokens:
        cost = f"  {number_format.money(data.cost)}" if data.cost else ""
        took = Run(f"{number_format.short(data.tokens)} tokens{cost}")
        rows.append(justified((Run("teacher", "dim"),), (took,), width))
    return rows


def _name(one: ScoreChange) -> str:
    return f"{SHORT.get(one.task, one.task)}{' %' if scale(one) > 1 else ''}"


def _row(one: ScoreChange, width: int, cells: int) -> Line:
    """``accuracy %   39.7   +0.8 ±0.5 ▲``; without the error where a task's name needs the room."""
    sign, value = mark(one), figure(one)
    shown = "" if cells == CHANGE else error(one, one.combined)
    change = f"{amount(one, one.change)}{shown} {sign or ' '}" if one.change is not None else ""
    role = "error" if sign == WORSE else "" if sign else "dim"
    numbers = (Run(value), Run(f"{change:>{cells}}", role))
    room = max(0, width - len(value) - cells - 1)
    return justified((Run(guard.fit(_name(one), room).rstrip(), "dim"),), numbers, width)


class ScoreFacts(Lines[RoundScores]):
    """``score_facts`` as a widget."""

    DEFAULT_CSS = """
    ScoreFacts { height: auto; }
    """

    def draw(self, data: RoundScores, width: int, height: int) -> list[Line]:
        """A row per fact."""
        return score_facts(data, width)
