"""Conversations: turning a row's turns into messages, and what makes a conversation unusable.

A conversation is: an optional system turn (with tool definitions before it), then user and assistant turns in
alternation. An assistant turn may be a function call; then the tool's observations and another assistant turn
follow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.store.rows import Message

Turns = tuple[Message, ...]

CALL, OBSERVATION, TOOLS = "function_call", "observation", "tools"

# What a turn's role is called in files -> our role and kind.
ROLES: dict[str, tuple[str, str]] = {
    "system": ("system", ""),
    "human": ("user", ""),
    "user": ("user", ""),
    "gpt": ("assistant", ""),
    "assistant": ("assistant", ""),
    "function_call": ("assistant", CALL),
    "observation": ("tool", OBSERVATION),
    "tool": ("tool", OBSERVATION),
}

# What may follow what. The state is the role, an assistant's call being its own.
_FOLLOWS: dict[str, frozenset[str]] = {
    "start": frozenset({"system", "user"}),
    "system": frozenset({"user"}),
    "user": frozenset({"assistant", CALL}),
    "assistant": frozenset({"user"}),
    CALL: frozenset({"tool"}),
    "tool": frozenset({"tool", "assistant", CALL}),
}


class Unusable(Exception):
    """This row cannot be used; the message is the reason. Caught where rows are read, never seen outside."""


def text(value: Any, name: str) -> str:
    """``value`` as text; a missing one is empty.

    Raises:
        Unusable: it is something else than text, or holds half of a surrogate pair (a broken \\u escape).
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unusable(f"{name} is {_kind(value)}, expected text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unusable(f"{name} has a lone surrogate at character {error.start + 1}: a broken \\u escape") from None
    return value


def _kind(value: Any) -> str:
    names = {str: "text", bool: "true/false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def from_list(value: Any, name: str) -> Turns:
    """The messages of a list of turns: ``from``/``value`` or ``role``/``content``.

    Raises:
        Unusable: not such a list.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Unusable(f"{name} is text, expected a list of turns") from None
    if not isinstance(value, list):
        raise Unusable(f"{name} is {_kind(value)}, expected a list of turns")
    calls: list[str] = []
    return tuple(_turn(turn, f"{name}[{i}]", calls) for i, turn in enumerate(value))


def _turn(turn: Any, where: str, calls: list[str]) -> Message:
    """One turn. ``calls`` are the ids of OpenAI tool calls that no result was seen of yet."""
    if not isinstance(turn, dict):
        raise Unusable(f"{where} is {_kind(turn)}, expected an object with role and content")
    who = turn.get("role", turn.get("from"))
    said = turn.get("content", turn.get("value"))
    if not isinstance(who, str) or who not in ROLES:
        raise Unusable(f"{where} has the role {who!r}, expected one of {', '.join(ROLES)}")
    role, kind = ROLES[who]
    if turn.get("tool_calls"):
        return _calls(turn["tool_calls"], said, where, role, calls)
    _check_result(turn, where, calls)
    given = turn.get("kind") or kind
    return Message(role, _parts(said, where), text(given, f"{where}.kind"))


def _parts(said: Any, where: str) -> str:
    """A turn's text; OpenAI's list of text parts is joined."""
    if not isinstance(said, list):
        return text(said, where)
    if any(not isinstance(part, dict) or part.get("type") != "text" for part in said):
        raise Unusable(f"{where} has parts that are not text")
    return "".join(text(part.get("text"), where) for part in said)


def _calls(tool_calls: Any, said: Any, where: str, role: str, calls: list[str]) -> Message:
    """OpenAI's ``tool_calls`` as one turn: their canonical JSON is the content."""
    if role != "assistant" or not isinstance(tool_calls, list) or not all(isinstance(c, dict) for c in tool_calls):
        raise Unusable(f"{where} has tool_calls that are not an assistant's list of calls")
    if said:
        raise Unusable(f"{where} has both text and tool_calls")
    calls[:] = [str(call.get("id", "")) for call in tool_calls]
    return Message(role, text(json.dumps(tool_calls, ensure_ascii=False), where), CALL)


def _check_result(turn: dict[str, Any], where: str, calls: list[str]) -> None:
    """Results must come in the order of their calls: the ids are not kept, the order is."""
    wanted = turn.get("tool_call_id")
    expected = calls.pop(0) if calls and turn.get("role") == "tool" else None
    if wanted is not None and wanted != expected:
        raise Unusable(f"{where} answers the call {wanted!r}, expected {expected!r}: results must be in order")


def check(turns: Sequence[Message]) -> None:
    """Refuse a conversation that cannot be trained on.

    Raises:
        Unusable: says which turn is wrong.
    """
    rest = turns[1:] if turns and turns[0].kind == TOOLS else turns
    state = "start"
    for number, turn in enumerate(rest, start=1):
        now = CALL if turn.kind == CALL else turn.role
        if now not in _FOLLOWS[state]:
            raise Unusable(_wrong_order(now, state, number))
        if not turn.content.strip() and now in ("user", "assistant"):
            what = "prompt" if now == "user" else "response"
            raise Unusable(f"empty {what}" + (f" (turn {number})" if len(rest) > 2 else ""))
        state = now
    if not any(turn.role == "assistant" for turn in rest):
        raise Unusable("no assistant turn")
    if state not in ("assistant", CALL):
        raise Unusable(f"unbalanced conversation: it ends with a {state} turn")


def _wrong_order(now: str, state: str, number: int) -> str:
    if state == "start":
        return f"the conversation begins with the {now} turn, expected system or user"
    if now == state:
        return f"two {now} turns in a row (turn {number})"
    return f"a {now} turn follows the {state} turn (turn {number})"
