"""Stop strings: texts that end a reply, such as a closing tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

Text = Callable[[Sequence[int]], str]
"""Decodes token ids."""
BESIDE = 4
"""Additional tokens that are decoded, as the bytes of a character may be spread over several."""


def unread(ids: Sequence[int]) -> str:
    """A decoder for replies without stop strings."""
    return ""


def just_closed(ids: Sequence[int], ends: Sequence[str], text: Text) -> bool:
    """Whether the newest token of a reply completes one of ``ends``."""
    if not ends:
        return False
    most = max(len(end.encode()) for end in ends) + BESIDE
    tail = text(ids[-most:])
    return any(end in tail for end in ends)


def ended(text: str, ends: Sequence[str], turn: bool) -> tuple[str, Literal["stop", "length"]]:
    """The reply up to and including its first stop string, and its finish reason. ``turn``: whether the model ended its
    turn; then a reply without a stop string gets the first of ``ends`` appended.
    """
    if found := [at + len(end) for end in ends if (at := text.find(end)) >= 0]:
        return text[: min(found)], "stop"
    return (text + "".join(ends[:1]), "stop") if turn else (text, "length")
