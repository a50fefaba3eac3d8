"""Finds assistant turns by prefixes, for templates that change the text: a turn starts after its generation prompt."""

from __future__ import annotations

from engine.chat.template import ChatTemplate, run, special_pattern
from engine.chat.template_inputs import Form
from engine.chat.turn_layout import Laid


def spans_by_prefix(template: ChatTemplate, form: Form, thinking: bool) -> Laid | None:
    """The rendered text with the spans of its assistant turns; None if they cannot be found."""
    text = run(template, form.chat, form.tools, generate=False, thinking=thinking)
    if text is None:
        return None
    pattern = special_pattern(template.special_texts)
    spans = {}
    for turn in (i for i, role in enumerate(form.roles) if role == "assistant"):
        asked = run(template, form.chat[:turn], form.tools, generate=True, thinking=thinking) if turn else ""
        if asked is None or not text.startswith(asked):
            return None
        ended = pattern.search(text, len(asked))
        if ended is None and turn < len(form.roles) - 1:
            return None
        spans[turn] = (len(asked), ended.end() if ended else len(text.rstrip()))
    return Laid([(text, False)], spans, ())
