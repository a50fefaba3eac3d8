"""A finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, the result, whether it would make a run fail, and the fix."""

    name: str
    text: str
    bad: bool = False
    fix: str = ""

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
