"""Tools, calls and reasoning through every chat template that TRL ships: the tokens are apply_chat_template's."""

from __future__ import annotations

import re
from typing import Any

import pytest

from engine.chat.render import FIXED_DATE, Rendered, end_of_turn, render, render_prompt
from engine.store.rows import Message
from tests.support.chat_templates import ALL, CHATS, WEATHER, Turn, messages, tokenizer_of


def own_ids(tokenizer: Any, chat: list[Turn], tools: bool, thinking: bool) -> list[int]:
    """What transformers makes of it, in parts where the template takes nothing else."""
    how = {
        "tools": [WEATHER] if tools else None,
        "return_dict": False,
        "enable_thinking": thinking,
        "strftime_now": FIXED_DATE.strftime,
        "date_string": FIXED_DATE.strftime("%d %b %Y"),
    }
    parts = [t | {"content": [{"type": "text", "text": t["content"]}]} for t in chat]
    given = parts if re.match("idefics3|smolvlm|llava", tokenizer.family) else chat
    found: list[int] = tokenizer.apply_chat_template(given, **how)
    return found


def rendered(name: str, which: str) -> tuple[Any, Rendered, str]:
    tokenizer = tokenizer_of(name)
    tokenizer.family = name
    tools = which in ("tools", "beside")
    row = render(tokenizer, messages(CHATS[which], tools), 4000)
    assert row.error is None
    return tokenizer, row, tokenizer.decode([i for i, on in zip(row.ids, row.mask, strict=True) if on])


@pytest.mark.parametrize("which", CHATS)
@pytest.mark.parametrize("name", ALL)
def test_tokens_are_apply_chat_templates(name: str, which: str) -> None:
    tokenizer, row, learned = rendered(name, which)
    tools, thinking = which in ("tools", "beside"), which in ("tags", "field")
    chat = CHATS[which]
    if which == "tags" and re.match("gptoss|qwen3_8|muse|diffusion_gemma|gemma4_v5", name):
        chat = CHATS["field"]  # before an answer, reasoning would be doubled
    if which == "field" and name == "deepseek_r1_distill_training":
        chat = CHATS["tags"]  # it knows no field
    if "rendered as text" not in row.note:
        own = own_ids(tokenizer, chat, tools, thinking)
        if end_of_turn(tokenizer) is None:  # the end of text stands for it, behind the answer
            assert row.ids == [*own[: len(row.ids) - 1], tokenizer.eos_token_id]
        else:
            assert row.ids == own
    said = ["A2"] if which in ("tools",) else ["A1", "A2"]
    assert [text in learned for text in said] == [True] * len(said)
    assert not {"U1", "U2", "T2", "degrees"} & set(re.findall(r"\w+", learned)), "only what the assistant said"
    assert ("Oslo" in learned) == tools
    at = max(i for i, turn in enumerate(CHATS[which]) if turn["role"] == "assistant")
    asked = render_prompt(tokenizer, messages(CHATS[which][:at], tools), 4000, thinking=thinking)
    assert asked == row.ids[: row.prompt_end], "what is asked is what is trained"


@pytest.mark.parametrize("name", ALL)
def test_a_begun_answer_stands_where_training_has_it(name: str) -> None:
    """Behind empty reasoning, a channel's header, or a blank that no generation prompt of the template has."""
    tokenizer = tokenizer_of(name)
    chat = [Message("user", "say a"), Message("assistant", "Rating: 7")]
    asked = tokenizer.decode(render_prompt(tokenizer, chat[:1], 4000, begun="Rating: "))
    assert tokenizer.decode(render(tokenizer, chat, 4000).ids).startswith(asked + "7")


# What these make of calls: nothing, an error, or less than all.
NO_CALLS = r"cohere|gemma(3)?(_training)?$|idefics3|lfm2(_training)?$|llama3(_training)?$|llava|phi3|qwen2_5_vl|smolvlm"
NO_TEXT_BESIDE = r"deepseek_r1|diffusion_gemma|gemma4(_v[345])?$|gptoss|llama3_[12]|muse"
NO_DEFINITIONS = r"deepseek"


@pytest.mark.parametrize("name", ALL)
def test_what_a_template_cannot_be_told_is_noted(name: str) -> None:
    calls, beside = rendered(name, "tools")[1].note, rendered(name, "beside")[1].note
    unknown = bool(re.match(NO_CALLS, name))
    assert bool(calls) == (unknown or bool(re.match(NO_DEFINITIONS, name)))
    assert ("calls" in beside) == (unknown or bool(re.match(NO_TEXT_BESIDE, name)))


KNOWS_REASONING = (
    r"deepseek_r1_distill_training|diffusion_gemma|glm4moe|gemma4_v5|gptoss|lfm2_2_5|muse|nemotron"
    r"|qwen3(?!_(vl|instruct))"
)


@pytest.mark.parametrize("name", ALL)
def test_the_last_answers_reasoning_is_learned_where_the_template_knows_it(name: str) -> None:
    _, row, learned = rendered(name, "field")
    knows = bool(re.match(KNOWS_REASONING, name))
    assert ("R2" in learned, bool(row.note)) == (knows, not knows)
