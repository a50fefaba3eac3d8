"""What rewriting the selection will take of the teacher, and what is left of the round's budget."""

from __future__ import annotations

from msgspec import Struct

from engine.plurals import counted
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run, width_of


class Takes(Struct, frozen=True):
    """Projected over all axes. ``cap_tokens``, ``cap_cost``: the round's budget (0: none). ``basis``: whence it is."""

    calls: int
    tokens: int
    cost: float
    cap_tokens: int = 0
    cap_cost: float = 0.0
    basis: str = ""


def teacher_line(data: Takes, width: int) -> Line:
    """`` teacher  6,120 calls ≈ 4.9M tokens ≈ $2.40   budget left $17.60   estimated from the samples' lengths``."""
    amount = f"{counted(data.calls, 'call')} ≈ {number_format.short(data.tokens)} tokens"
    if data.cost or data.cap_cost:
        amount += f" ≈ {number_format.money(data.cost)}"
    runs: Line = (Run(" teacher  ", "dim"), Run(amount))
    for more in (_budget(data), Run(f"   {data.basis}", "dim")):
        if more.text.strip() and width_of((*runs, more)) < width:
            runs = (*runs, more)
    return runs


def _budget(data: Takes) -> Run:
    left: list[str] = []
    over: list[str] = []
    if data.cap_cost:
        rest = data.cap_cost - data.cost
        (left if rest >= 0 else over).append(number_format.money(abs(rest)))
    if data.cap_tokens:
        rest = data.cap_tokens - data.tokens
        (left if rest >= 0 else over).append(f"{number_format.short(abs(rest))} tokens")
    if over:
        return Run(f"   over budget by {', '.join(over)}", "bad")
    return Run(f"   budget left {', '.join(left)}" if left else "", "dim")


class TeacherLine(Lines[Takes | None]):
    """``teacher_line`` as a widget, one row high; empty until there is something to say."""

    def draw(self, data: Takes | None, width: int, height: int) -> list[Line]:
        """One row."""
        return [] if data is None else [teacher_line(data, width)]
