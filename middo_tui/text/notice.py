"""A notice: one line of a screen that says what is so and what to do next."""

from __future__ import annotations

from typing import NamedTuple

from engine.plurals import counted


class Notice(NamedTuple):
    """The text, and its role in ``theme.ROLES``."""

    text: str
    role: str = ""


def unindexed(count: int) -> str:
    """The note that text search may miss ``count`` new samples."""
    return f"The text index is still being built: {counted(count, 'new sample')} not searchable yet."
