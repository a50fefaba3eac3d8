"""Conversations: the turns of a chat, the sample that they are, its canonical text and its id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from msgspec import Struct


class Message(Struct, frozen=True):
    """One turn of a chat. ``kind`` keeps ShareGPT's ``function_call`` and ``observation`` turns apart."""

    role: str
    content: str
    kind: str = ""


class Sample(Struct, frozen=True):
    """One training example. Never changed: a rewrite is a new sample whose ``parent_id`` is the old one.

    A sample is in the dataset of round r iff ``born_round <= r and (retired_round is None or retired_round > r)``.
    ``input_chars``: how many trailing characters of the last user turn came from Alpaca's ``input`` column.
    """

    id: int
    messages: tuple[Message, ...]
    seq: int
    parent_id: int | None = None
    axis: str | None = None
    born_round: int = 0
    retired_round: int | None = None
    source: str = ""
    input_chars: int = 0

    @property
    def prompt(self) -> str:
        """The last user turn."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def response(self) -> str:
        """The last assistant turn."""
        return next((m.content for m in reversed(self.messages) if m.role == "assistant"), "")

    def with_last_exchange(self, prompt: str, response: str) -> tuple[Message, ...]:
        """These messages with the last user and the last assistant turn replaced; the context before stays."""
        out = list(self.messages)
        for role, text in (("user", prompt), ("assistant", response)):
            at = max(i for i, m in enumerate(out) if m.role == role)
            out[at] = Message(role, text)
        return tuple(out)


def dump_messages(messages: Iterable[Message]) -> str:
    """Canonical JSON of a conversation: what is stored and what is hashed."""
    turns = [[m.role, m.content, m.kind] if m.kind else [m.role, m.content] for m in messages]
    return json.dumps(turns, ensure_ascii=False, separators=(",", ":"))


def load_messages(text: str) -> tuple[Message, ...]:
    """The inverse of ``dump_messages``."""
    return tuple(Message(*turn) for turn in json.loads(text))


def content_id(messages: Iterable[Message], copy: int = 0) -> int:
    """A sample's id: 63 bits of its content's hash, so rows are matched by content, never by list position.

    ``copy`` numbers exact duplicates of one dataset, which stay separate rows: a dataset leaves with as many as it
    came.
    """
    text = dump_messages(messages) + (f"\x00{copy}" if copy else "")
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
