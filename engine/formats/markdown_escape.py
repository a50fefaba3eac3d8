"""Escapes names and texts from data and settings for a card's YAML header and Markdown."""

from __future__ import annotations

import json
import re

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#|<>&~$])")
MAX_LENGTH = 200


def plain(text: str) -> str:
    """``text`` on one line, with Markdown and HTML escaped, cut to ``MAX_LENGTH`` characters."""
    visible = "".join(char if char.isprintable() else " " for char in text)
    short = visible if len(visible) <= MAX_LENGTH else visible[: MAX_LENGTH - 1] + "…"
    return _SPECIAL.sub(r"\\\1", " ".join(short.split()))


def scalar(text: str) -> str:
    """``text`` as a quoted YAML scalar (every JSON string is one)."""
    return json.dumps(text)
