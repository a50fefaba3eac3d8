"""Parses JSON from data, which may be hostile: rejects too deep nesting."""

from __future__ import annotations

import json
from typing import Any

MOST = 100
"""Levels of lists and objects. Deeper ones overflow the stack of whoever walks through them."""


def loads(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, or is nested in more than ``MOST`` levels.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if text.count("[") + text.count("{") > MOST and too_deep(value):
        raise ValueError("nested too deeply")
    return value


def too_deep(value: Any) -> bool:
    """Whether a value is nested in more than ``MOST`` levels."""
    level = [value]
    for _ in range(MOST + 1):
        level = [child for one in level if isinstance(one, (dict, list)) for child in _children(one)]
        if not level:
            return False
    return True


def _children(value: dict[str, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value
