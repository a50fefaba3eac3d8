"""The chat templates that TRL ships, and conversations with tools and reasoning."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from engine.store.rows import Message
from tests.support import tiny

# Like Llama 2 and Mistral: no system role, strict alternation, trimmed contents, no newline after a turn.
STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '<|user|> ' + m['content'] | trim + ' <|assistant|>' }}"
    "{% else %}{{ ' ' + m['content'] | trim + '<|end|>' }}{% endif %}{% endfor %}"
)
PACKAGE = importlib.util.find_spec("trl")
FOLDER = Path((PACKAGE.submodule_search_locations or [""])[0] if PACKAGE else "") / "chat_templates"
ALL = sorted(path.stem for path in FOLDER.glob("*.jinja"))
MARKUP = re.compile(r"<[|｜][^|｜\s]{2,30}[|｜]>|<(?:start|end)_of_turn>|<\|?[a-z_]{2,20}\|>|<end_of_utterance>")
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string", "description": "a town"}},
            "required": ["town"],
        },
    },
}
CALL = [{"type": "function", "function": {"name": "weather", "arguments": {"town": "Oslo"}}}]
Turn = dict[str, Any]


def says(role: str, content: str, **more: Any) -> Turn:
    return {"role": role, "content": content, **more}


def reasoned(text: str, why: str) -> Turn:
    return says("assistant", text, reasoning_content=why, thinking=why)


CHATS: dict[str, list[Turn]] = {
    "plain": [says("user", "U1"), says("assistant", "A1"), says("user", "U2 "), says("assistant", " A2")],
    "tags": [
        says("user", "U1"),
        says("assistant", "<think>\nR1\n</think>\n\nA1"),
        says("user", "U2"),
        says("assistant", "<think>\nR2\n</think>\n\nA2"),
    ],
    "field": [says("user", "U1"), reasoned("A1", "R1"), says("user", "U2"), reasoned("A2", "R2")],
    "tools": [
        says("user", "U1"),
        says("assistant", "", tool_calls=CALL),
        says("tool", '{"degrees": "T2"}', name="weather"),
        says("assistant", "A2"),
    ],
    "beside": [
        says("user", "U1"),
        says("assistant", "A1", tool_calls=CALL),
        says("tool", "T2", name="weather"),
        says("assistant", "A2"),
        says("user", "U3"),
        says("assistant", "A3"),
    ],
}


def tokenizer_of(name: str) -> Any:
    source = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    out = tiny.make_tokenizer(source)
    special = sorted(set(MARKUP.findall(source)) - {"<think>"})
    out.add_special_tokens({"additional_special_tokens": special, "bos_token": "<bos>"})
    return out


def messages(chat: list[Turn], tools: bool) -> list[Message]:
    head = [Message("system", json.dumps([WEATHER]), "tools")] if tools else []
    return head + [
        Message(
            t["role"],
            t["content"],
            thinking=t.get("thinking", ""),
            tool_calls=json.dumps(t["tool_calls"]) if "tool_calls" in t else "",
            name=t.get("name", ""),
        )
        for t in chat
    ]
