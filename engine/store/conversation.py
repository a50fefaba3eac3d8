"""Messages, samples, a conversation's canonical JSON, and its id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from msgspec import Struct


class Message(Struct, frozen=True):
    """One turn of a chat.

    kind: keeps ShareGPT's ``function_call`` and ``observation`` turns apart, and the leading turn that holds tool
    definitions. thinking: the reasoning that came in a field of its own (``reasoning_content``, ``thinking``).
    tool_calls: an assistant's calls as the JSON text of OpenAI's list. tool_call_id, name: which call a tool's
    result answers, and the tool. train: False for a turn that is not to be learned (``weight: 0``, ``train: false``).
    """

    role: str
    content: str
    kind: str = ""
    thinking: str = ""
    tool_calls: str = ""
    tool_call_id: str = ""
    name: str = ""
    train: bool = True


_FIELDS = ("thinking", "tool_calls", "tool_call_id", "name", "train")


class Sample(Struct, frozen=True):
    """One training example. Never changed: a rewrite is a new sample whose ``parent_id`` is the old one.

    A sample is in the dataset of round r iff ``born_round <= r`` and no ``departure`` of it has a round ``<= r``.
    ``input_chars``: how many trailing characters of the last user turn came from Alpaca's ``input`` column.
    ``extra``: the row's other columns as a JSON object, "" when there are none: kept for the export, no part of the id.
    ``injection``: what speaks to its judge or teacher (``engine.injection``); "" when nothing does.
    """

    id: int
    messages: tuple[Message, ...]
    seq: int
    parent_id: int | None = None
    axis: str | None = None
    born_round: int = 0
    source: str = ""
    input_chars: int = 0
    extra: str = ""
    injection: str = ""

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


def distinct(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without exact copies, of which the last stays. What is evaluated: copies would make standard errors
    too small. An ``EvalItem``'s item is a place in this list.
    """
    return list({s.messages: s for s in reversed(samples)}.values())[::-1]


def unwritable(messages: Sequence[Message]) -> str:
    """Why a rewrite of the last exchange would lose something of the conversation; "" when it would not.

    A rewrite is a new prompt and a new answer in plain text, behind the turns that came before the last prompt.
    """
    asked = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
    answers = messages[asked + 1 :]
    if asked < 0 or not any(m.role == "assistant" for m in answers):
        return "no final user turn with an answer"
    if any(m.tool_calls or m.kind or m.role not in ("user", "assistant") for m in messages[asked:]):
        return "tool calls"
    if len(answers) > 1:
        return "several answers in a row"
    if answers[0].thinking:
        return "a separate reasoning field"
    return "" if answers[0].train else "an answer with weight 0"


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dump_messages(messages: Iterable[Message]) -> str:
    """Canonical JSON of a conversation: what is stored and what is hashed.

    A turn is [role, content], [role, content, kind] or [role, content, kind, {its other fields}]: the shortest that
    holds it, so that ids do not change when a field is added.
    """
    return _ENCODE([_turn(m) for m in messages])


def _turn(message: Message) -> list[object]:
    m = message
    if m.train and not (m.thinking or m.tool_calls or m.tool_call_id or m.name):
        return [m.role, m.content, m.kind] if m.kind else [m.role, m.content]
    fields = {name: value for name in _FIELDS if (value := getattr(m, name)) not in ("", True)}
    return [m.role, m.content, m.kind, fields]


def load_messages(text: str) -> tuple[Message, ...]:
    """The inverse of ``dump_messages``.

    Raises:
        ValueError: it is not JSON.
    """
    return tuple([Message(*turn) if len(turn) < 4 else Message(*turn[:3], **turn[3]) for turn in json.loads(text)])


def content_id(messages: Iterable[Message], copy: int = 0) -> int:
    """A sample's id: 63 bits of its content's hash, so rows are matched by content, never by list position.

    ``copy`` numbers exact duplicates of one dataset, which stay separate rows: a dataset leaves with as many as it
    came.
    """
    return content_id_of(dump_messages(messages), copy)


def content_id_of(text: str, copy: int = 0) -> int:
    """``content_id`` of a conversation as ``dump_messages`` writes it."""
    hashed = text + (f"\x00{copy}" if copy else "")
    digest = hashlib.blake2b(hashed.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
