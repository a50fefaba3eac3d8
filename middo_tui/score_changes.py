"""What the evaluation figures of a round say against the round before, and whether that is more than chance.

Apart from the screens, so that ``status --json`` can say the same without loading them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

LESS_IS_BETTER = ("loss", "perplexity", "error")
"""Endings of tasks whose figures are better when they are lower; of all others more is better."""

Scores = Mapping[str, tuple[float, float | None]]
"""Value and standard error by task."""


@dataclass(frozen=True, slots=True)
class Change:
    """One task's figure. ``change``: over the round before, None without one. ``combined``: its standard error, the
    root of both squared; ``beyond``: whether the change is larger than that (None: it cannot be told)."""

    task: str
    value: float
    stderr: float | None
    change: float | None = None
    combined: float | None = None

    @property
    def beyond(self) -> bool | None:
        """Larger than the combined standard error."""
        if self.change is None or self.combined is None:
            return None
        return abs(self.change) > self.combined

    @property
    def better(self) -> bool | None:
        """Whether the change is one for the better; None: there is none."""
        if not self.change:
            return None
        return (self.change < 0) == less_is_better(self.task)


def less_is_better(task: str) -> bool:
    """By the task's name."""
    return task.lower().endswith(LESS_IS_BETTER)


def changes(now: Scores, before: Scores) -> tuple[Change, ...]:
    """Every task of ``now``, by name, held against ``before``."""
    return tuple(_change(task, *now[task], *before.get(task, (None, None))) for task in sorted(now))


def _change(task: str, value: float, stderr: float | None, was: float | None, was_stderr: float | None) -> Change:
    if was is None:
        return Change(task, value, stderr)
    known = stderr is not None and was_stderr is not None
    return Change(task, value, stderr, value - was, math.hypot(stderr or 0.0, was_stderr or 0.0) if known else None)


def facts(now: Scores, before: Scores) -> dict[str, dict[str, float | bool | None]]:
    """The changes for ``status --json``: only tasks that the round before has too."""
    return {
        one.task: {"change": one.change, "stderr": one.combined, "beyond_stderr": one.beyond}
        for one in changes(now, before)
        if one.change is not None
    }
