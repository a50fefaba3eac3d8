"""Runs a tokenizer's chat template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

# A fixed date: a template that prints today's date would change losses from day to day.
FIXED_DATE = datetime(2024, 7, 26, tzinfo=UTC)

Specials = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A chat template with its inputs. Hashable, so that layouts can be cached by it."""

    source: str
    variables: Specials
    special_texts: tuple[str, ...]


_templates: WeakKeyDictionary[Any, ChatTemplate] = WeakKeyDictionary()  # reading added tokens takes milliseconds


def template_of(tokenizer: Any) -> ChatTemplate:
    """``tokenizer``'s current template."""
    known = _templates.get(tokenizer)
    source = tokenizer.get_chat_template()
    if known is None or known.source != source:
        known = _templates[tokenizer] = _read(tokenizer, source)
    return known


def _read(tokenizer: Any, source: str) -> ChatTemplate:
    special = {t for t in tokenizer.all_special_tokens if t}
    special |= {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    variables = {k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
    return ChatTemplate(source, tuple(sorted(variables.items())), tuple(sorted(special)))


@lru_cache(maxsize=64)
def special_pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern that matches any of ``texts``; never matches if there are none."""
    return re.compile("|".join(re.escape(t) for t in sorted(texts, key=len, reverse=True)) or r"(?!)")


def run(
    template: ChatTemplate,
    chat: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]] | None,
    *,
    generate: bool,
    thinking: bool,
) -> str | None:
    """The template's text for ``chat``; None when it refuses it.

    thinking: whether the reply has a reasoning trace, as the templates of reasoning models are told.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        texts, _ = render_jinja_template(
            conversations=[list(chat)],
            tools=list(tools) if tools else None,
            chat_template=template.source,
            add_generation_prompt=generate,
            strftime_now=FIXED_DATE.strftime,
            date_string=FIXED_DATE.strftime("%d %b %Y"),
            enable_thinking=thinking,
            **dict(template.variables),
        )
    except Exception:  # noqa: BLE001  # templates reject roles or orders of turns with arbitrary errors
        return None  # the caller then tries another form
    return str(texts[0])
