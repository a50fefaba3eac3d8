"""Finds samples with invisible characters: controls, zero-width characters, direction marks. Uses no index.

A partial index with an SQL condition over every character was tried: 0.4 ms a row, four minutes for half a million. One
pass here takes a few seconds, and only once, because samples never change.
"""

from __future__ import annotations

import json
import sqlite3

from middo_tui.terminal import guard

# JSON escapes C0 controls; all other hidden characters, which are rarer, are stored as they are.
ESCAPES = ("\\u00", "\\b", "\\f", "\\r")


def hidden_ids(db: sqlite3.Connection) -> list[int]:
    """Ids of the samples of all rounds whose text contains a hidden character."""
    found = db.execute("SELECT id, messages FROM sample")
    return [id for id, messages in found if suspect(messages) and count(messages)]


def suspect(messages: str) -> bool:
    """Whether a stored conversation may contain a hidden character; has false positives, but no false negatives."""
    if any(escape in messages for escape in ESCAPES):
        return True
    return guard.hides(messages)


def count(messages: str) -> int:
    """The number of hidden characters in a stored conversation."""
    return sum(guard.clean(turn[1]).hidden for turn in json.loads(messages))
