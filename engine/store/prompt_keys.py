"""What a conversation asks, as keys that copies share: for whether a prompt is held out.

A *prompt* is what the user said up to an answer, without the system's and the tools' turns, and without what makes no
other question of it: case, spacing, typography, punctuation at the ends.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence

from engine.store.conversation import Message

Key = bytes
QUOTES = str.maketrans("‘’‚‛“”„‟«»‹›`´′″‐‑‒–—−", "''''\"\"\"\"\"\"''''''------")
ENDS = " .,;:!?\"'()[]{}…¡¿。、！？؟۔।"
"""What may stand before and after a question without making another one of it. Signs that carry meaning (#, +, %) are
not among them."""


def plain(text: str) -> str:
    """``text`` without case, spacing, typography, invisible characters and punctuation at the ends."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(QUOTES)
        text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    spaced = " ".join(text.casefold().split())
    return spaced.strip(ENDS) or spaced


def key(messages: Sequence[Message]) -> Key:
    """The prompt of the last answer."""
    return _prefixes(_asked(messages))[-1]


def keys(messages: Sequence[Message]) -> set[Key]:
    """Every prompt of a conversation: in its context, and each question on its own."""
    return set(last_first(messages))


def last_first(messages: Sequence[Message]) -> list[Key]:
    """``keys``, the prompt of the last answer first; each once."""
    asked = _asked(messages)
    found = _prefixes(asked)
    return list(dict.fromkeys([*reversed(found), *(_prefixes([text])[0] for text in asked[1:])]))


def _asked(messages: Sequence[Message]) -> list[str]:
    """What the user said up to the last answer; where no user speaks, what all say."""
    last = max((i for i, m in enumerate(messages) if m.role == "assistant"), default=len(messages))
    turns = messages[:last]
    return [plain(m.content) for m in turns if m.role == "user"] or ["\n".join(plain(m.content) for m in turns)]


def _prefixes(asked: Sequence[str]) -> list[Key]:
    """A key for each question with all before it."""
    digest = hashlib.blake2b(digest_size=16)
    out = []
    for text in asked:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\n")  # no line break is left within a question
        out.append(digest.copy().digest())
    return out


def item(messages: Sequence[Message], held: Mapping[Key, int]) -> int | None:
    """The held-out item whose prompt is among the conversation's; None when none is."""
    return next((held[k] for k in keys(messages) if k in held), None) if held else None
