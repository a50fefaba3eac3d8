"""The columns of each dataset format, and how a row with them becomes a conversation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.formats import turns
from engine.formats.turns import TOOLS, Turns, Unusable, from_list, text
from engine.store.rows import Message

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """A dataset format: the columns it needs, those it may have, and its parser (row -> turns,
    input_chars).
    """

    name: str
    needs: tuple[str, ...]
    may: tuple[str, ...]
    parse: Callable[[Row], tuple[Turns, int]]

    def fits(self, row: Row) -> bool:
        """Whether the row has the columns that this format needs."""
        return all(name in row for name in self.needs)


def _alpaca(row: Row) -> tuple[Turns, int]:
    instruction, extra = text(row["instruction"], "instruction"), text(row.get("input"), "input")
    out = _head(row)
    for i, pair in enumerate(_decoded(row.get("history"), "history")):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unusable(f"history[{i}] is not a pair of prompt and response")
        out += [
            Message("user", text(pair[0], f"history[{i}][0]")),
            Message("assistant", text(pair[1], f"history[{i}][1]")),
        ]
    out += [Message("user", join_input(instruction, extra)), Message("assistant", text(row["output"], "output"))]
    return tuple(out), len(extra)


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
    """Tool definitions and system text that stand in columns of their own."""
    out = []
    if tools := row.get("tools"):
        said = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
        out.append(Message("system", text(said, "tools"), TOOLS))
    if system := text(row.get("system"), "system"):
        out.append(Message("system", system))
    return out


def _decoded(value: Any, name: str) -> list[Any]:
    """A list, or the JSON text of one (as CSV and Parquet hold it); a missing one is empty."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Unusable(f"{name} is text that is not a JSON list") from None
    if not isinstance(value, list):
        raise Unusable(f"{name} is not a list")
    return value


def _sharegpt(row: Row) -> tuple[Turns, int]:
    return (*_head(row), *from_list(row["conversations"], "conversations")), 0


def _messages(row: Row) -> tuple[Turns, int]:
    return (*_head(row), *from_list(row["messages"], "messages")), 0


def _prompt(row: Row) -> tuple[Turns, int]:
    asked, said = row["prompt"], row["completion"]
    before = from_list(asked, "prompt") if isinstance(asked, list) else (Message("user", text(asked, "prompt")),)
    after = (
        from_list(said, "completion") if isinstance(said, list) else (Message("assistant", text(said, "completion")),)
    )
    return (*_head(row), *before, *after), 0


# In the order in which a row that fits several is taken: the richer format first.
SHAPES: tuple[Shape, ...] = (
    Shape("messages", ("messages",), ("system", "tools"), _messages),
    Shape("sharegpt", ("conversations",), ("system", "tools"), _sharegpt),
    Shape("alpaca", ("instruction", "output"), ("input", "system", "history", "tools"), _alpaca),
    Shape("prompt", ("prompt", "completion"), ("system", "tools"), _prompt),
)
COLUMNS = frozenset(name for shape in SHAPES for name in (*shape.needs, *shape.may))


def parse(shape: Shape, row: Row) -> tuple[Turns, int]:
    """A row's conversation and how many characters of its last prompt are Alpaca's input.

    Raises:
        Unusable: with the reason.
    """
    if missing := [name for name in shape.needs if name not in row]:
        raise Unusable(f"no column {', '.join(missing)}")
    found, input_chars = shape.parse(row)
    turns.check(found)
    return found, input_chars


def renamed(row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    """The row under our column names; ``columns`` maps ours to the file's. ``response`` may stand for
    ``completion``.
    """
    theirs = {name: ours for ours, name in columns.items()}
    kept = {k: v for k, v in row.items() if k not in columns or k in theirs}
    out = {theirs.get(k, k): v for k, v in kept.items()}
    if "prompt" in out and "response" in out and "completion" not in out:
        out["completion"] = out.pop("response")
    return out


def detect(rows: Iterable[Row]) -> Shape | None:
    """The format that most of ``rows`` fit, None when none fits any."""
    counts = {shape.name: 0 for shape in SHAPES}
    for row in rows:
        first = next((shape.name for shape in SHAPES if shape.fits(row)), None)
        if first:
            counts[first] += 1
    best = max(SHAPES, key=lambda shape: counts[shape.name])
    return best if counts[best.name] else None


def named(name: str) -> Shape:
    """The format called ``name``."""
    return next(shape for shape in SHAPES if shape.name == name)
