"""A finding of the doctor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, the result, whether it would make a run fail, and the fix. ``facts``: the result in
    numbers, for scripts.
    """

    name: str
    text: str
    bad: bool = False
    fix: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """✔ (good), ! (works, with a warning) or ✘ (a run would fail)."""
        return "✘" if self.bad else ("!" if self.fix else "✔")

    @property
    def level(self) -> str:
        """The mark for scripts: ok, look or bad."""
        return {"✔": "ok", "!": "look", "✘": "bad"}[self.mark]


def refused(name: str, error: Exception) -> Finding:
    """A bad finding from an error: its first sentence is the text, the rest is the fix."""
    text, _, fix = str(error).partition(". ")
    return Finding(name, text, bad=True, fix=fix.removesuffix("."))
