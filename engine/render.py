"""Sample -> (token ids, loss mask, prompt span): the only chat-template code.

Training, scoring, judging and generation must see the very same tokens, so all of them come from here. A
template is run on placeholders once per sequence of roles; that tells which text it puts around each turn,
where the assistant's reply begins (after the generation prompt) and where it ends (after the end-of-turn
token). Each row is then rendered for real and compared with what the placeholders promised; a row that its
template rewrites is cut by prefix renders instead.

A row that cannot be rendered is data: ``Rendered.error`` says why, and its ``ids`` are empty.
"""

from __future__ import annotations

import os.path
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from engine.errors import ConfigError, ModelError
from engine.pieces import Pieces, Span, covered, encode, ids_of, tokens_of
from engine.store.rows import Message
from engine.turns import Turns, clean, mappings

# A template that prints today's date would render a row differently tomorrow: no loss could be compared.
FIXED_DATE = datetime(2024, 7, 26, tzinfo=UTC)


TEMPLATE_FOLDER = Path(__file__).parent / "templates"
TEMPLATES = ("alpaca", "chatml", "llama3", "mistral")
"""Chat templates for base models, which come without one."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as tokens.

    mask: True for the tokens of every assistant turn, end-of-turn token included. prompt_end: number of
    tokens before the last assistant turn's reply. truncated: the end of the last response was cut off. error:
    why the row cannot be used (then ids and mask are empty). own: True for the prompt's tokens that the embedding is
    the mean of: what its turns say, not what the template puts around them, nor the system prompt. Empty: all of the
    prompt.
    """

    ids: list[int]
    mask: list[bool]
    prompt_end: int
    truncated: bool
    error: str | None = None
    own: list[bool] = field(default_factory=list)

    @property
    def response_tokens(self) -> int:
        """How many tokens the loss is a mean of."""
        return sum(self.mask)

    @property
    def reply_tokens(self) -> int:
        """How many of them are the last answer's; all of them where that one is not to be learned."""
        return sum(self.mask[self.prompt_end :]) or self.response_tokens


@dataclass(frozen=True, slots=True)
class _Layout:
    """The text a template puts around turns: ``pieces[i]`` is before turn i, ``pieces[-1]`` after the last.

    starts: assistant turn -> how many characters of ``pieces[turn]`` belong to the generation prompt.
    ends: assistant turn -> how many characters of ``pieces[turn + 1]`` still belong to the turn.
    """

    pieces: tuple[str, ...]
    starts: dict[int, int]
    ends: dict[int, int]


Specials = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Template:
    """A chat template with what it needs to be run: hashable, so layouts can be cached by it."""

    source: str
    variables: Specials
    special_texts: tuple[str, ...]


def load_tokenizer(path: str | Path, chat_template: str = "") -> Any:
    """The tokenizer in ``path``, with a chat template that works and a padding token.

    ``chat_template`` names one of ours (``TEMPLATES``) or a file, to be used instead of the tokenizer's own.

    Raises:
        ModelError: unreadable, not a fast tokenizer, no chat template, or one that cannot be followed.
        ConfigError: there is no such template.
    """
    from transformers import AutoTokenizer

    local = Path(path).is_dir()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False, local_files_only=local)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ModelError(
            f"{path}: no usable tokenizer here ({_first_line(error)}). "
            "Give a folder or hub name that holds tokenizer.json and tokenizer_config.json."
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(f"{path}: only a slow tokenizer, which reports no offsets. Add its tokenizer.json.")
    if _loses_spaces(tokenizer):
        tokenizer = _as_written(path)
    if chat_template:
        tokenizer.chat_template = template_text(chat_template)
    elif isinstance(tokenizer.chat_template, dict):
        if "default" not in tokenizer.chat_template:
            raise ModelError(
                f"{path}: the tokenizer has chat templates named {', '.join(sorted(tokenizer.chat_template))}, and no"
                " default. Save the wanted one as a file and name it in config.toml ([model] chat_template)."
            )
        tokenizer.chat_template = tokenizer.chat_template["default"]
    if not tokenizer.chat_template:
        raise ModelError(
            f"{path}: the tokenizer has no chat template. Name one in config.toml ([model] chat_template = "
            f"{', '.join(TEMPLATES)} or a file), or use an instruction-tuned model."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if _layout(_template(tokenizer), ("user", "assistant")) is None:
        raise ModelError(
            f"{path}: the chat template does not show a user and an assistant turn as they are written. "
            "Name one that does in config.toml ([model] chat_template)."
        )
    return tokenizer


def _loses_spaces(tokenizer: Any) -> bool:
    """Whether it makes the same tokens of words with spaces and without."""
    spaced, joined = (tokenizer.encode(text, add_special_tokens=False) for text in ("one two six", "onetwosix"))
    return bool(spaced == joined)


def _as_written(path: str | Path) -> Any:
    """The tokenizer as its tokenizer.json says, not as transformers builds it for the class that its config names.

    A Llama tokenizer class around a byte-level tokenizer.json (DeepSeek's models have that) loses all spaces.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(path), local_files_only=Path(path).is_dir())
    if _loses_spaces(tokenizer):
        raise ModelError(
            f"{path}: the tokenizer loses the spaces between words. Take the tokenizer.json that belongs to the model."
        )
    return tokenizer


def template_text(name: str) -> str:
    """The Jinja text of one of our chat templates, or of the file ``name``.

    Raises:
        ConfigError: there is neither.
    """
    path = TEMPLATE_FOLDER / f"{name}.jinja" if name in TEMPLATES else Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(TEMPLATES)
        raise ConfigError(f"config.toml: [model] chat_template = {name!r}: {error}. Name a file, or {known}.") from None


def render(tokenizer: Any, messages: Sequence[Message], max_length: int) -> Rendered:
    """A conversation with its answers, for training and scoring; at most ``max_length`` tokens.

    A longer row loses the end of its response. A row that cannot be used has its reason in ``error``.
    """
    if not any(m.role == "assistant" for m in messages):
        return _unusable("it has no assistant turn")
    template = _template(tokenizer)
    adapted = _adapt(template, messages)
    if adapted is None:
        roles = ", ".join(m.role for m in messages)
        return _unusable(f"the chat template does not accept the turns {roles}")
    turns, layout = adapted
    cut = _cut(template, turns, layout)
    if cut is None:
        return _unusable("the chat template rewrites this conversation in a way that cannot be followed")
    pieces, spans, said = cut
    ids, begins, ends = encode(tokenizer, pieces)
    mask = covered(begins, ends, spans)
    prompt_end = bisect_right(ends, spans[-1][0])
    own = covered(begins, ends, said)[:prompt_end]
    own = own if any(own) else []
    if turns[-1].role == "assistant" and end_of_turn(tokenizer) is None and tokenizer.eos_token_id is not None:
        # A template without an end of turn would teach the model never to stop.
        ids, mask = [*ids, tokenizer.eos_token_id], [*mask, True]
    if prompt_end >= max_length:
        return _unusable(f"the prompt alone has {prompt_end} tokens, the limit is {max_length}", prompt_end)
    return Rendered(ids[:max_length], mask[:max_length], prompt_end, len(ids) > max_length, None, own)


def render_prompt(tokenizer: Any, messages: Sequence[Message], max_length: int) -> list[int]:
    """A conversation with the generation prompt appended: what a model is asked to continue.

    An empty list when it has more than ``max_length`` tokens or when the template does not accept it.
    """
    template = _template(tokenizer)
    adapted = _adapt(template, messages)
    if adapted is None:
        return []
    turns, _ = adapted
    text = _run(template, turns, generate=True)
    if text is None:
        return []
    pieces: Pieces | None = [(text, False)]
    if _hostile(template, turns):
        around = _pieces(template, tuple(t.role for t in turns), generate=True)
        pieces = _interleave(around, turns, text) if around else None
    if pieces is None:
        return []
    ids = [i for piece, is_content in pieces for i in ids_of(tokenizer, piece, is_content)]
    return ids if len(ids) <= max_length else []


def render_bare(tokenizer: Any, text: str, max_length: int) -> Rendered:
    """A text alone, without template or special tokens: what an embedding of the bare prompt is taken from."""
    ids, _ = tokens_of(tokenizer, clean(text), is_content=True)
    if not ids:
        return _unusable("the prompt is empty")
    ids = ids[:max_length]
    return Rendered(ids, [False] * len(ids), len(ids), False)


def end_of_turn(tokenizer: Any) -> int | None:
    """The id of the token that ends an assistant turn in the chat template, None when there is none."""
    template = _template(tokenizer)
    layout = _layout(template, ("user", "assistant"))
    tail = layout.pieces[-1][: layout.ends[1]] if layout else ""
    found = _special_pattern(template.special_texts).search(tail)
    return int(tokenizer.convert_tokens_to_ids(found.group())) if found else None


def _unusable(reason: str, prompt_end: int = 0) -> Rendered:
    return Rendered([], [], prompt_end, False, reason)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


_templates: WeakKeyDictionary[Any, _Template] = WeakKeyDictionary()  # reading added tokens takes milliseconds


def _template(tokenizer: Any) -> _Template:
    known = _templates.get(tokenizer)
    source = tokenizer.get_chat_template()
    if known is None or known.source != source:
        known = _templates[tokenizer] = _read_template(tokenizer, source)
    return known


def _read_template(tokenizer: Any, source: str) -> _Template:
    special = {t for t in tokenizer.all_special_tokens if t}
    special |= {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    variables = {k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
    return _Template(source, tuple(sorted(variables.items())), tuple(sorted(special)))


@lru_cache(maxsize=64)
def _special_pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(t) for t in sorted(texts, key=len, reverse=True)) or r"(?!)")


def _hostile(template: _Template, turns: Turns) -> bool:
    """Whether a turn's own text spells a special token, which must stay text."""
    pattern = _special_pattern(template.special_texts)
    return any(pattern.search(t.content) for t in turns)


def _run(template: _Template, turns: Turns, generate: bool) -> str | None:
    """The template's text for ``turns``; None when it refuses them."""
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    chat = [{"role": t.role, "content": t.content} for t in turns]
    try:
        # enable_thinking: instruction data has answers without a reasoning trace, and a rating is one token.
        texts, _ = render_jinja_template(
            conversations=[chat],
            chat_template=template.source,
            add_generation_prompt=generate,
            strftime_now=FIXED_DATE.strftime,
            date_string=FIXED_DATE.strftime("%d %b %Y"),
            enable_thinking=False,
            **dict(template.variables),
        )
    except (TemplateError, TypeError, ValueError, KeyError, IndexError, AttributeError):
        return None  # the template's way to refuse roles or orders of turns; the caller tries another mapping
    return str(texts[0])


def _adapt(template: _Template, messages: Sequence[Message]) -> tuple[Turns, _Layout] | None:
    """The turns in roles that the template knows, with their layout. The mildest change that works wins."""
    for turns in mappings(tuple(Message(m.role, clean(m.content)) for m in messages)):
        roles = tuple(t.role for t in turns)
        if (layout := _layout(template, roles)) is not None:
            return turns, layout
    return None


@lru_cache(maxsize=4096)
def _pieces(template: _Template, roles: tuple[str, ...], generate: bool) -> tuple[str, ...] | None:
    """The text around the turns, found with placeholders; None when a turn is lost, repeated or moved."""
    marks = [f"qZ{i}middoTurn{i}Zq" for i in range(len(roles))]
    text = _run(template, tuple(Message(r, m) for r, m in zip(roles, marks, strict=True)), generate)
    if text is None:
        return None
    out = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or any(m in before for m in marks):
            return None
        out.append(before)
    return None if any(m in text for m in marks) else (*out, text)


@lru_cache(maxsize=4096)
def _layout(template: _Template, roles: tuple[str, ...]) -> _Layout | None:
    pieces = _pieces(template, roles, generate=False)
    if pieces is None:
        return None
    starts, ends = {}, {}
    for turn in (i for i, role in enumerate(roles) if role == "assistant"):
        asked = _pieces(template, roles[:turn], generate=True) if turn else None
        ahead = asked[-1] if asked else ""
        consistent = asked is not None and asked[:-1] == pieces[:turn] and pieces[turn].startswith(ahead)
        # Else the full text lacks the generation prompt (it opens a reasoning block, say): the reply begins
        # where its own text begins.
        starts[turn] = len(ahead) if consistent else len(pieces[turn])
        ends[turn] = _turn_end(template, roles, turn, pieces[turn + 1])
    return _Layout(pieces, starts, ends)


def _turn_end(template: _Template, roles: tuple[str, ...], turn: int, after: str) -> int:
    """How much of the text after an assistant turn belongs to it: up to the first special token, if any."""
    alone = _pieces(template, roles[: turn + 1], generate=False)
    tail = after if turn == len(roles) - 1 or alone is None else alone[-1]
    own = os.path.commonprefix([tail, after])  # noqa: RUF071 - characters are meant
    found = _special_pattern(template.special_texts).search(own)
    return found.end() if found else len(own.rstrip())


def _interleave(around: tuple[str, ...], turns: Turns, text: str) -> Pieces | None:
    """``text`` cut into (piece, is it a turn's own text), when the layout with the turns' texts gives it."""
    for contents in ([t.content for t in turns], [t.content.strip() for t in turns]):
        parts: Pieces = [(around[0], False)]
        for content, after in zip(contents, around[1:], strict=True):
            parts += [(content, True), (after, False)]
        if "".join(p for p, _ in parts) == text:
            return parts
    return None


def _cut(template: _Template, turns: Turns, layout: _Layout) -> tuple[Pieces, list[Span], list[Span]] | None:
    """The pieces to tokenise, and in characters of the whole text: the assistant turns' spans, and what turns but the
    system's say.
    """
    text = _run(template, turns, generate=False)
    if text is None:
        return None
    hostile = _hostile(template, turns)
    parts = _interleave(layout.pieces, turns, text)
    if parts is None:
        spans = None if hostile else _spans_by_prefix(template, turns, text)
        return ([(text, False)], spans, []) if spans else None
    spans, said, at = [], [], 0
    for i, (piece, is_content) in enumerate(parts):
        turn = i // 2
        if is_content and turns[turn].role == "assistant":
            begin = at - len(layout.pieces[turn]) + layout.starts[turn]
            spans.append((begin, at + len(piece) + layout.ends[turn]))
        if is_content and turns[turn].role != "system":
            said.append((at, at + len(piece)))
        at += len(piece)
    return (parts if hostile else [(text, False)]), spans, said


def _spans_by_prefix(template: _Template, turns: Turns, text: str) -> list[Span] | None:
    """The assistant turns' spans in a text that the template rewrites (it strips reasoning blocks, say)."""
    pattern = _special_pattern(template.special_texts)
    spans = []
    for turn in (i for i, t in enumerate(turns) if t.role == "assistant"):
        asked = _run(template, turns[:turn], generate=True) if turn else ""
        if asked is None or not text.startswith(asked):
            return None
        ended = pattern.search(text, len(asked))
        if ended is None and turn < len(turns) - 1:
            return None
        spans.append((len(asked), ended.end() if ended else len(text.rstrip())))
    return spans
