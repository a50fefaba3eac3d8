"""How a rating is read from a model: which tokens are the digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import ModelError

DIGITS = "0123456789"


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
                f"{path}: the tokenizer has no single token for the digit {digit}, so a rating cannot be read from "
                'the next token. Set [judge] mode = "sampled" in config.toml.'
            )
        out.append(single)
    return out
