"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, whether it stops a run, and the way out."""

    name: str
    text: str
    bad: bool = False
    fix: str = ""

    @property
    def mark(self) -> str:
        """✔, ! (works, but look) or ✘ (a run would fail)."""
        return "✘" if self.bad else ("!" if self.fix else "✔")

    @property
    def level(self) -> str:
        """The mark for scripts: ok, look or bad."""
        return {"✔": "ok", "!": "look", "✘": "bad"}[self.mark]


def refused(name: str, error: Exception) -> Finding:
    """What stops a run, as the error that it would end with says: its first sentence, then the way out."""
    text, _, fix = str(error).partition(". ")
    return Finding(name, text, bad=True, fix=fix.removesuffix("."))
