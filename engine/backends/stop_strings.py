"""Texts that end a reply, such as a closing tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

Text = Callable[[Sequence[int]], str]
"""What some tokens spell."""
BESIDE = 4
"""Tokens that are read with those that may spell an end: a character's bytes may lie in several."""


def unread(ids: Sequence[int]) -> str:
    """For replies that no text ends."""
    return ""


def just_closed(ids: Sequence[int], ends: Sequence[str], text: Text) -> bool:
    """Whether the newest token of a reply completes one of ``ends``."""
    if not ends:
        return False
    most = max(len(end.encode()) for end in ends) + BESIDE
    tail = text(ids[-most:])
    return any(end in tail for end in ends)


def ended(text: str, ends: Sequence[str], turn: bool) -> tuple[str, Literal["stop", "length"]]:
    """A reply up to and with the first of ``ends`` in it, and how it ended. ``turn``: with its turn, which stands for
    the first of them where it holds none.
    """
    if found := [at + len(end) for end in ends if (at := text.find(end)) >= 0]:
        return text[: min(found)], "stop"
    return (text + "".join(ends[:1]), "stop") if turn else (text, "length")
