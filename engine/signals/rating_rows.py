"""From what a judge answers to a row of the store, whichever backend asked."""

from __future__ import annotations

import re
from typing import Any

from engine.signals.ratings import Rated
from engine.store.rows import RATING_COLUMNS, Ratings

NUMBER = re.compile(r"\d+(?:\.\d+)?")
HIGHEST = 9.0


def row_of(round: int, id: int, rated: Rated) -> Ratings:
    """A sample's ratings as a row."""
    six: dict[str, Any] = dict(zip(RATING_COLUMNS, rated.ratings or (None,) * 6, strict=True))
    return Ratings(round, id, **six, quality=rated.quality, digit_mass=rated.digit_mass, judge_error=rated.error)


def first_rating(text: str) -> float | None:
    """The first number of a reply, when it is one of the scale 0 to 9."""
    found = NUMBER.search(text)
    value = float(found.group()) if found else None
    return value if value is not None and value <= HIGHEST else None


def no_rating(text: str) -> str:
    """Why a reply counts as none."""
    return f"no rating from 0 to 9 in the reply: {text[:200]!r}"
