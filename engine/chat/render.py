"""Conversations as the tokens that a model is trained on and scored by, and as the prompts that it is asked.

Everything goes through the tokenizer's own chat template, tools, calls and reasoning in its own arguments where it
knows them: the tokens are those of ``apply_chat_template``. Text that spells a special token stays text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from engine.chat.loss_mask import Rendered, encode_with_mask, spells_special, unusable
from engine.chat.prefix_spans import spans_by_prefix
from engine.chat.surrogates import clean
from engine.chat.template import FIXED_DATE, ChatTemplate, special_pattern, template_of
from engine.chat.template_inputs import Form, forms, reasons, without_reasoning
from engine.chat.token_spans import ids_of, tokens_of
from engine.chat.tokenizer import end_of_turn, load_tokenizer, note
from engine.chat.turn_layout import Laid, Layout, lay, lay_asked, layout, lead, opening
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


CHANGED = "the chat template changes what the turns say, so something else is learned than the dataset has"
NO_REASONING = "the chat template does not show this answer's reasoning, so it is left out"


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
        return unusable("no assistant turn")
    if not any(m.role == "assistant" and m.train for m in messages):
        return unusable("no answer to learn (weight 0 or train false in all turns)")
    messages = learned(messages)
    template, thinking = template_of(tokenizer), thinks(messages)
    adapted = _adapt(template, messages, thinking)
    if adapted is None:
        roles = ", ".join(m.role for m in messages)
        return unusable(f"the chat template rejects the turns {roles}")
    form, found = adapted
    laid = _followed(template, form, found, thinking)
    if laid is None:
        return unusable("the chat template changes the turns' texts, so its tokens cannot be mapped to them")
    answer = next(m.content for m in reversed(messages) if m.role == "assistant" and m.train)
    note = _note(form, laid, thinking) or ("" if laid.leaves or _shown(messages, laid.text) else CHANGED)
    return encode_with_mask(tokenizer, form, laid, max_length, note, clean(answer))


def render_prompt(
    tokenizer: Any, messages: Sequence[Message], max_length: int, *, thinking: bool = False, begun: str = ""
) -> list[int]:
    """A conversation with the generation prompt appended: what a model is asked to continue.

    thinking: whether a reasoning trace is wanted first; then the prompt is that of rows that have one.
    begun: what the answer begins with; it stands where training would have it.

    An empty list when it has more than ``max_length`` tokens or when the template does not accept it.
    """
    template = template_of(tokenizer)
    adapted = _adapt(template, messages, thinking)
    if adapted is None:
        return []
    form, _ = adapted
    pieces = lay_asked(template, form, thinking)
    if pieces is None or (len(pieces) == 1 and spells_special(template, form)):
        return []
    if extra := _opening(template, thinking):
        last, kind = pieces[-1]
        pieces[-1] = (last.removesuffix(extra), kind)
    if begun:
        last, kind = pieces[-1]
        pieces[-1] = (last + _lead(template) + begun, kind)
    if not spells_special(template, form):
        pieces = [("".join(piece for piece, _ in pieces), False)]
    ids = [i for piece, is_content in pieces for i in ids_of(tokenizer, piece, is_content)]
    return ids if len(ids) <= max_length else []


def render_bare(tokenizer: Any, text: str, max_length: int) -> Rendered:
    """A text alone, without template or special tokens: what an embedding of the bare prompt is taken from."""
    ids, _ = tokens_of(tokenizer, clean(text), is_content=True)
    if not ids:
        return unusable("the prompt is empty")
    ids = ids[:max_length]
    return Rendered(ids, [False] * len(ids), len(ids), False)


def thinks(messages: Sequence[Message]) -> bool:
    """Whether the last learned answer has a reasoning trace, which the template is told."""
    return next((reasons(m) for m in reversed(learned(messages)) if m.role == "assistant"), False)


def _adapt(template: ChatTemplate, messages: Sequence[Message], thinking: bool) -> tuple[Form, Layout] | None:
    """The most complete form that the template accepts, with its layout."""
    pattern = special_pattern(template.special_texts)
    for form in forms(messages, _reasoning_by(template), lambda text: bool(pattern.search(text))):
        if (found := layout(template, form, thinking)) is not None:
            return form, found
    return None


REASONED = (Message("user", "U"), Message("assistant", "A", thinking="R"))


@lru_cache(maxsize=64)
def _reasoning_by(template: ChatTemplate) -> str:
    """How the template accepts reasoning; see ``forms``."""
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
    """The part of the generation prompt that no trained answer follows."""
    chat = REASONED if thinking else (REASONED[0], Message("assistant", "A"))
    return opening(template, next(forms(chat, _reasoning_by(template), lambda _: False)), thinking)


@lru_cache(maxsize=64)
def _lead(template: ChatTemplate) -> str:
    """What stands before an answer that the generation prompt does not have: a header that is left to the model."""
    adapted = _adapt(template, (REASONED[0], Message("assistant", "A")), thinking=False)
    return "" if adapted is None else lead(template, adapted[0], thinking=False)


def _followed(template: ChatTemplate, form: Form, found: Layout, thinking: bool) -> Laid | None:
    """The form's text with the places of its turns, by its layout or, where the template rewrites it, by prefixes."""
    laid = lay(template, form, found, thinking)
    if laid is not None or spells_special(template, form):
        return laid
    return spans_by_prefix(template, form, thinking)


def _shown(messages: Sequence[Message], text: str) -> bool:
    """Whether all that is said stands in ``text``, but for white space around it and reasoning before it."""
    said = (m.content for m in messages if m.role in ("user", "assistant") and not m.kind)
    return all(without_reasoning(clean(one)).strip() in text for one in said)


def _note(form: Form, laid: Laid, thinking: bool) -> str:
    """A note on parts of a row that the template does not support."""
    if form.note or not thinking:
        return form.note
    last = max(laid.turns)
    shown = any(form.leaves[leaf].part == "reasoning" and form.leaves[leaf].turn == last for leaf, _ in laid.leaves)
    return "" if shown else NO_REASONING
