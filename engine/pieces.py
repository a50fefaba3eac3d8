"""Pieces of a rendered conversation -> tokens, and which of them lie in given spans of its text."""

from __future__ import annotations

from typing import Any

Span = tuple[int, int]
Pieces = list[tuple[str, bool]]
"""Text, and whether it is a turn's own text."""


def encode(tokenizer: Any, pieces: Pieces, spans: list[Span]) -> tuple[list[int], list[bool], int]:
    """Token ids, the mask of ``spans``, and the number of tokens before the last span."""
    ids: list[int] = []
    mask: list[bool] = []
    prompt_end = base = span = 0
    for piece, is_content in pieces:
        tokens, offsets = tokens_of(tokenizer, piece, is_content)
        end = base
        for token, (_, stop) in zip(tokens, offsets, strict=True):
            # Byte-level tokenizers trim blanks from offsets, and the bytes of one character share an offset:
            # tokens are taken as contiguous, and one without width belongs where the token before it does.
            begin, end = end, max(base + stop, end)
            while span < len(spans) and spans[span][1] <= begin:
                span += 1  # spans are in order, and so are tokens
            inside = span < len(spans) and end > spans[span][0]
            if begin == end and mask:
                inside = mask[-1]
            prompt_end += end <= spans[-1][0]
            ids.append(token)
            mask.append(inside)
        base += len(piece)
    return ids, mask, prompt_end


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
