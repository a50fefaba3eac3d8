"""Tokenises pieces of a rendered conversation: token ids, and the text span of each token."""

from __future__ import annotations

from typing import Any

Span = tuple[int, int]
Pieces = list[tuple[str, bool]]
"""[(text, is_content)]: ``is_content`` is True for what a turn says, False for what the template puts around it."""


def encode(tokenizer: Any, pieces: Pieces) -> tuple[list[int], list[int], list[int]]:
    """Token ids, and where each token begins and ends in the text: both never fall.

    Byte-level tokenizers trim blanks from offsets, and the bytes of one character share an offset: tokens are taken as
    contiguous.
    """
    ids: list[int] = []
    begins: list[int] = []
    ends: list[int] = []
    base = end = 0
    for piece, is_content in pieces:
        tokens, offsets = tokens_of(tokenizer, piece, is_content)
        end = base
        ids += tokens
        for _, stop in offsets:
            begins.append(end)
            end = max(base + stop, end)
            ends.append(end)
        base += len(piece)
    return ids, begins, ends


def ids_of(tokenizer: Any, text: str, is_content: bool) -> list[int]:
    """``tokens_of`` without the offsets, which take longer to hand over than to find."""
    if not text:
        return []
    how = {"add_special_tokens": False, "return_attention_mask": False, "split_special_tokens": is_content}
    found: list[int] = tokenizer(text, verbose=False, **how)["input_ids"]
    return found


def tokens_of(tokenizer: Any, text: str, is_content: bool) -> tuple[list[int], list[Span]]:
    """Token ids of a piece and where each begins and ends in it. What spells a special token in a turn's own text
    (``is_content``) stays text.
    """
    if not text:
        return [], []
    out = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        split_special_tokens=is_content,
        verbose=False,
    )
    return out["input_ids"], out["offset_mapping"]
