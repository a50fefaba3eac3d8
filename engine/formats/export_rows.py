"""Converts samples to rows of each export format. A sample that the format cannot represent is an error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.errors import DataError
from engine.formats import row_formats
from engine.formats.row_formats import split_input
from engine.formats.turns import CALL, OBSERVATION, TOOLS
from engine.store import json_text
from engine.store.rows import Message, Sample

Row = dict[str, Any]
PROVENANCE = ("id", "parent", "axis", "round")
FLAWS = ("flaw", "looks_wrong", "end_of_turn", "ifd", "worst_window")
"""What the newest scored round says of a row, beside its provenance."""
_TURN_KEYS = ("reasoning_content", "tool_calls", "tool_call_id", "name", "weight")


class Flaws(Protocol):
    """By sample id the values of ``FLAWS``."""

    def get(self, id: int, default: Sequence[Any], /) -> Sequence[Any]:
        """The values of one sample."""


_SHAREGPT = {
    ("system", ""): "system",
    ("user", ""): "human",
    ("assistant", ""): "gpt",
    ("assistant", CALL): "function_call",
    ("tool", OBSERVATION): "observation",
}
# Reserved column names: extra columns with these names would be read as part of the conversation.
_RESERVED = {
    "alpaca": row_formats.named("alpaca").columns | {"messages", "conversations"},
    "sharegpt": row_formats.named("sharegpt").columns | {"messages"},
    "messages": row_formats.named("messages").columns,
}


class Samples(Protocol):
    """Samples in their order, which can be gone through again and again; they need not fit into memory."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...

    def extras(self) -> Iterator[str]:
        """The other columns of those that have any, in order."""

    def unusual(self) -> Iterator[Sample]:
        """At least those with a turn that has more than a role and text, in any order."""

    def rewritten(self) -> int:
        """How many have a parent."""


class ListedSamples(list[Sample]):
    """Samples in memory."""

    def extras(self) -> Iterator[str]:
        """See ``Samples``."""
        return (sample.extra for sample in self if sample.extra)

    def unusual(self) -> Iterator[Sample]:
        """See ``Samples``."""
        return iter(self)

    def rewritten(self) -> int:
        """See ``Samples``."""
        return sum(sample.parent_id is not None for sample in self)


@dataclass(frozen=True, slots=True)
class ExportLayout:
    """What the rows of an export have in common.

    ours: provenance columns. names: extra columns, each with its name in the export. Of tables also: ``keys``, the
    fields of a turn besides role, content and kind; ``tools``, whether there is such a column; ``common``, whether all
    calls have OpenAI's common form; ``rewritten``, how many rows have a parent.
    """

    format: str
    size: int
    ours: tuple[str, ...]
    names: Mapping[str, str]
    keys: tuple[str, ...] = ()
    tools: bool = False
    common: bool = True
    rewritten: int = 0

    @property
    def table(self) -> bool:
        """Whether it is a table of any kind: these have ``messages``, and the same columns in every row."""
        return self.format not in _RESERVED

    @property
    def columns(self) -> tuple[str, ...]:
        """A table's columns."""
        return "messages", *(["tools"] if self.tools else []), *self.ours, *self.names.values()


def layout_of(samples: Samples, format: str, provenance: bool, flaws: Flaws | None = None) -> ExportLayout:
    """Look at all samples. An extra column whose name is taken is called ``original_`` and its name."""
    ours = (PROVENANCE if flaws is None else (*PROVENANCE, *FLAWS)) if provenance else ()
    there = dict.fromkeys(name for extra in samples.extras() for name in json_text.loads(extra))
    if format in _RESERVED:
        return ExportLayout(format, len(samples), ours, _free(there, _RESERVED[format] | set(ours)))
    names = _free(there, _RESERVED["messages"] | set(ours))
    found: set[str] = set()
    tools, common = False, True
    for sample in samples.unusual():
        row, turns = _without_tools(sample)
        tools |= "tools" in row
        for cells in map(_cells, turns):
            found |= cells.keys()
            common &= all(is_common(call) for call in cells.get("tool_calls") or ())
    keys = tuple(key for key in _TURN_KEYS if key in found)
    return ExportLayout(format, len(samples), ours, names, keys, tools, common, samples.rewritten())


def rows_of(samples: Iterable[Sample], layout: ExportLayout, flaws: Flaws | None = None) -> Iterator[Row]:
    """The rows of ``samples``, with the columns that they came with.

    Raises:
        DataError: a sample that the format cannot hold.
    """
    shaped = {"alpaca": _alpaca, "sharegpt": _sharegpt, "messages": _openai}.get(layout.format)
    for s in samples:
        row = shaped(s) if shaped else _table_row(s, layout)
        if layout.ours:
            found = () if flaws is None else flaws.get(s.id, (None,) * len(FLAWS))
            row |= zip(layout.ours, (s.id, s.parent_id, s.axis, s.born_round, *found), strict=True)
        if layout.names:
            extra = json_text.loads(s.extra) if s.extra else {}
            row |= {new: extra.get(old) for old, new in layout.names.items() if layout.table or old in extra}
        yield row


def is_common(call: Any) -> bool:
    """Whether a call survives a round trip through a struct with the same JSON text."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or list(function) != ["name", "arguments"]:
        return False
    order = [key for key in ("id", "type", "function") if key in call]
    texts = [*function.values(), *(value for key, value in call.items() if key != "function")]
    return list(call) == order and all(isinstance(text, str) for text in texts)


def _free(names: Sequence[str] | dict[str, None], taken: set[str] | frozenset[str]) -> dict[str, str]:
    """The exported name of each extra column."""
    used = set(taken) | (set(names) - set(taken))
    out = {}
    for name in names:
        new = name
        if name in taken:
            while new in used:
                new = f"original_{new}"
            used.add(new)
        out[name] = new
    return out


def _refuse(sample: Sample, format: str, what: str, instead: str) -> DataError:
    where = f" ({sample.source})" if sample.source else ""
    return DataError(f"#{sample.seq}{where}: {format} cannot represent {what}. Use --format {instead}.")


# ---------------------------------------------------------------------------------------------------- formats


def _alpaca(sample: Sample) -> Row:
    """instruction, input, output; and history, system and reasoning_content if present."""
    if any(m.kind or m.tool_calls or m.role == "tool" for m in sample.messages):
        instead = "messages" if any(m.tool_calls for m in sample.messages) else "sharegpt"
        raise _refuse(sample, "alpaca", "tool calls", instead)
    turns = list(sample.messages)
    system = turns.pop(0).content if turns[0].role == "system" else None
    if system == "":
        raise _refuse(sample, "alpaca", "an empty system turn", "sharegpt")
    if [m.role for m in turns] != ["user", "assistant"] * (len(turns) // 2) or not turns:
        raise _refuse(sample, "alpaca", "this order of turns", "messages")
    if any(not m.train for m in turns):
        raise _refuse(sample, "alpaca", "a turn with weight 0", "messages")
    if any(m.thinking for m in turns[:-1]):
        raise _refuse(sample, "alpaca", "reasoning in an earlier turn", "messages")
    if any(m.name for m in sample.messages):
        raise _refuse(sample, "alpaca", "the name of a speaker", "messages")
    instruction, extra = split_input(turns[-2].content, sample.input_chars)
    row: Row = {"instruction": instruction, "input": extra, "output": turns[-1].content}
    if turns[-1].thinking:
        row["reasoning_content"] = turns[-1].thinking
    if system is not None:
        row["system"] = system
    if len(turns) > 2:
        row["history"] = [[turns[i].content, turns[i + 1].content] for i in range(0, len(turns) - 2, 2)]
    return row


def _sharegpt(sample: Sample) -> Row:
    """conversations of from/value; tool definitions in a column of their own."""
    row: Row = {"conversations": []}
    for i, turn in enumerate(sample.messages):
        if turn.kind == TOOLS and i == 0:
            row["tools"] = turn.content
        elif turn.tool_calls:
            raise _refuse(sample, "sharegpt", "OpenAI's tool_calls", "messages")
        elif (turn.role, turn.kind) in _SHAREGPT:
            said = {"from": _SHAREGPT[turn.role, turn.kind], "value": turn.content}
            mark = {"train": turn.train} if turn.role == "assistant" and _masks(sample) else {}
            row["conversations"].append(said | _fields(turn) | mark)
        else:
            raise _refuse(sample, "sharegpt", f"a {turn.role} turn of kind {turn.kind!r}", "messages")
    return row


def _masks(sample: Sample) -> bool:
    """Whether the sample has a turn with weight 0. Then every answer gets an explicit weight."""
    return not all(turn.train for turn in sample.messages)


def _fields(turn: Message) -> Row:
    """A turn's fields besides role and text."""
    found = {"reasoning_content": turn.thinking, "tool_call_id": turn.tool_call_id, "name": turn.name}
    return {key: value for key, value in found.items() if value}


def _openai(sample: Sample) -> Row:
    """OpenAI's messages. Calls that came as ``tool_calls`` go as such; other kinds keep a ``kind`` of their
    own.
    """
    row, turns = _without_tools(sample)
    pending: list[str] = []
    row["messages"] = [_openai_turn(turn, pending) for turn in turns]
    if _masks(sample):
        for said, turn in zip(row["messages"], turns, strict=True):
            said |= {"weight": int(turn.train)} if turn.role == "assistant" else {}
    if "tools" in row:
        row["tools"] = _exact(row["tools"])
    return row


def _without_tools(sample: Sample) -> tuple[Row, tuple[Message, ...]]:
    """A row with a place for the turns, and the text of the tool definitions; and the turns after these."""
    head = sample.messages[0]
    if head.kind == TOOLS:
        return {"messages": [], "tools": head.content}, sample.messages[1:]
    return {"messages": []}, sample.messages


def _exact(text: str) -> Any:
    """The parsed value of JSON text if it round-trips to the same text, else the text."""
    try:
        value = json_text.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, list) and json.dumps(value, ensure_ascii=False) == text else text


def _openai_turn(turn: Message, pending: list[str]) -> Row:
    old = None if turn.tool_calls else _old_calls(turn)
    calls = json_text.loads(turn.tool_calls) if turn.tool_calls else old
    out: Row = {"role": turn.role, "content": turn.content}
    if calls is not None:
        out |= {"content": (None if old else turn.content) or None, "tool_calls": calls}
    if old is not None:
        pending[:] = [str(call["id"]) for call in old if "id" in call]
    out |= _fields(turn)
    if turn.role == "tool" and pending and not turn.tool_call_id:
        out["tool_call_id"] = pending.pop(0)
    implied = OBSERVATION if turn.role == "tool" else CALL if calls is not None else ""
    return out | ({"kind": turn.kind} if turn.kind != implied else {})


def _old_calls(turn: Message) -> list[Row] | None:
    """OpenAI's calls of a turn of an older project, which kept them as its content: exactly these, and nothing else."""
    calls = _exact(turn.content) if turn.kind == CALL else None
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        return None
    return calls if all("id" in call or isinstance(call.get("function"), dict) for call in calls) else None


def _table_row(sample: Sample, layout: ExportLayout) -> Row:
    """messages of role/content/kind and what any turn has besides, ``tools`` where any row has them: the same fields in
    every turn and row, as tables need it. ``tools`` is JSON text, calls are values.
    """
    row, turns = _without_tools(sample)
    cells = [{"role": m.role, "content": m.content, "kind": m.kind} | _row_of(m, layout.keys) for m in turns]
    return {"messages": cells} | ({"tools": row.get("tools")} if layout.tools else {})


def _cells(turn: Message) -> Row:
    found = _fields(turn)
    if turn.tool_calls:
        found["tool_calls"] = json_text.loads(turn.tool_calls)
    return found if turn.train else found | {"weight": 0}


def _row_of(turn: Message, keys: Sequence[str]) -> Row:
    if not keys:
        return {}
    found = _cells(turn)
    if "weight" in keys and turn.role == "assistant":
        found.setdefault("weight", 1)
    return {key: found.get(key) for key in keys}
