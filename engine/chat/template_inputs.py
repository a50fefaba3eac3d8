"""The input forms that chat templates accept for a conversation, most complete first.

Templates differ in what they know: roles, tools, calls with arguments as an object or text, a field for reasoning. What
one does not know is rendered as text. Every form comes with its leaves: the strings of the data in it, which ``marked``
replaces by marks, so that the template's own text can be told from theirs (``engine.chat.turn_layout``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from msgspec import structs

from engine.chat.roles import FOLDED, mappings
from engine.chat.surrogates import clean
from engine.store import json_text
from engine.store.rows import Message

CALL, TOOLS = "function_call", "tools"
THINK = re.compile(r"(</?think>)")
TAGS = re.compile(r"(</?think>|</?tool_response>)")
TOLD_TOOLS = "the chat template does not support tool definitions, so they are rendered as text"
TOLD_CALLS = "the chat template does not support these tool calls, so they are rendered as text"
TOLD_BOTH = "the chat template does not support these tools and tool calls, so they are rendered as text"
Part = Literal["said", "system", "reasoning", "call"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A string of the data: the number of its turn, and its part in it."""

    text: str
    turn: int
    part: Part


@dataclass(frozen=True, slots=True)
class Form:
    """A conversation as a template is given it.

    key: the same with every leaf marked, as JSON: what a layout is found from and kept by. roles: of ``chat``'s turns.
    trained: which of them are assistant turns to be learned. note: what the template could not be told as it is.
    """

    chat: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] | None
    key: str
    leaves: tuple[Leaf, ...]
    roles: tuple[str, ...]
    trained: tuple[bool, ...]
    note: str = ""


def mark(leaf: int) -> str:
    """The placeholder for a leaf in a form's key."""
    return f"qZ{leaf}middoTurnZq"


MARK = re.compile(r"qZ(\d+)middoTurnZq")


def reasons(message: Message) -> bool:
    """Whether an assistant turn has a reasoning trace, in its own field or before its answer."""
    return bool(message.thinking.strip()) or "</think>" in message.content


def without_reasoning(text: str) -> str:
    """An answer without its leading reasoning trace."""
    return text.rpartition("</think>")[2].lstrip() if "</think>" in text else text


def forms(messages: Sequence[Message], field: str, hostile: Callable[[str], bool]) -> Iterator[Form]:
    """All forms of ``messages``.

    Args:
        field: where the template takes reasoning: in a "field", in a "field alone" (else it is doubled),
            before the answer between tags ("content"), nowhere ("").
        hostile: whether a text spells a special token. What cannot be marked must not.
    """
    turns = tuple(_placed(_cleaned(m), field) for m in messages)
    rich = any(m.kind in (CALL, TOOLS) or m.tool_calls for m in turns)
    text = tuple(_as_text(m) for m in turns)
    if rich:
        yield from _with_tools(turns, hostile)
        if turns[0].kind == TOOLS:
            yield from _with_tools((structs.replace(turns[0], kind=""), *turns[1:]), hostile, TOLD_TOOLS)
            yield from _with_tools(text, hostile, TOLD_CALLS)
    told = TOLD_BOTH if rich else ""
    for mapped in mappings(text):
        yield _form([_plain(m) for m in mapped], None, mapped, told)
    for mapped in mappings(text):
        yield _form([_plain(m) for m in mapped], None, mapped, told, parts=True)


def _cleaned(m: Message) -> Message:
    return structs.replace(m, content=clean(m.content), thinking=clean(m.thinking), tool_calls=clean(m.tool_calls))


def _placed(m: Message, field: str) -> Message:
    """A turn with its reasoning where the template accepts it."""
    if field == "field alone" and m.role == "assistant" and not m.thinking and "</think>" in m.content:
        thought, _, said = m.content.partition("</think>")
        return structs.replace(m, content=said.lstrip(), thinking=thought.replace("<think>", "", 1).strip())
    if not m.thinking or field.startswith("field"):
        return m
    told = f"<think>\n{m.thinking.strip()}\n</think>\n\n{m.content}" if field == "content" else m.content
    return structs.replace(m, content=told, thinking="")


def _as_text(m: Message) -> Message:
    """A turn with its tool calls rendered as text."""
    if not m.tool_calls:
        return structs.replace(m, kind="") if m.kind == CALL else m
    said = f"{m.content}\n{m.tool_calls}" if m.content else m.tool_calls
    return structs.replace(m, content=said, tool_calls="")


def _plain(m: Message) -> dict[str, Any]:
    out: dict[str, Any] = {"role": m.role, "content": m.content}
    if m.thinking:
        out |= {"reasoning_content": m.thinking, "thinking": m.thinking}
    if m.role == "tool":
        out |= {key: value for key, value in (("name", m.name), ("tool_call_id", m.tool_call_id)) if value}
    return out


def _with_tools(turns: tuple[Message, ...], hostile: Callable[[str], bool], note: str = "") -> Iterator[Form]:
    """The forms that hand over tools and calls as such, as far as ``turns`` still hold them so."""
    tools = _definitions(turns[0].content) if turns and turns[0].kind == TOOLS else None
    if turns and turns[0].kind == TOOLS:
        if tools is None:
            return
        turns = turns[1:]
    read = [_calls(m) for m in turns]
    if None in read or hostile(_names(tools, read)):
        return
    wrapped = None if tools is None else [t if "function" in t else {"type": "function", "function": t} for t in tools]
    ways = list(product((False, True), ("", None))) if any(read) else [(False, "")]
    for given, (as_text, empty) in product([tools] if wrapped == tools else [tools, wrapped], ways):
        chat = [_plain(m) | _given(m, calls or [], as_text, empty) for m, calls in zip(turns, read, strict=True)]
        yield _form(chat, given, turns, note)


def _definitions(text: str) -> list[dict[str, Any]] | None:
    """Tool definitions from their JSON text; None when they are not a list of objects."""
    try:
        found = json_text.loads(text)
    except ValueError:
        return None
    found = [found] if isinstance(found, dict) else found
    return found if isinstance(found, list) and found and all(isinstance(t, dict) for t in found) else None


def _calls(m: Message) -> list[dict[str, Any]] | None:
    """A turn's calls with their arguments as objects where they can be; none for most turns; None: unreadable."""
    text = m.tool_calls or (m.content if m.kind == CALL else "")
    if not text:
        return []
    try:
        found = json_text.loads(text)
    except ValueError:
        return None
    calls = []
    for one in found if isinstance(found, list) else [found]:
        if not isinstance(one, dict) or not isinstance(function := one.get("function", one), dict):
            return None
        if not isinstance(function.get("name"), str):
            return None
        call = {"id": one["id"]} if isinstance(one.get("id"), str) and one is not function else {}
        given = function.get("arguments", function.get("parameters"))
        calls.append(call | {"type": "function", "function": {"name": function["name"], "arguments": _object(given)}})
    return calls


def _object(arguments: Any) -> Any:
    """A call's arguments as an object, also when they came as its JSON text."""
    if isinstance(arguments, str):
        try:
            read = json_text.loads(arguments)
        except ValueError:
            return arguments
        return read if isinstance(read, dict) else arguments
    return {} if arguments is None else arguments


def _names(tools: list[dict[str, Any]] | None, read: Sequence[list[dict[str, Any]] | None]) -> str:
    """All text that stays unmarked in a form with tools."""
    keys = [[c["function"]["name"], _keys(c["function"]["arguments"]), c.get("id")] for cs in read for c in cs or []]
    return json.dumps([tools, keys], ensure_ascii=False)


def _keys(value: Any) -> Any:
    if isinstance(value, dict):
        return [[key, _keys(item)] for key, item in value.items()]
    return [_keys(item) for item in value] if isinstance(value, list) else None


def _given(m: Message, calls: list[dict[str, Any]], as_text: bool, empty: str | None) -> dict[str, Any]:
    """What a turn with calls says and calls."""
    if not calls:
        return {}
    said = m.content if m.tool_calls else ""
    return {"content": said or empty, "tool_calls": [_called(c, _text) if as_text else c for c in calls]}


def _called(call: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """A call with its arguments replaced."""
    function = call["function"]
    return call | {"function": function | {"arguments": change(function["arguments"])}}


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _form(
    chat: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]] | None,
    turns: Sequence[Message],
    note: str,
    parts: bool = False,
) -> Form:
    """A form of ``chat``; where ``parts``, contents are lists of parts: some templates take nothing else."""
    leaves: list[Leaf] = []
    marked = [_marked(turn, i, message, leaves) for i, (turn, message) in enumerate(zip(chat, turns, strict=True))]
    chat, marked = (_in_parts(chat), _in_parts(marked)) if parts else (list(chat), marked)
    key = json.dumps([marked, tools], ensure_ascii=False)
    roles = tuple(turn["role"] for turn in chat)
    trained = tuple(m.role == "assistant" and m.train for m in turns)
    return Form(tuple(chat), tuple(tools) if tools else None, key, tuple(leaves), roles, trained, note)


def _in_parts(chat: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in chat]


def _marked(turn: dict[str, Any], at: int, message: Message, leaves: list[Leaf]) -> dict[str, Any]:
    """A turn with its leaves replaced by marks; the leaves are added to ``leaves``."""
    out = dict(turn)
    if "thinking" in turn:
        out["reasoning_content"] = out["thinking"] = _leaf(turn["thinking"], at, "reasoning", leaves)
    if turn["content"] is not None:
        head = int(message.kind.removeprefix(FOLDED)) if message.kind.startswith(FOLDED) else 0
        told = _leaf(turn["content"][:head], at, "system", leaves)
        out["content"] = told + _content(turn["content"][head:], at, turn["role"], leaves)
    if turn.get("tool_calls"):
        out["tool_calls"] = [_called(c, lambda a: _arguments(a, at, leaves)) for c in turn["tool_calls"]]
    return out


def _content(text: str, at: int, role: str, leaves: list[Leaf]) -> str:
    """Mark a content, but keep tags that templates search for."""
    part: Part = "system" if role == "system" else "said"
    if role != "assistant" or "</think>" not in text:
        return "".join(p if TAGS.fullmatch(p) else _leaf(p, at, part, leaves) for p in TAGS.split(text))
    pieces = THINK.split(text)
    last = max(i for i, p in enumerate(pieces) if p == "</think>")
    return "".join(
        p if THINK.fullmatch(p) else _leaf(p, at, "reasoning" if i < last else part, leaves)
        for i, p in enumerate(pieces)
    )


def _leaf(text: str, at: int, part: Part, leaves: list[Leaf]) -> str:
    """The mark of a text, blanks around it left as they are: templates trim them."""
    core = text.strip()
    if not core:
        return text
    leaves.append(Leaf(core, at, part))
    start = text.index(core)
    return text[:start] + mark(len(leaves) - 1) + text[start + len(core) :]


def _arguments(value: Any, at: int, leaves: list[Leaf]) -> Any:
    if isinstance(value, str):
        return _leaf(value, at, "call", leaves)
    if isinstance(value, dict):
        return {key: _arguments(item, at, leaves) for key, item in value.items()}
    return [_arguments(item, at, leaves) for item in value] if isinstance(value, list) else value
