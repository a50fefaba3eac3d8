"""Halves of surrogate pairs, which no tokenizer takes and no file may hold."""

from __future__ import annotations


def clean(text: str) -> str:
    """``text`` with lone surrogates (broken JSON escapes), which cannot be tokenised, replaced by ``?``."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text
