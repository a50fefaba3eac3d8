"""The loss mask: which tokens of a conversation are trained on and have a loss."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.chat.template import ChatTemplate, special_pattern, template_of
from engine.chat.template_inputs import Form, without_reasoning
from engine.chat.token_spans import Span, encode
from engine.chat.tokenizer import end_of_turn
from engine.chat.turn_layout import Laid
from engine.plurals import counted


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as tokens.

    mask: True for the tokens of every assistant turn that is learned, end-of-turn token included. prompt_end: number of
    tokens before the last such turn's reply. truncated: the end of the last response was cut off. error: why the row
    cannot be used (then ids and mask are empty). own: True for the prompt's tokens that are what its turns say, not
    what the template puts around them, nor the system prompt. Empty: all of the prompt. note: what of the row the
    template could not be told as it is. ends: the last answer's last token is its end of turn. offsets: where each of
    its tokens ends in the answer's content, in characters; empty where the template writes it in another way.
    """

    ids: list[int]
    mask: list[bool]
    prompt_end: int
    truncated: bool
    error: str | None = None
    own: list[bool] = field(default_factory=list)
    note: str = ""
    ends: bool = False
    offsets: list[int] = field(default_factory=list)

    @property
    def response_tokens(self) -> int:
        """Number of tokens in the loss."""
        return sum(self.mask)

    @property
    def reply_tokens(self) -> int:
        """Number of them in the last answer; all of them if that answer is not learned."""
        return sum(self.mask[self.prompt_end :]) or self.response_tokens


def encode_with_mask(tokenizer: Any, form: Form, laid: Laid, max_length: int, told: str, answer: str) -> Rendered:
    """The tokens of a conversation whose turns' places are known. ``answer``: the content of the last one."""
    hostile = spells_special(template_of(tokenizer), form)
    spans = [span for turn, span in sorted(laid.turns.items()) if form.trained[turn]]
    said = [span for leaf, span in laid.leaves if form.leaves[leaf].part != "system"]
    pieces = laid.pieces if hostile else [(laid.text, False)]
    ids, begins, ends = encode(tokenizer, pieces)
    mask = covered(begins, ends, spans)
    prompt_end = bisect_right(ends, spans[-1][0])
    if form.roles[-1] == "assistant" and end_of_turn(tokenizer) is None and tokenizer.eos_token_id is not None:
        # Without an end of turn in the mask the model would never learn to stop.
        stop = len(mask) - next((i for i, on in enumerate(reversed(mask)) if on), 0)
        ids, mask = [*ids[:stop], tokenizer.eos_token_id], [*mask[:stop], True]
        begins, ends = [*begins[:stop], ends[stop - 1]], [*ends[:stop], ends[stop - 1]]
    if prompt_end >= max_length:
        return unusable(f"the prompt alone has {counted(prompt_end, 'token')}, the limit is {max_length}", prompt_end)
    own = covered(begins, ends, said)[:prompt_end]
    own = own if any(own) else []
    reply = [i for i in range(prompt_end, len(ids)) if mask[i]]
    ended = bool(reply) and reply[-1] < max_length and _ends_turn(tokenizer, ids[reply[-1]])
    offsets = _in_answer(laid.text, spans[-1], answer, [ends[i] for i in reply if i < max_length])
    cut = len(ids) > max_length
    return Rendered(ids[:max_length], mask[:max_length], prompt_end, cut, None, own, told, ended, offsets)


def _ends_turn(tokenizer: Any, id: int) -> bool:
    """Whether a token is an end of turn, which may be another one after a tool call. Data never becomes a special
    token.
    """
    if id in (end_of_turn(tokenizer), tokenizer.eos_token_id):
        return True
    return tokenizer.convert_ids_to_tokens(id) in template_of(tokenizer).special_texts


def _in_answer(text: str, turn: tuple[int, int], answer: str, ends: Sequence[int]) -> list[int]:
    """``ends``, places in ``text``, as places in ``answer``, which stands in ``turn``; none when it does not."""
    for part in (answer.strip(), without_reasoning(answer).strip()):
        at = text.rfind(part, *turn) if part else -1
        if at >= 0:
            shift = answer.rfind(part) - at
            return [min(max(end + shift, 0), len(answer)) for end in ends]
    return []


def covered(begins: list[int], ends: list[int], spans: Iterable[Span]) -> list[bool]:
    """Which tokens overlap one of ``spans``. A zero-width token belongs to its predecessor."""
    out = [False] * len(ends)
    for start, stop in spans:
        first, last = bisect_right(ends, start), bisect_left(begins, stop)
        while first < last < len(ends) and begins[last] == ends[last]:
            last += 1
        if first < last:
            out[first:last] = [True] * (last - first)
    return out


def unusable(reason: str, prompt_end: int = 0) -> Rendered:
    """A row without tokens, with the reason."""
    return Rendered([], [], prompt_end, False, reason)


def spells_special(template: ChatTemplate, form: Form) -> bool:
    """Whether the conversation's own text contains a special token's text, which must stay text."""
    pattern = special_pattern(template.special_texts)
    return any(pattern.search(leaf.text) for leaf in form.leaves)
