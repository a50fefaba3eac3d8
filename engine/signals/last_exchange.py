"""The last exchange of a conversation as text: its prompt with the turns before it, and its answer."""

from __future__ import annotations

from collections.abc import Sequence

from engine.chat.template_inputs import without_reasoning
from engine.store.rows import Message

Chat = Sequence[Message]


def context_words(chat: Chat) -> str:
    """The text of the turns before the last answer, without system prompts and tool definitions."""
    answer = max((i for i, m in enumerate(chat) if m.role == "assistant"), default=len(chat))
    return "\n\n".join(filter(None, (turn_words(m) for m in chat[:answer] if m.role != "system")))


def last_prompt(chat: Chat) -> str:
    """The last user turn."""
    return next((m.content for m in reversed(chat) if m.role == "user"), "")


def last_response(chat: Chat) -> str:
    """The last assistant turn."""
    return next((turn_words(m) for m in reversed(chat) if m.role == "assistant"), "")


def turn_words(turn: Message) -> str:
    """The visible text of a turn, without reasoning, and its tool calls."""
    said = without_reasoning(turn.content) if turn.role == "assistant" else turn.content
    return "\n".join(filter(None, (said, turn.tool_calls))) if turn.tool_calls else said


def context(chat: Chat) -> str:
    """What the last response answers: the prompt, preceded by the earlier turns with their roles if there are any."""
    answer = max((i for i, m in enumerate(chat) if m.role == "assistant"), default=len(chat))
    turns = chat[:answer]
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{turn.role.capitalize()}: {turn_words(turn)}" for turn in turns)
