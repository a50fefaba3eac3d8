"""Joins turns that belong together: parallel calls in consecutive turns, and the text before a call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from engine.formats.tool_calls import CALL
from engine.store import json_text
from engine.store.rows import Message


def joined(turns: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation with neighbouring calls as one turn that makes them all (parallel calls), and an answer right
    before a call as the text beside it. What cannot be joined without a loss stays as it is.
    """
    out: list[Message] = []
    for turn in turns:
        one = _both(out[-1], turn) if out and turn.kind == CALL else None
        if one is None:
            out.append(turn)
        else:
            out[-1] = one
    return tuple(out)


def _both(first: Message, then: Message) -> Message | None:
    """Two assistant turns, the second one a call, joined; None if they cannot be joined."""
    if first.role != "assistant" or (first.train, first.name) != (then.train, then.name) or then.thinking:
        return None
    if first.kind == CALL and not first.tool_calls and not then.tool_calls:
        calls = [*_listed(first.content), *_listed(then.content)]
        return replace(first, content=_text(calls)) if _listed(first.content) and _listed(then.content) else None
    if then.tool_calls and then.content:
        return None
    before = (
        [] if first.kind != CALL else json_text.loads(first.tool_calls) if first.tool_calls else _openai(first.content)
    )
    after = json_text.loads(then.tool_calls) if then.tool_calls else _openai(then.content)
    if not after or (first.kind == CALL and not before):
        return None
    said = first.content if first.kind != CALL or first.tool_calls else ""
    return replace(first, content=said, kind=CALL, tool_calls=_text([*before, *after]))


def _listed(text: str) -> list[dict[str, Any]]:
    """The calls of a ``function_call`` turn; empty when it is not JSON with names."""
    try:
        found = json_text.loads(text)
    except ValueError:
        return []
    found = found if isinstance(found, list) else [found]
    return found if all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in found) else []


def _openai(text: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": one} for one in _listed(text)]


def _text(calls: list[dict[str, Any]]) -> str:
    return json.dumps(calls, ensure_ascii=False)
