"""Tool calls in a conversation (all variants of OpenAI's ``tool_calls`` found in files) and their results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.formats.values import Unusable, text
from engine.store import json_text
from engine.store.rows import Message

CALL = "function_call"
"""The kind of an assistant's turn that calls tools."""


def calls_json(turn: dict[str, Any], where: str, role: str) -> str:
    """A turn's calls as JSON text of OpenAI's list, "" when it makes none. Ids and arguments stay as they came.

    ``tool_calls`` may be the list or its JSON text; ``function_call`` is OpenAI's older form of a single call.

    Raises:
        Unusable: they are no list of calls, or not an assistant's.
    """
    found = turn.get("tool_calls")
    if not found and isinstance(turn.get("function_call"), dict):
        found = [{"type": "function", "function": turn["function_call"]}]
    if isinstance(found, str) and found.strip():
        try:
            found = json_text.loads(found)
        except ValueError:
            raise Unusable(f"{where} has tool_calls text that is not JSON") from None
    if not found:
        return ""
    if role != "assistant" or not isinstance(found, list) or not all(isinstance(call, dict) for call in found):
        raise Unusable(f"{where} has tool_calls that are not a list, or not in an assistant turn")
    return text(json.dumps([_without_nulls(call, where) for call in found], ensure_ascii=False), f"{where}.tool_calls")


def _without_nulls(call: dict[str, Any], where: str) -> dict[str, Any]:
    """A call without null fields such as ``id: null``; its arguments are unchanged."""
    out = {key: value for key, value in call.items() if value is not None}
    function = out.get("function", out)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Unusable(f"{where} has a call without a function name")
    if function is not out:
        out["function"] = {key: value for key, value in function.items() if value is not None}
    return out


def check(turns: Sequence[Message]) -> None:
    """Check that results match calls: by id, in any order, each once; without ids, by order.

    Raises:
        Unusable: a result answers no call.
    """
    waiting: list[str] = []
    named = False  # whether the pending calls have ids
    for number, turn in enumerate(turns, start=1):
        if turn.tool_calls:
            waiting = [str(call["id"]) for call in json_text.loads(turn.tool_calls) if "id" in call]
            named = bool(waiting)
        elif turn.role == "tool" and turn.tool_call_id and named:
            if turn.tool_call_id not in waiting:
                known = f"unanswered: {', '.join(waiting)}" if waiting else "all calls are answered"
                raise Unusable(f"turn {number} answers unknown call {turn.tool_call_id!r}; {known}")
            waiting.remove(turn.tool_call_id)
        elif turn.role == "user":
            named = False
