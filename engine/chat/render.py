"""Conversations as the tokens that a model is trained on and scored by, and as the prompts that it is asked.

Everything goes through the tokenizer's own chat template, tools, calls and reasoning in its own arguments where it
knows them: the tokens are those of ``apply_chat_template``. Text that spells a special token stays text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from engine.chat.prefix_spans import spans_by_prefix
from engine.chat.roles import clean
from engine.chat.template import FIXED_DATE, ChatTemplate, special_pattern, template_of
from engine.chat.template_inputs import Form, forms, reasons, without_reasoning
from engine.chat.token_spans import covered, encode, ids_of, tokens_of
from engine.chat.tokenizer import end_of_turn, load_tokenizer, note
from engine.chat.turn_layout import Laid, Layout, lay, lay_asked, layout, opening
from engine.config.named_templates import TEMPLATE_FOLDER, TEMPLATES, template_text
from engine.store.rows import Message

__all__ = [
    "FIXED_DATE",
    "TEMPLATES",
    "TEMPLATE_FOLDER",
    "Rendered",
    "end_of_turn",
    "learned",
    "load_tokenizer",
    "note",
    "render",
    "render_bare",
    "render_prompt",
    "template_text",
    "thinks",
]


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
        """How many tokens the loss is a mean of."""
        return sum(self.mask)

    @property
    def reply_tokens(self) -> int:
        """How many of them are the last answer's; all of them where that one is not to be learned."""
        return sum(self.mask[self.prompt_end :]) or self.response_tokens


NO_REASONING = "the chat template shows no reasoning of this answer: it is left out"


def learned(messages: Sequence[Message]) -> Sequence[Message]:
    """A conversation up to its last answer that is to be learned: answers behind it change nothing of its loss."""
    answers = [i for i, m in enumerate(messages) if m.role == "assistant"]
    last = max((i for i in answers if messages[i].train), default=-1)
    return messages[: last + 1] if answers and last < answers[-1] else messages


def render(tokenizer: Any, messages: Sequence[Message], max_length: int) -> Rendered:
    """A conversation with its answers, for training and scoring; at most ``max_length`` tokens.

    A longer row loses the end of its response. A row that cannot be used has its reason in ``error``.
    """
    if not any(m.role == "assistant" for m in messages):
        return _unusable("it has no assistant turn")
    if not any(m.role == "assistant" and m.train for m in messages):
        return _unusable("none of its answers is to be learned (weight 0 or train false)")
    messages = learned(messages)
    template, thinking = template_of(tokenizer), thinks(messages)
    adapted = _adapt(template, messages, thinking)
    if adapted is None:
        roles = ", ".join(m.role for m in messages)
        return _unusable(f"the chat template does not accept the turns {roles}")
    form, found = adapted
    laid = _followed(template, form, found, thinking)
    if laid is None:
        return _unusable("the chat template rewrites this conversation in a way that cannot be followed")
    answer = next(m.content for m in reversed(messages) if m.role == "assistant" and m.train)
    return _encoded(tokenizer, form, laid, max_length, _note(form, laid, thinking), clean(answer))


def _encoded(tokenizer: Any, form: Form, laid: Laid, max_length: int, told: str, answer: str) -> Rendered:
    """The tokens of a conversation whose turns' places are known; ``answer``: the content of the last."""
    hostile = _spells_special(template_of(tokenizer), form)
    spans = [span for turn, span in sorted(laid.turns.items()) if form.trained[turn]]
    said = [span for leaf, span in laid.leaves if form.leaves[leaf].part != "system"]
    pieces = laid.pieces if hostile else [(laid.text, False)]
    ids, begins, ends = encode(tokenizer, pieces)
    mask = covered(begins, ends, spans)
    prompt_end = bisect_right(ends, spans[-1][0])
    if form.roles[-1] == "assistant" and end_of_turn(tokenizer) is None and tokenizer.eos_token_id is not None:
        # A template without an end of turn would teach the model never to stop.
        stop = len(mask) - next((i for i, on in enumerate(reversed(mask)) if on), 0)
        ids, mask = [*ids[:stop], tokenizer.eos_token_id], [*mask[:stop], True]
        begins, ends = [*begins[:stop], ends[stop - 1]], [*ends[:stop], ends[stop - 1]]
    if prompt_end >= max_length:
        return _unusable(f"the prompt alone has {prompt_end} tokens, the limit is {max_length}", prompt_end)
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


def render_prompt(tokenizer: Any, messages: Sequence[Message], max_length: int, *, thinking: bool = False) -> list[int]:
    """A conversation with the generation prompt appended: what a model is asked to continue.

    thinking: whether a reasoning trace is wanted first; then the prompt is that of rows that have one.

    An empty list when it has more than ``max_length`` tokens or when the template does not accept it.
    """
    template = template_of(tokenizer)
    adapted = _adapt(template, messages, thinking)
    if adapted is None:
        return []
    form, _ = adapted
    pieces = lay_asked(template, form, thinking)
    if pieces is None or (len(pieces) == 1 and _spells_special(template, form)):
        return []
    if extra := _opening(template, thinking):
        last, kind = pieces[-1]
        pieces[-1] = (last.removesuffix(extra), kind)
    if not _spells_special(template, form):
        pieces = [("".join(piece for piece, _ in pieces), False)]
    ids = [i for piece, is_content in pieces for i in ids_of(tokenizer, piece, is_content)]
    return ids if len(ids) <= max_length else []


def render_bare(tokenizer: Any, text: str, max_length: int) -> Rendered:
    """A text alone, without template or special tokens: what an embedding of the bare prompt is taken from."""
    ids, _ = tokens_of(tokenizer, clean(text), is_content=True)
    if not ids:
        return _unusable("the prompt is empty")
    ids = ids[:max_length]
    return Rendered(ids, [False] * len(ids), len(ids), False)


def _unusable(reason: str, prompt_end: int = 0) -> Rendered:
    return Rendered([], [], prompt_end, False, reason)


def thinks(messages: Sequence[Message]) -> bool:
    """Whether the last answer that is learned has a reasoning trace: so is the template told."""
    return next((reasons(m) for m in reversed(learned(messages)) if m.role == "assistant"), False)


def _adapt(template: ChatTemplate, messages: Sequence[Message], thinking: bool) -> tuple[Form, Layout] | None:
    """The form that the template takes, with its layout. The fullest that works wins."""
    pattern = special_pattern(template.special_texts)
    for form in forms(messages, _reasoning_by(template), lambda text: bool(pattern.search(text))):
        if (found := layout(template, form, thinking)) is not None:
            return form, found
    return None


REASONED = (Message("user", "U"), Message("assistant", "A", thinking="R"))


@lru_cache(maxsize=64)
def _reasoning_by(template: ChatTemplate) -> str:
    """Where the template takes reasoning: see ``forms``."""
    texts = {}
    for how in ("field", "content"):
        form = next(forms(REASONED, how, lambda _: False))
        found = layout(template, form, thinking=True)
        if found is not None and any(form.leaves[leaf].part == "reasoning" for leaf in found.marks):
            texts[how] = "".join(found.own)
    if "field" not in texts:
        return "content" if "content" in texts and "</think>" in template.source else ""
    doubled = texts.get("content", "").count("<think>") > texts["field"].count("<think>")
    return "field alone" if doubled else "field"


@lru_cache(maxsize=64)
def _opening(template: ChatTemplate, thinking: bool) -> str:
    """What the template would ask with and no answer is trained behind."""
    chat = REASONED if thinking else (REASONED[0], Message("assistant", "A"))
    return opening(template, next(forms(chat, _reasoning_by(template), lambda _: False)), thinking)


def _spells_special(template: ChatTemplate, form: Form) -> bool:
    """Whether the form's own text spells a special token, which must stay text."""
    pattern = special_pattern(template.special_texts)
    return any(pattern.search(leaf.text) for leaf in form.leaves)


def _followed(template: ChatTemplate, form: Form, found: Layout, thinking: bool) -> Laid | None:
    """The form's text with the places of its turns, by its layout or, where the template rewrites it, by prefixes."""
    laid = lay(template, form, found, thinking)
    if laid is not None or _spells_special(template, form):
        return laid
    return spans_by_prefix(template, form, thinking)


def _note(form: Form, laid: Laid, thinking: bool) -> str:
    """What of a row the template could not be told."""
    if form.note or not thinking:
        return form.note
    last = max(laid.turns)
    shown = any(form.leaves[leaf].part == "reasoning" and form.leaves[leaf].turn == last for leaf, _ in laid.leaves)
    return "" if shown else NO_REASONING
