"""Converts a row's turns to messages, and checks that a conversation can be trained on.

A conversation is: an optional system turn (with tool definitions before it), then user and assistant turns in
alternation. An assistant turn may call tools; then their results and another assistant turn follow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.formats import tool_calls
from engine.formats.joined_turns import joined
from engine.formats.tool_calls import CALL as CALL
from engine.formats.values import Unusable as Unusable
from engine.formats.values import filled, kind_of, text
from engine.store import json_text
from engine.store.rows import Message

Turns = tuple[Message, ...]

OBSERVATION, TOOLS = "observation", "tools"

# Names of a turn's role in files -> our role and kind.
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
# Rarer names, which the error for an unknown role does not list.
_ALSO: dict[str, tuple[str, str]] = {
    "developer": ("system", ""),
    "model": ("assistant", ""),
    "bot": ("assistant", ""),
    "chatgpt": ("assistant", ""),
    "ai": ("assistant", ""),
    "chatbot": ("assistant", ""),
    "prompter": ("user", ""),
    "tool_call": ("assistant", CALL),
    "tool_calls": ("assistant", CALL),
    "function": ("tool", OBSERVATION),
    "function_response": ("tool", OBSERVATION),
    "function_result": ("tool", OBSERVATION),
    "tool_response": ("tool", OBSERVATION),
    "tool_result": ("tool", OBSERVATION),
    "ipython": ("tool", OBSERVATION),
}

THINKING = ("reasoning_content", "reasoning", "thinking", "thought", "think")
"""The fields that hold an answer's reasoning, in the order in which they are looked at."""
_WEIGHTS = ("weight", "loss_weight", "train", "training")
_FLAGS = ("loss", "trainable")  # numbers are losses or other measurements
_DETAILS = ("train_detail", "training_detail")
_KNOWN = frozenset(
    {"role", "from", "content", "value", "kind", "name", "tool_calls", "function_call", "tool_call_id"}
    | {*THINKING, *_WEIGHTS, *_DETAILS}
)

_PAIRS = (("human", "assistant"), ("user", "assistant"), ("human", "gpt"), ("input", "output"), ("prompt", "response"))
"""Fields of an entry that holds a question and its answer."""

# What may follow what. The state is the role, an assistant's call being its own. A plain answer may call a tool in
# its text (Hermes: <tool_call>), in whatever notation its model has: so a result may follow it.
_FOLLOWS: dict[str, frozenset[str]] = {
    "start": frozenset({"system", "user"}),
    "system": frozenset({"user"}),
    "user": frozenset({"assistant", CALL}),
    "assistant": frozenset({"user", "tool"}),
    CALL: frozenset({"tool"}),
    "tool": frozenset({"tool", "assistant", CALL}),
}


def from_list(value: Any, name: str) -> Turns:
    """The messages of a list of turns: ``from``/``value`` or ``role``/``content``.

    Raises:
        Unusable: not such a list.
    """
    if isinstance(value, str):
        try:
            value = json_text.loads(value)
        except ValueError:
            python = value.lstrip().startswith(("[{'", "array("))
            why = "Python's text of a list: write it with json.dumps" if python else "text, expected a list of turns"
            raise Unusable(f"{name} is {why}") from None
    if not isinstance(value, list):
        raise Unusable(f"{name} is {kind_of(value)}, expected a list of turns")
    if len(value) > 1 and all(isinstance(one, str) for one in value):  # LIMA, UltraChat: alternating speakers
        value = [{"role": ("user", "assistant")[i % 2], "content": one} for i, one in enumerate(value)]
    return joined([turn for i, one in enumerate(value) for turn in _turns_of(one, f"{name}[{i}]")])


def defined(tools: Any) -> bool:
    """Whether there are definitions of tools: ``"[]"`` as text says that there are none, too."""
    return filled(tools) and not (isinstance(tools, str) and tools.strip() in ("[]", "{}", "null", '""'))


def _turns_of(turn: Any, where: str) -> list[Message]:
    """An entry of a list: a turn, with the tools that a system turn defines before it, or a pair of both speakers."""
    if isinstance(turn, dict) and turn.get("role", turn.get("from")) is None and (pair := _pair(turn, where)):
        return pair
    made = turn_of(turn, where)
    if made.role == "system" and defined(tools := turn.get("tools")):
        said = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
        return [Message("system", text(said, f"{where}.tools"), TOOLS), *([made] if made.content else [])]
    return [made]


def _pair(turn: dict[str, Any], where: str) -> list[Message]:
    """``{"human": …, "assistant": …}`` (Firefly, MOSS) and ``{"input": …, "output": …}`` (XTuner) as turns."""
    for asks, answers in _PAIRS:
        if asks in turn and answers in turn:
            system = text(turn.get("system"), f"{where}.system")
            learned = turn.get("output_with_loss") if answers == "output" else None
            return [
                *([Message("system", system)] if system else []),
                Message("user", text(turn[asks], f"{where}.{asks}")),
                turn_of({"role": "assistant", "content": turn[answers], "train": learned}, where),
            ]
    return []


def turn_of(turn: Any, where: str) -> Message:
    """Parse one turn.

    Raises:
        Unusable: it is none, or holds what a conversation here cannot.
    """
    if not isinstance(turn, dict):
        raise Unusable(f"{where} is {kind_of(turn)}, expected an object with role and content")
    role, kind = _role(turn, where)
    said = turn.get("content") if turn.get("content") is not None else turn.get("value")
    content, thought = _parts(_result(said) if role == "tool" else said, where)
    made = tool_calls.calls_json(turn, where, role)
    return Message(
        role,
        content,
        text(turn.get("kind"), f"{where}.kind") or (CALL if made else kind),
        learned_once(thinking(turn, where) or thought, content, where),
        made,
        text(turn.get("tool_call_id"), f"{where}.tool_call_id") if role == "tool" else "",
        text(turn.get("name"), f"{where}.name"),
        _learned(turn, where, role),
    )


def _role(turn: dict[str, Any], where: str) -> tuple[str, str]:
    who = turn.get("role") if turn.get("role") is not None else turn.get("from")
    called = who.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(who, str) else ""
    found = ROLES.get(called) or _ALSO.get(called)
    if found is None:
        raise Unusable(f"{where} has the role {who!r}, expected one of {', '.join(ROLES)}")
    return found


def _result(said: Any) -> Any:
    """A tool's result as text; objects, numbers and lists become JSON."""
    if isinstance(said, list) and any(isinstance(part, dict) and "type" in part for part in said):
        return said
    return json.dumps(said, ensure_ascii=False) if isinstance(said, (list, dict, bool, int)) else said


def _parts(said: Any, where: str) -> tuple[str, str]:
    """A turn's text and reasoning; OpenAI's list of parts is joined."""
    if not isinstance(said, list):
        return text(said, where), ""
    out = {"text": "", "thinking": ""}
    for part in said:
        kind = part.get("type") or ("text" if "text" in part else "no type") if isinstance(part, dict) else "text"
        if not isinstance(part, dict) or kind not in ("text", "input_text", "output_text", "thinking", "reasoning"):
            found = kind if isinstance(part, dict) else kind_of(part)
            raise Unusable(f"{where} has parts that are not text: {str(found)[:40]}")
        name = "thinking" if kind in ("thinking", "reasoning") else "text"
        held = part.get("thinking", part.get("text")) if name == "thinking" else part.get("text")
        out[name] += _parts(held, where)[0]
    return out["text"], out["thinking"]


def thinking(fields: Any, where: str, names: Sequence[str] = THINKING) -> str:
    """The reasoning that stands in a field of its own, whatever of ``names`` that is called.

    Raises:
        Unusable: two such fields that differ.
    """
    there = [name for name in names if fields.get(name) is not None]
    found = {text(fields[name], f"{where}.{name}" if where else name) for name in there} - {""}
    if len(found) > 1:
        raise Unusable(f"{where or 'the row'} has two different reasoning traces ({', '.join(names)})")
    return found.pop() if found else ""


def learned_once(thought: str, content: str, where: str) -> str:
    """The reasoning of a field, unless the same stands before the answer between tags: it would be learned twice.

    Raises:
        Unusable: another one stands there.
    """
    start, tag, _ = content.partition("</think>")
    if not thought.strip() or not tag:
        return thought
    if start.replace("<think>", "", 1).strip() != thought.strip():
        raise Unusable(f"{where} has two different reasoning traces, in a field and between <think> tags")
    return ""


def _learned(turn: dict[str, Any], where: str, role: str) -> bool:
    """Whether to train on an assistant turn: false for ``weight: 0``, ``train: false`` and similar fields."""
    if role != "assistant":
        return True  # never learned, whatever is written there
    marks = {key: truth(turn[key]) for key in _WEIGHTS if turn.get(key) is not None}
    marks |= {key: turn[key] for key in _FLAGS if isinstance(turn.get(key), bool)}
    for key in _DETAILS:
        for i, part in enumerate(turn.get(key) or ()):
            marks[f"{key} of part {i + 1}"] = truth(part.get("train")) if isinstance(part, dict) else None
    for key, mark in marks.items():
        if mark is None:
            raise Unusable(
                f"{where} has {key} {turn.get(key, '')!r}; only 0 (not learned) and 1 (learned) are supported"
            )
    if len(set(marks.values())) > 1:
        raise Unusable(f"{where} is marked both as learned and as not learned: {', '.join(marks)}")
    return all(marks.values())


def truth(value: Any) -> bool | None:
    """A boolean as written in files: true, 1, "True", "0"; None for anything else."""
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, (bool, int, float)) and value in (0, 1) else None


def unknown_fields(value: Any) -> set[str]:
    """Fields of turns that are not part of a conversation."""
    turns = value if isinstance(value, list) else [value]
    out = set()
    for turn in turns:
        if not isinstance(turn, dict):
            continue
        known = _KNOWN
        if turn.get("role", turn.get("from")) is None:
            known = _KNOWN | {"system", "output_with_loss"} | {name for pair in _PAIRS for name in pair}
        elif turn.get("role", turn.get("from")) == "system":
            known = _KNOWN | {"tools"}
        out |= {k for k, v in turn.items() if v is not None and k not in known and not _is_flag(k, v)}
    return out


def _is_flag(key: str, value: Any) -> bool:
    return key in _FLAGS and isinstance(value, bool)


def check(turns: Sequence[Message]) -> None:
    """Reject a conversation that cannot be trained on.

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
        if now == "assistant" and turn.train:
            _check_answer(turn.content, number)
        state = now
    tool_calls.check(rest)
    answers = [turn for turn in rest if turn.role == "assistant"]
    if not answers:
        raise Unusable("no assistant turn")
    if state not in ("assistant", CALL):
        raise Unusable(f"unbalanced conversation: it ends with a {state} turn")
    if not any(turn.train for turn in answers):
        raise Unusable("no assistant turn to learn: all have weight 0 or train false")


def _check_answer(content: str, number: int) -> None:
    """Reject an answer that ends inside or right after its reasoning: a model trained on it would never answer."""
    said = content.strip()
    if said.startswith("<think>") and "</think>" not in said:
        raise Unusable(f"turn {number} is cut off in its reasoning (</think> is missing)")
    if said.startswith("<think>") and said.endswith("</think>"):
        raise Unusable(f"turn {number} has reasoning, but no answer after </think>")


def _wrong_order(now: str, state: str, number: int) -> str:
    if state == "start":
        return f"the conversation begins with the {now} turn, expected system or user"
    if now == state:
        return f"two {now} turns in a row (turn {number})"
    return f"{'an' if now[0] == 'a' else 'a'} {now} turn follows the {state} turn (turn {number})"
