"""How a rating is read from a model: which tokens are the digits, and how a reply is begun so that one comes next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.backends import Rating
from engine.chat.render import render_prompt
from engine.errors import ModelError
from engine.store.rows import Message

DIGITS = "0123456789"
BEGINNINGS = ("Rating: ", "Rating:")
"""Starts of a reply. The second is for tokenizers whose digit tokens include the preceding space."""
ASKED = (Message("user", "x"),)
UNLIMITED = 1 << 20


def expected(chances: Sequence[float]) -> Rating:
    """The mean digit, from the probability of each of the ten; an error where none of them can come."""
    mass = math.fsum(chances)
    if not mass:
        return Rating(None, 0.0, "no digit is among the likeliest tokens")
    return Rating(math.fsum(d * p for d, p in enumerate(chances)) / mass, min(mass, 1.0))


def reading(tokenizer: Any, path: Path) -> tuple[list[list[int]], str]:
    """``digit_tokens`` where a reply begins, and the first of ``BEGINNINGS`` behind which the next token is a digit's.

    The beginning is empty where this tokenizer puts digits together with other text.
    """
    digits = digit_tokens(tokenizer, render_prompt(tokenizer, ASKED, UNLIMITED), path)
    written = [render_prompt(tokenizer, ASKED, UNLIMITED, begun=BEGINNINGS[0] + digit) for digit in DIGITS]
    for text in BEGINNINGS:
        start = render_prompt(tokenizer, ASKED, UNLIMITED, begun=text)
        if all(ids[:-1] == start and ids[-1] in known for ids, known in zip(written, digits, strict=True)):
            return digits, text
    return digits, ""


def digit_tokens(tokenizer: Any, start: Sequence[int], path: Path) -> list[list[int]]:
    """For each digit the ids that spell it after ``start`` (where a reply begins): bare, or behind a blank.

    Raises:
        ModelError: this tokenizer has no single token for a digit.
    """
    out = []
    before = tokenizer.decode(start)
    for digit in DIGITS:
        forms = [tokenizer.encode(text, add_special_tokens=False) for text in (digit, f" {digit}")]
        # In its place: a tokenizer that adds a blank to every text would hide the bare digit from a lone encode.
        placed = tokenizer.encode(before + digit, add_special_tokens=False)
        if placed[: len(start)] == list(start):
            forms.append(placed[len(start) :])
        single = sorted({form[0] for form in forms if len(form) == 1})
        if not single:
            raise ModelError(
                f"{path}: the tokenizer has no single token for the digit {digit}, which expected ratings need. "
                'Set [judge] mode = "sampled" in config.toml.'
            )
        out.append(single)
    return out
