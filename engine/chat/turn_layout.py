"""Finds where each turn is in the text that a chat template renders.

The template is run on a form whose strings are replaced by marks. What stands between the marks is its own text; the
strings are then put back one by one and compared with what the template makes of the real form, so a row is followed
exactly or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from engine.chat.template import ChatTemplate, run, special_pattern
from engine.chat.template_inputs import MARK, Form, Leaf
from engine.chat.token_spans import Pieces, Span

Place = tuple[int, int]
"""A position in a text with marks: (number of marks before it, characters after the last of these)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A template's text with marks: ``own[i]`` stands before the i-th mark, ``own[-1]`` behind the last.

    marks: the leaf that each mark stands for. turns: where each assistant turn begins, behind what asks for it, and
    ends, its end of turn included.
    """

    own: tuple[str, ...]
    marks: tuple[int, ...]
    turns: dict[int, tuple[Place, Place]]


@dataclass(frozen=True, slots=True)
class Laid:
    """A conversation's text in pieces, with spans in characters of the whole: of assistant turns by their number, and
    of leaves.
    """

    pieces: Pieces
    turns: dict[int, Span]
    leaves: tuple[tuple[int, Span], ...]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(piece for piece, _ in self.pieces)


@dataclass(frozen=True, slots=True)
class _Marked:
    """A text with marks, and the position after each mark."""

    text: str
    found: tuple[tuple[int, int, int], ...]  # leaf, begin, end

    @property
    def tail(self) -> str:
        """The text after the last mark."""
        return self.text[self.found[-1][2] :] if self.found else self.text


@lru_cache(maxsize=8192)
def _run(template: ChatTemplate, key: str, upto: int, generate: bool, thinking: bool) -> _Marked | None:
    """The template's text for the first ``upto`` turns of a marked form."""
    chat, tools = json.loads(key)
    text = run(template, chat[:upto], tools, generate=generate, thinking=thinking)
    if text is None:
        return None
    return _Marked(text, tuple((int(m[1]), m.start(), m.end()) for m in MARK.finditer(text)))


def layout(template: ChatTemplate, form: Form, thinking: bool) -> Layout | None:
    """The layout of a form; None if the template rejects it, or loses, repeats or moves a turn."""
    parts = tuple((leaf.turn, leaf.part) for leaf in form.leaves)
    return _layout(template, form.key, form.roles, parts, thinking)


@lru_cache(maxsize=4096)
def _layout(
    template: ChatTemplate, key: str, roles: tuple[str, ...], parts: tuple[tuple[int, str], ...], thinking: bool
) -> Layout | None:
    whole = _run(template, key, len(roles), False, thinking)
    if whole is None or not _complete(whole, parts) or not _shows_tools(template, whole, key, len(roles), thinking):
        return None
    turns = {}
    for turn in (i for i, role in enumerate(roles) if role == "assistant"):
        begin = _begin(template, key, whole, parts, turn, thinking)
        turns[turn] = (begin, _end(template, key, whole, parts, turn, begin, thinking))
    if not _apart(whole, parts, turns) or not _shows_calls(whole, key, turns):
        return None
    cuts = [0, *(at for _, begin, end in whole.found for at in (begin, end)), len(whole.text)]
    own = tuple(whole.text[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True))
    marks = tuple(leaf for leaf, _, _ in whole.found)
    return Layout(own, marks, {t: (_place(whole, a), _place(whole, b)) for t, (a, b) in turns.items()})


def _complete(whole: _Marked, parts: tuple[tuple[int, str], ...]) -> bool:
    """Whether each leaf appears once, except reasoning, which templates omit from earlier turns."""
    times = [0] * len(parts)
    for leaf, _, _ in whole.found:
        times[leaf] += 1
    return all(n == 1 or (n == 0 and part == "reasoning") for n, (_, part) in zip(times, parts, strict=True))


def _shows_tools(template: ChatTemplate, whole: _Marked, key: str, turns: int, thinking: bool) -> bool:
    """Whether the tools that were handed over change the text: most templates say nothing when they know none."""
    chat, tools = json.loads(key)
    if not tools:
        return True
    without = _run(template, json.dumps([chat, None], ensure_ascii=False), turns, False, thinking)
    return without is None or without.text != whole.text


def _shows_calls(whole: _Marked, key: str, turns: dict[int, Span]) -> bool:
    """Whether each turn has the names of what it calls: a call without arguments has nothing else to be missed by."""
    chat = json.loads(key)[0]
    return all(
        call["function"]["name"] in whole.text[begin:end]
        for turn, (begin, end) in turns.items()
        for call in chat[turn].get("tool_calls", ())
    )


def _apart(whole: _Marked, parts: tuple[tuple[int, str], ...], turns: dict[int, Span]) -> bool:
    """Whether the assistant's turns are in order, and each holds its own strings and no other's."""
    at = 0
    for begin, end in turns.values():
        if not at <= begin <= end:
            return False
        at = end
    for leaf, begin, end in whole.found:
        turn = parts[leaf][0]
        holders = [t for t, (a, b) in turns.items() if a < end and begin < b]
        if holders != ([turn] if turn in turns else []):
            return False
    return True


def _place(whole: _Marked, at: int) -> Place:
    behind = [end for _, _, end in whole.found if end <= at]
    return len(behind), at - (behind[-1] if behind else 0)


def _behind(whole: _Marked, other: _Marked) -> int:
    """The position in ``whole`` after the last mark of ``other``."""
    if not other.found:
        return 0
    return next((end for leaf, _, end in whole.found if leaf == other.found[-1][0]), len(whole.text))


def _begin(
    template: ChatTemplate,
    key: str,
    whole: _Marked,
    parts: tuple[tuple[int, str], ...],
    turn: int,
    thinking: bool,
) -> int:
    """The start of an assistant turn: after the generation prompt, as far as the text contains it."""
    first = min((begin for leaf, begin, _ in whole.found if parts[leaf][0] == turn), default=len(whole.text))
    reached: list[tuple[bool, int]] = []
    for how in (thinking, not thinking) if turn else ():
        if (asked := _run(template, key, turn, True, how)) is not None:
            start = _behind(whole, asked)
            same = len(os.path.commonprefix([asked.tail, whole.text[start:]]))  # noqa: RUF071 - characters are meant
            reached.append((same == len(asked.tail), min(start + same, first)))
    fully = [at for all_of_it, at in reached if all_of_it]
    return max(fully) if fully else reached[0][1] if reached else first


def _end(
    template: ChatTemplate,
    key: str,
    whole: _Marked,
    parts: tuple[tuple[int, str], ...],
    turn: int,
    begin: int,
    thinking: bool,
) -> int:
    """The end of an assistant turn: after its end-of-turn token, which stops a reply."""
    alone = _run(template, key, turn + 1, False, thinking)
    last = max((end for leaf, _, end in whole.found if parts[leaf][0] <= turn), default=0)
    after = whole.text[last : min((b for _, b, _ in whole.found if b >= last), default=len(whole.text))]
    tail = after if alone is None or _behind(whole, alone) != last else alone.tail
    own = os.path.commonprefix([tail, after])  # noqa: RUF071 - characters are meant
    special, skip = special_pattern(template.special_texts), max(begin - last, 0)
    if not special.search(own, skip) and special.search(tail, skip) and (found := special.search(after, skip)):
        return last + found.end()  # the last turn of all ends otherwise than one that is followed
    calls = any(parts[leaf] == (turn, "call") for leaf, _, _ in whole.found)
    return last + skip + _ending(template, own[skip:], many=calls or skip > 0)


def _ending(template: ChatTemplate, own: str, many: bool) -> int:
    """How much of the text behind a turn's last string belongs to it: up to the first special token, if any.

    many: calls are put between special tokens, so their turn ends with the end of turn, or with the last of them.
    """
    found = list(special_pattern(template.special_texts).finditer(own))
    if not found:
        return len(own.rstrip())
    if not many:
        return found[0].end()
    ends = end_text(template)
    return next((f.end() for f in found if f.group() == ends), found[-1].end())


@lru_cache(maxsize=64)
def end_text(template: ChatTemplate) -> str:
    """The end-of-turn text: the first special token after an answer, else the text there. May be empty."""
    tail = tail_text(template)
    found = special_pattern(template.special_texts).search(tail)
    return found.group() if found else tail.strip()


@lru_cache(maxsize=64)
def tail_text(template: ChatTemplate) -> str:
    """The text after the answer in a conversation of one exchange."""
    for parts in (False, True):
        texts = ("qZ0middoTurnZq", "qZ1middoTurnZq")
        contents = [[{"type": "text", "text": t}] if parts else t for t in texts]
        chat = [{"role": role, "content": c} for role, c in zip(("user", "assistant"), contents, strict=True)]
        whole = _run(template, json.dumps([chat, None]), 2, False, False)
        if whole is not None and len(whole.found) == 2:
            return whole.tail
    return ""


def lay(template: ChatTemplate, form: Form, found: Layout, thinking: bool) -> Laid | None:
    """The form's text with strings in place of the marks; None if the template renders something else."""
    text = run(template, form.chat, form.tools, generate=False, thinking=thinking)
    filled = None if text is None else _fill(found.own, [form.leaves[i] for i in found.marks], text)
    if filled is None:
        return None
    pieces, starts, spans = filled
    turns = {turn: (starts[begin[0]] + begin[1], starts[end[0]] + end[1]) for turn, (begin, end) in found.turns.items()}
    return Laid(pieces, turns, tuple(zip(found.marks, spans, strict=True)))


def lay_asked(template: ChatTemplate, form: Form, thinking: bool) -> Pieces | None:
    """The generation prompt for a form, in pieces."""
    text = run(template, form.chat, form.tools, generate=True, thinking=thinking)
    marked = _run(template, form.key, len(form.roles), True, thinking)
    if text is None or marked is None:
        return None
    cuts = [0, *(at for _, begin, end in marked.found for at in (begin, end)), len(marked.text)]
    own = tuple(marked.text[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True))
    filled = _fill(own, [form.leaves[leaf] for leaf, _, _ in marked.found], text)
    return [(text, False)] if filled is None else filled[0]


def _fill(own: tuple[str, ...], leaves: list[Leaf], text: str) -> tuple[Pieces, list[int], list[Span]] | None:
    """``text`` in pieces, where each of ``own`` starts, and each leaf's span."""
    if not text.startswith(own[0]):
        return None
    pieces: Pieces = [(own[0], False)]
    starts, spans, at = [0], [], len(own[0])
    for leaf, behind in zip(leaves, own[1:], strict=True):
        for value in _spellings(leaf):
            if text.startswith(value, at) and text.startswith(behind, at + len(value)):
                break
        else:
            return None
        spans.append((at, at + len(value)))
        starts.append(at + len(value))
        at += len(value) + len(behind)
        pieces += [(value, True), (behind, False)]
    return (pieces, starts, spans) if at == len(text) else None


def _spellings(leaf: Leaf) -> Iterator[str]:
    """A string as is, or as JSON and Python literals."""
    yield leaf.text
    if leaf.part == "said" or leaf.part == "call":
        yield json.dumps(leaf.text, ensure_ascii=False)[1:-1]
        yield json.dumps(leaf.text)[1:-1]
        yield repr(leaf.text)[1:-1]


def opening(template: ChatTemplate, form: Form, thinking: bool) -> str:
    """What generation would be given that no answer of this form is trained behind: a block for reasoning, say.

    Args:
        form: a user's turn and an answer.
    """
    return _between(template, form, thinking)[0]


def lead(template: ChatTemplate, form: Form, thinking: bool) -> str:
    """What an answer of this form is trained behind that generation would not be given: the model is to write it.

    Args:
        form: a user's turn and an answer.
    """
    return _between(template, form, thinking)[1]


def _between(template: ChatTemplate, form: Form, thinking: bool) -> tuple[str, str]:
    """What stands behind a user's turn, where generation's prompt and a whole conversation part: the rest of each, of
    the conversation's up to the answer.
    """
    found, asked = layout(template, form, thinking), _run(template, form.key, 1, True, thinking)
    whole = None if found is None or asked is None else _run(template, form.key, 2, False, thinking)
    if whole is None or asked is None:
        return "", ""
    start = _behind(whole, asked)
    own = whole.text[start : next((begin for _, begin, _ in whole.found if begin >= start), start)]
    same = len(os.path.commonprefix([asked.tail, whole.text[start:]]))  # noqa: RUF071 - characters are meant
    return asked.tail[same:], own[same:]
