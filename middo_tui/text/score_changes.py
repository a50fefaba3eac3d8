"""Changes of evaluation scores from the round before, and whether they are beyond chance.

Apart from the screens, so that ``status --json`` can say the same without loading them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import Struct

from engine.store.rows import EvalScore

Scores = Mapping[str, EvalScore]
"""A round's figures by task."""
CHANCE = 2.0
"""Standard errors of a change that chance alone rarely exceeds (in one case of twenty)."""


class ScoreChange(Struct, frozen=True):
    """One task's figure. ``change``: over the round before, None without one. ``combined``: its standard error, of the
    differences item by item (``paired``), else the root of both figures' squared; ``beyond``: whether the change is
    larger than ``CHANCE`` of them (None: it cannot be told). ``higher``: more is better."""

    task: str
    value: float
    stderr: float | None
    change: float | None = None
    combined: float | None = None
    paired: bool = False
    higher: bool = True
    main: bool = True

    @property
    def beyond(self) -> bool | None:
        """Whether the change is larger than chance makes it."""
        if self.change is None or self.combined is None:
            return None
        return abs(self.change) > CHANCE * self.combined

    @property
    def better(self) -> bool | None:
        """Whether the change is one for the better; None: there is none."""
        if not self.change:
            return None
        return (self.change > 0) == self.higher


def changes(now: Scores, before: Scores, paired: Mapping[str, float] | None = None) -> tuple[ScoreChange, ...]:
    """Every task of ``now``, by name, held against ``before``; ``paired``: standard errors of changes by task."""
    return tuple(_change(now[task], before.get(task), (paired or {}).get(task)) for task in sorted(now))


def _change(one: EvalScore, was: EvalScore | None, paired: float | None) -> ScoreChange:
    if was is None:
        return ScoreChange(one.task, one.value, one.stderr, higher=one.higher, main=one.main)
    combined = paired
    if combined is None and one.stderr is not None and was.stderr is not None:
        combined = math.hypot(one.stderr, was.stderr)
    change = one.value - was.value
    return ScoreChange(one.task, one.value, one.stderr, change, combined, paired is not None, one.higher, one.main)


def facts(
    now: Scores, before: Scores, paired: Mapping[str, float] | None = None
) -> dict[str, dict[str, float | bool | None]]:
    """The changes for ``status --json``: only tasks that the round before has too."""
    return {
        one.task: {
            "change": one.change,
            "stderr": one.combined,
            "beyond_chance": one.beyond,
            "better": one.better,
            "paired": one.paired,
        }
        for one in changes(now, before, paired)
        if one.change is not None
    }
