"""Where a digit's token is found: bare, with the blank before it, and how a reply is begun so that it comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from engine.backends import Rating
from engine.backends.rating import expected, reading
from engine.backends.stop_strings import ended, just_closed
from engine.chat.render import render_prompt
from engine.store.rows import Message
from tests.support import tiny


def byte_pairs(texts: list[str], words: int) -> Any:
    """A byte-level tokenizer like GPT-2's, which keeps a blank with the word or number behind it."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = list(tiny.SPECIAL)
    raw.train_from_iterator(
        texts * 9,
        trainers.BpeTrainer(vocab_size=words, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    out = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token=special[4],
        additional_special_tokens=special[1:4],
        clean_up_tokenization_spaces=False,
    )
    out.chat_template = tiny.TEMPLATE
    return out


def pieces() -> Any:
    """Like Llama 2's: blanks are a mark, every text begins with one, and digits are apart."""
    alphabet = [*"▁Rating:0123456789x\n"]
    raw = Tokenizer(models.BPE({c: i for i, c in enumerate([*alphabet, *tiny.SPECIAL])}, []))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    raw.decoder = decoders.Metaspace(prepend_scheme="first")
    out = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=tiny.SPECIAL[4], clean_up_tokenization_spaces=False)
    out.add_special_tokens({"additional_special_tokens": list(tiny.SPECIAL[1:4])})
    out.chat_template = tiny.TEMPLATE
    return out


def spelled(tokenizer: Any, ids: list[list[int]]) -> list[list[str]]:
    return [tokenizer.convert_ids_to_tokens(forms) for forms in ids]


@pytest.mark.parametrize(
    ("tokenizer", "beginning", "seven"),
    [
        (tiny.make_tokenizer(), "Rating: ", ["7"]),
        (byte_pairs([f"is {d}" for d in range(10)], 300), "Rating:", ["7", "Ġ7"]),
        (byte_pairs([f"{a}: {d}" for a in "gx" for d in range(10)] + ["Rating: "], 330), "Rating:", ["7", "Ġ7"]),
        (pieces(), "Rating: ", ["7"]),
    ],
    ids=["digits apart", "a blank with its digit", "more merges", "marks for blanks"],
)
def test_a_reply_is_begun_so_that_a_digits_token_comes_next(tokenizer: Any, beginning: str, seven: list[str]) -> None:
    digits, begun = reading(tokenizer, Path("model"))
    assert begun == beginning
    assert sorted(spelled(tokenizer, digits)[7]) == sorted(seven)
    chat = [Message("user", "x")]
    start = render_prompt(tokenizer, chat, 500, begun=begun)
    assert render_prompt(tokenizer, chat, 500, begun="Rating: 7") == [*start, digits[7][-1]]


def test_a_tokenizer_that_joins_digits_with_other_text_is_asked_as_it_is() -> None:
    raw = byte_pairs([f"is {d}" for d in range(10)], 300)
    raw.add_tokens([f"Rating: {d}" for d in range(10)])
    assert reading(raw, Path("model"))[1] == ""


def test_a_reply_ends_with_the_first_closing_text() -> None:
    assert ended("a</p>b</p>", ("</p>", "</q>"), turn=False) == ("a</p>", "stop")
    assert ended("a</q></p>", ("</p>", "</q>"), turn=True) == ("a</q>", "stop")
    assert ended("a</p", ("</p>",), turn=False) == ("a</p", "length")
    assert ended("a", ("</p>", "</q>"), turn=True) == ("a</p>", "stop"), "its turn was over"
    assert [ended("a", (), turn) for turn in (True, False)] == [("a", "stop"), ("a", "length")]


def test_only_what_the_newest_tokens_spell_is_looked_at() -> None:
    seen: list[int] = []

    def text(ids: list[int]) -> str:
        seen.append(len(ids))
        return "".join(map(chr, ids))

    long = [*range(200, 900), *b"</p>"]
    assert just_closed(long, ("</p>",), text)  # type: ignore[arg-type]
    assert not just_closed(long[:-1], ("</p>",), text)  # type: ignore[arg-type]
    assert max(seen) <= 8


def test_where_no_digit_can_come_there_is_no_rating() -> None:
    """Not 0, the worst one: a server that tells the likeliest tokens only may tell no digit."""
    assert expected([0.0] * 10) == Rating(None, 0.0, "no digit is among the likeliest tokens")
    assert expected([0.0] * 7 + [0.2, 0.0, 0.0]) == Rating(7.0, 0.2)
