"""Lenses: equal to plain transformers, for every shape of conversation and template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple
from transformers import AutoModelForCausalLM

from engine.backends import hf
from engine.chat.render import Rendered, render
from engine.models.locate import ModelRef
from engine.signals import lenses
from engine.signals.lenses import NO_PROMPT, Reading
from engine.store.rows import CachedLoss, Lenses, Message
from tests.support import tiny
from tests.support.chat_templates import ALL, CHATS, STRICT, messages, tokenizer_of

SYSTEM = Message("system", "be brief")
LONG = " ".join(tiny.WORDS * 3)
SHAPES = {
    "plain": tiny.chat("sort red blue", LONG),
    "short": tiny.chat("sort", "red"),
    "empty answer": tiny.chat("sort", ""),
    "system": (SYSTEM, *tiny.chat("sort red blue", LONG)),
    "several": (SYSTEM, *tiny.chat("sort red", "no", "again", LONG)),
    "blanks": tiny.chat("sort red", f"\n\n  {LONG} \n"),
    "wide letters": tiny.chat("sort", "grün 红 🍎 <|end|> " + LONG),
}


def nll(model: Any, prompt: list[int], answer: list[int]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].double()
    return (-torch.log_softmax(logits, -1)[range(len(answer)), answer]).numpy()


def scored(folder: Path, chats: list[tuple[Message, ...]], max_length: int = 512) -> list[tuple[Rendered, Reading]]:
    config = tiny.make_config(folder).model
    tokenizer = tiny.make_tokenizer()
    rows = [render(tokenizer, chat, max_length) for chat in chats]
    bare = list(lenses.without_prompt(tokenizer, chats, rows, max_length))
    found = lenses.score(config, ModelRef(folder), (rows, bare))
    assert [s.error for s, _ in found] == [None] * len(chats)
    return list(zip(rows, (reading for _, reading in found), strict=True))


def test_lenses_equal_plain_transformers(tiny_model: Path) -> None:
    tokenizer, model = tiny.make_tokenizer(), AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    found = scored(tiny_model, list(SHAPES.values()))
    hf.release()
    for (name, chat), (row, reading) in zip(SHAPES.items(), found, strict=True):
        answer = row.ids[row.prompt_end : -1]  # the template ends its turns with a line break
        assert answer[-1] == tokenizer.eos_token_id

        def asked(turns: list[Message]) -> list[int]:
            given = [{"role": m.role, "content": m.content} for m in turns]
            ids: list[int] = tokenizer.apply_chat_template(given, add_generation_prompt=True, return_dict=False)
            return ids

        system = [m for m in chat if m.role == "system"]
        with_it = nll(model, asked(list(chat[:-1])), answer)
        without = nll(model, asked([*system, Message("user", "")]), answer)[:-1]
        text, end = with_it[:-1], with_it[-1]
        assert reading.end_of_turn == pytest.approx(end, abs=1e-5), name
        if len(text) == 0:
            assert reading.values[1:] == (None,) * 5
            continue
        k = min(16, len(text))
        means = [text[i : i + k].mean() for i in range(len(text) - k + 1)]
        expected = without.mean(), text.mean() / without.mean(), max(means)
        assert reading.values[1:4] == pytest.approx(expected, abs=1e-5), name
        worst = int(np.argmax(means))
        shown = chat[-1].content[reading.window_begin : reading.window_end]
        told = tokenizer.decode(answer[worst : worst + k])
        assert shown.strip() in chat[-1].content
        assert told.strip("\ufffd \n") in shown or shown.strip() in told, name


def test_a_cut_off_answer_has_no_end(tiny_model: Path) -> None:
    ((row, reading),) = scored(tiny_model, [SHAPES["plain"]], max_length=40)
    hf.release()
    assert row.truncated
    assert reading.end_of_turn is None
    assert None not in reading.values[1:]


def test_without_a_prompt_there_is_no_ifd(tiny_model: Path) -> None:
    alone = (Message("assistant", LONG),)
    ((_, reading),) = scored(tiny_model, [alone])
    hf.release()
    assert reading.without_prompt is reading.ifd is None
    assert None not in (reading.end_of_turn, reading.worst_window)


@pytest.mark.parametrize("name", [*ALL, "strict"])
def test_every_template_has_an_end_offsets_and_a_row_without_the_prompt(name: str) -> None:
    tokenizer = tiny.make_tokenizer(STRICT) if name == "strict" else tokenizer_of(name)
    chat = (SYSTEM, *tiny.chat("sort red", "no", "again", LONG))
    row = render(tokenizer, chat, 4096)
    (bare,) = lenses.without_prompt(tokenizer, [chat], [row], 4096)
    assert row.ends
    assert bare.error is None
    answer = [id for id, on in zip(row.ids[row.prompt_end :], row.mask[row.prompt_end :], strict=True) if on]
    assert bare.ids[bare.prompt_end :] == answer
    assert 1 <= bare.prompt_end < row.prompt_end
    assert len(row.offsets) == len(answer)
    assert row.offsets == sorted(row.offsets)
    assert row.offsets[-1] == len(LONG)


def test_an_answer_is_found_behind_its_reasoning_and_a_call_is_nowhere() -> None:
    tokenizer = tokenizer_of(next(name for name in ALL if name.startswith("qwen3")))
    thought = messages(CHATS["tags"], tools=False)
    row = render(tokenizer, thought, 4096)
    assert row.offsets[-1] == len(thought[-1].content)
    called = messages(CHATS["tools"][:2], tools=True)
    row = render(tokenizer, called, 4096)
    (bare,) = lenses.without_prompt(tokenizer, [called], [row], 4096)
    assert not row.error
    assert row.offsets == []
    assert "weather" not in tokenizer.decode(bare.ids[: bare.prompt_end]), "tools are part of the prompt"
    losses = np.ones(row.reply_tokens, np.float32)
    assert lenses.read(row, losses, losses).values[3:] == (1.0, None, None)


def test_a_template_that_refuses_an_empty_turn_is_left_out() -> None:
    refuses = "{% for m in messages %}{% if not m['content'] %}{{ raise_exception('empty') }}{% endif %}{% endfor %}"
    tokenizer = tiny.make_tokenizer(refuses + tiny.TEMPLATE)
    chat = SHAPES["plain"]
    row = render(tokenizer, chat, 512)
    (bare,) = lenses.without_prompt(tokenizer, [chat], [row], 512)
    assert bare.error is None
    assert bare.ids == [row.ids[0], *row.ids[row.prompt_end : -1]]


def test_who_says_nothing_has_no_prompt() -> None:
    tokenizer, chat = tiny.make_tokenizer(), tiny.chat(" ", "red")
    row = render(tokenizer, chat, 512)
    (bare,) = lenses.without_prompt(tokenizer, [chat], [row], 512)
    assert bare.error == NO_PROMPT


@given(st.lists(st.floats(0, 50, width=32), min_size=1, max_size=60))
def test_the_worst_window_is_the_worst_of_all(values: list[float]) -> None:
    losses = np.array(values, np.float32)
    worst, at = lenses.worst_window(losses)
    k = min(16, len(values))
    means = [losses[i : i + k].mean(dtype=np.float64) for i in range(len(values) - k + 1)]
    assert worst == pytest.approx(max(means), abs=1e-9)
    assert means[at] == pytest.approx(max(means), abs=1e-9)


def test_the_store_keeps_a_reading_as_it_is() -> None:
    reading = Reading(1.0, 2.0, 3.0, 4.0, 5, 6)
    assert astuple(Lenses(0, 7, *reading.values))[2:] == reading.values
    cached = CachedLoss("m", 7, 1.5, None, *reading.values)
    assert tuple(getattr(cached, name) for name in Lenses.__struct_fields__[2:]) == reading.values
