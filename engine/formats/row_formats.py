"""The columns of each dataset format, and how a row with them becomes a conversation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.formats import turns
from engine.formats.turns import TOOLS, Turns, Unusable, defined, from_list
from engine.formats.values import filled, text
from engine.store import json_text
from engine.store.rows import Message

Row = Mapping[str, Any]
Parsed = tuple[Turns, int]

REASONING = ("reasoning_content", "thinking")
"""Columns with the reasoning before the answer in another column. (``reasoning`` is as often something else.)"""


@dataclass(frozen=True)
class Shape:
    """A dataset format: the columns it needs, those it may have, what its values must be like, and its parser.

    ``parse``: row -> turns, input_chars. ``unused``: which of a row's columns of this format say nothing of the
    conversation, and are kept like any other column.
    """

    name: str
    needs: tuple[str, ...]
    may: tuple[str, ...]
    usable: Callable[[Row], bool]
    parse: Callable[[Row], Parsed]
    unused: Callable[[Row], frozenset[str]] = lambda row: frozenset()

    @cached_property
    def columns(self) -> frozenset[str]:
        """All columns of this format."""
        return frozenset((*self.needs, *self.may))

    def lacks(self, row: Row) -> list[str]:
        """The required columns that the row lacks. ``response`` may stand for ``completion``."""
        missing = [n for n in self.needs if n not in row and not (n == "completion" and "response" in row)]
        return ["prompt"] if self.name == "preference" and not missing and not _has_prompt(row) else missing

    def named(self, row: Row) -> bool:
        """Whether the row has the columns, with any values."""
        return not self.lacks(row)

    def fits(self, row: Row) -> bool:
        """Whether the row's values fit this format. An empty column counts as missing."""
        return self.named(row) and self.usable(row)


# -------------------------------------------------------------------------------------------- parts of a row


def join_input(instruction: str, extra: str) -> str:
    """Alpaca's instruction and input as one user turn."""
    return f"{instruction}\n{extra}" if instruction and extra else instruction or extra


def split_input(content: str, chars: int) -> tuple[str, str]:
    """The inverse of ``join_input``: instruction and input, which has ``chars`` characters."""
    if chars <= 0 or chars > len(content):
        return content, ""
    extra = content[len(content) - chars :]
    instruction = content[: len(content) - chars].removesuffix("\n")
    return (instruction, extra) if join_input(instruction, extra) == content else (content, "")


def _head(row: Row) -> list[Message]:
    """Tool definitions and system text from separate columns."""
    out = []
    if tools := _tools(row):
        said = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
        out.append(Message("system", text(said, "tools"), TOOLS))
    if system := text(row.get("system"), "system"):
        out.append(Message("system", system))
    return out


def _tools(row: Row) -> Any:
    """Tool definitions, also as OpenAI's older ``functions``; None when there are none."""
    tools = row.get("tools")
    if defined(tools):
        return tools
    functions = row.get("functions")
    if isinstance(functions, list) and functions and all(isinstance(one, dict) for one in functions):
        return [{"type": "function", "function": one} for one in functions]
    return None


def _asked(row: Row) -> tuple[list[Message], int]:
    """All turns before Alpaca's last answer."""
    instruction, extra = text(row["instruction"], "instruction"), text(row.get("input"), "input")
    out = _head(row)
    for i, pair in enumerate(_decoded(row.get("history"), "history")):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unusable(f"history[{i}] is not a pair of prompt and response")
        out += [
            Message("user", text(pair[0], f"history[{i}][0]")),
            Message("assistant", text(pair[1], f"history[{i}][1]")),
        ]
    return [*out, Message("user", join_input(instruction, extra))], len(extra)


def _decoded(value: Any, name: str) -> list[Any]:
    """A list, or the JSON text of one (as CSV and Parquet hold it); a missing one is empty."""
    if not filled(value):
        return []
    if isinstance(value, str):
        try:
            value = json_text.loads(value)
        except ValueError:
            raise Unusable(f"{name} is text that is not a JSON list") from None
    if not isinstance(value, list):
        raise Unusable(f"{name} is not a list")
    return value


def turns_in(value: Any) -> list[Any]:
    """A list of turns, also as JSON text; empty when it is none."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json_text.loads(value)
        except ValueError:
            return []
    return value if isinstance(value, list) and value and isinstance(value[0], dict) else []


def _texts(value: Any) -> list[Any]:
    """Texts of two alternating speakers; empty if it is not such a list."""
    return value if isinstance(value, list) and len(value) > 1 and all(isinstance(one, str) for one in value) else []


def _calls(row: Row, name: str) -> str:
    """The text of an answer that is nothing but calls of the row's tools (xLAM: ``[{"name": …, "arguments": …}]``); ""
    for any other.
    """
    value = row.get(name)
    if _tools(row) is None:
        return ""
    try:
        found = json_text.loads(value) if isinstance(value, str) and value.lstrip()[:1] == "[" else value
    except ValueError:
        return ""
    if not isinstance(found, list) or not found:
        return ""
    if not all(isinstance(one, dict) and {*one} >= {"name", "arguments"} for one in found):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _speaker(turn: Any) -> Any:
    return turn.get("role", turn.get("from")) if isinstance(turn, dict) else None


def _answer_column(row: Row, name: str) -> tuple[Message, ...]:
    """An answer in a column: text, a turn, or a list of turns. The row's reasoning belongs to a text."""
    value = row.get(name)
    if isinstance(value, dict):
        return (turns.turn_of(value, name),)
    if calls := _calls(row, name):
        return (Message("assistant", text(calls, name), turns.CALL, turns.thinking(row, "", REASONING)),)
    if isinstance(value, list) or turns_in(value):
        return from_list(value, name)
    return _answer(row, name)


def _answer(row: Row, name: str) -> tuple[Message, ...]:
    said = text(row.get(name), name)
    return (Message("assistant", said, thinking=turns.learned_once(turns.thinking(row, "", REASONING), said, name)),)


# --------------------------------------------------------------------------------------------------- formats


def _alpaca(row: Row) -> Parsed:
    before, chars = _asked(row)
    answer = _answer_column(row, "output") if _calls(row, "output") else _answer(row, "output")
    return (*before, *answer), chars


def _is_alpaca(row: Row) -> bool:
    return filled(row["output"]) and (filled(row["instruction"]) or filled(row.get("input")))


def _list_of(column: str) -> Callable[[Row], Parsed]:
    def parse(row: Row) -> Parsed:
        head, said = _head(row), from_list(row[column], column)
        twice = bool(head) and said[:1] == (Message("system", head[-1].content),)
        return (*head, *said[twice:]), 0

    return parse


def _is_list_of(column: str) -> Callable[[Row], bool]:
    def usable(row: Row) -> bool:
        found = turns_in(row[column]) or _texts(row[column])
        return bool(found) and not (_speaker(found[-1]) in ("user", "human") and filled(row.get("chosen")))

    return usable


def _completion(row: Row) -> str:
    """The column of the answer to ``prompt``: ``response`` may stand for ``completion``."""
    return "response" if not filled(row.get("completion")) and "response" in row else "completion"


def _prompt(row: Row) -> Parsed:
    asked = row["prompt"]
    before = from_list(asked, "prompt") if isinstance(asked, list) else (Message("user", text(asked, "prompt")),)
    return (*_head(row), *before, *_answer_column(row, _completion(row))), 0


def _is_prompt(row: Row) -> bool:
    return filled(row["prompt"]) and filled(row.get(_completion(row)))


def _unused_answer(row: Row) -> frozenset[str]:
    return frozenset({"completion", "response"}) - {_completion(row)}


def _basis(row: Row) -> str:
    """The column that a preference row's prompt stands in; "" when ``chosen`` holds all of the conversation."""
    if _is_whole(row.get("chosen")):
        return ""
    return next((c for c in ("messages", "conversations", "prompt", "instruction") if filled(row.get(c))), "")


def _has_prompt(row: Row) -> bool:
    return _is_whole(row["chosen"]) or any(c in row for c in ("messages", "conversations", "prompt", "instruction"))


_SPEAKER = re.compile(r"\n\n(Human|Assistant): ?")


def _is_whole(chosen: Any) -> bool:
    """Whether an answer is all of its conversation: turns from the first on, or Anthropic's text of them."""
    if isinstance(chosen, str) and chosen.lstrip().startswith("Human:"):
        return True
    found = turns_in(chosen)
    return bool(found) and _speaker(found[0]) not in ("assistant", "gpt", "model")


def _spoken(chosen: str) -> tuple[Message, ...]:
    """Turns of a text in Anthropic's format: ``Human:`` and ``Assistant:`` after empty lines."""
    _, *parts = _SPEAKER.split("\n\n" + chosen.lstrip())
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return tuple(
        Message("user" if who == "Human" else "assistant", text(said, "chosen").strip()) for who, said in pairs
    )


def _preference(row: Row) -> Parsed:
    basis, chars = _basis(row), 0
    before: Iterable[Message] = _head(row)
    if basis == "instruction":
        before, chars = _asked(row)
    elif basis == "prompt" and not turns_in(row["prompt"]):
        before = [*_head(row), Message("user", text(row["prompt"], "prompt"))]
    elif basis:
        before = [*_head(row), *from_list(row[basis], basis)]
    elif isinstance(row["chosen"], str) and _is_whole(row["chosen"]):
        return (*before, *_spoken(row["chosen"])), 0
    return (*before, *_answer_column(row, "chosen")), chars


def _unused_by_preference(row: Row) -> frozenset[str]:
    basis = _basis(row)
    used = {"chosen", basis}
    return _PREFERENCE - used - ({"input", "history"} if basis == "instruction" else set())


def _unused_tools(row: Row) -> frozenset[str]:
    """``functions`` where they say nothing, or ``tools`` are there as well."""
    used = _tools(row) is not None and row.get("tools") in (None, "", [], "[]")
    return frozenset() if used else frozenset({"functions"})


_MORE = ("system", "tools", *REASONING)
_PREFERENCE = frozenset(
    {"chosen", "rejected", "prompt", "instruction", "input", "history", "messages", "conversations"}
)

# Ordered by precedence for rows that fit several formats: richer formats first.
SHAPES: tuple[Shape, ...] = (
    Shape(
        "messages",
        ("messages",),
        ("system", "tools", "functions"),
        _is_list_of("messages"),
        _list_of("messages"),
        _unused_tools,
    ),
    Shape("sharegpt", ("conversations",), ("system", "tools"), _is_list_of("conversations"), _list_of("conversations")),
    Shape("alpaca", ("instruction", "output"), ("input", "history", *_MORE), _is_alpaca, _alpaca),
    Shape("prompt", ("prompt", "completion"), ("response", *_MORE), _is_prompt, _prompt, _unused_answer),
    Shape(
        "preference",
        ("chosen", "rejected"),
        ("prompt", "instruction", "input", "history", "messages", "conversations", *_MORE),
        lambda row: filled(row["chosen"]),
        _preference,
        _unused_by_preference,
    ),
)
COLUMNS = frozenset(name for shape in SHAPES for name in shape.columns)


def parse(shape: Shape, row: Row) -> Parsed:
    """A row's conversation and how many characters of its last prompt are Alpaca's input.

    Raises:
        Unusable: with the reason.
    """
    if missing := shape.lacks(row):
        raise Unusable(f"no column {', '.join(missing)}")
    found, input_chars = shape.parse(row)
    turns.check(found)
    return found, input_chars


def shape_for(shape: Shape, row: Row) -> Shape:
    """The format to read a row with, in a file of ``shape``: another one where only that one's columns are filled."""
    return shape if shape.fits(row) else next((other for other in SHAPES if other.fits(row)), shape)


def detect(rows: Iterable[Row]) -> Shape | None:
    """The format that the values of most of ``rows`` fit; where none fits, the one whose columns are there."""
    rows = list(rows)
    for test in (Shape.fits, Shape.named):
        counts = {shape.name: 0 for shape in SHAPES}
        for row in rows:
            first = next((shape.name for shape in SHAPES if test(shape, row)), None)
            if first:
                counts[first] += 1
        best = max(SHAPES, key=lambda shape: counts[shape.name])
        if counts[best.name]:
            return best
    return None


def named(name: str) -> Shape:
    """The format called ``name``."""
    return next(shape for shape in SHAPES if shape.name == name)


def renamed(row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    """The row with our column names. ``columns`` maps ours to the file's."""
    if not columns:
        return dict(row)
    theirs = {name: ours for ours, name in columns.items()}
    return {theirs.get(k, k): v for k, v in row.items() if k not in columns or k in theirs}
