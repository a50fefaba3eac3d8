"""Which samples hold characters that are not seen: controls, zero-width, direction marks. Found without an index.

A condition in SQL over every character was tried as a partial index: 0.4 ms a row, four minutes for half a million. The
same in one pass here takes a few seconds, once, because samples never change.
"""

from __future__ import annotations

import json
import sqlite3

from middo_tui.terminal import guard

# JSON writes C0 controls as escapes; everything else that is hidden is there as it is, which is the rarer case.
ESCAPES = ("\\u00", "\\b", "\\f", "\\r")


def hidden_ids(db: sqlite3.Connection) -> list[int]:
    """Ids of all samples, of whatever round, whose text holds a hidden character."""
    found = db.execute("SELECT id, messages FROM sample")
    return [id for id, messages in found if suspect(messages) and count(messages)]


def suspect(messages: str) -> bool:
    """Whether a stored conversation may hold a hidden character: never False when it does."""
    if any(escape in messages for escape in ESCAPES):
        return True
    return guard.hides(messages)


def count(messages: str) -> int:
    """How many hidden characters a stored conversation holds."""
    return sum(guard.clean(turn[1]).hidden for turn in json.loads(messages))
