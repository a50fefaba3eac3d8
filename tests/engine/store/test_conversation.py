"""Conversations as the store keeps them: every field survives, and ids stay what they were."""

from __future__ import annotations

import pytest

from engine.store.conversation import Message, content_id, dump_messages, load_messages

PLAIN = (Message("user", "Who?"), Message("assistant", "Me."))
EVERY_FIELD = (
    Message("system", '[{"type": "function"}]', "tools"),
    Message("user", "Weather?"),
    Message("assistant", "I look.", thinking="Call it.", tool_calls='[{"id": "c1"}]'),
    Message("tool", "sunny", "observation", tool_call_id="c1", name="weather"),
    Message("assistant", "Sunny.", train=False),
)


@pytest.mark.parametrize("messages", [PLAIN, EVERY_FIELD])
def test_what_is_stored_is_read_back(messages: tuple[Message, ...]) -> None:
    assert load_messages(dump_messages(messages)) == messages


def test_turns_without_the_newer_fields_are_stored_as_before() -> None:
    """Ids are hashes of this text: projects that exist must keep theirs."""
    assert dump_messages(PLAIN) == '[["user","Who?"],["assistant","Me."]]'
    assert content_id(PLAIN) == 8388892381671349812


@pytest.mark.parametrize(
    "other",
    [
        Message("assistant", "Me.", train=False),
        Message("assistant", "Me.", thinking="Hm."),
        Message("assistant", "Me.", tool_calls="[]"),
    ],
)
def test_what_changes_the_meaning_changes_the_id(other: Message) -> None:
    assert content_id((PLAIN[0], other)) != content_id(PLAIN)
