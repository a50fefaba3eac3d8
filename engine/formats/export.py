"""Writing datasets: the same bytes for the same samples, and a file that is there is complete.

Everything is written beside its place and renamed. What a format cannot hold is refused before anything is
written, with the sample's id and a format that can hold it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import DataError, UsageError
from engine.formats import folders, llama_factory
from engine.formats.arrow import write_parquet
from engine.formats.shapes import split_input
from engine.formats.streams import PACKED, packing
from engine.formats.turns import CALL, OBSERVATION, TOOLS
from engine.store.rows import Message, Sample

EXPORTS = ("alpaca", "sharegpt", "messages", "parquet", *folders.FOLDERS)

_SHAREGPT = {
    ("system", ""): "system",
    ("user", ""): "human",
    ("assistant", ""): "gpt",
    ("assistant", CALL): "function_call",
    ("tool", OBSERVATION): "observation",
}


def write(samples: Sequence[Sample], out: Path, format: str, provenance: bool = False, story: str = "") -> None:
    """Write ``samples`` in their order to ``out``: a file (JSON; JSON lines when it ends in .jsonl; compressed when
    .gz or .zst follows), or a folder with a card for ``hf`` and ``hub``. ``provenance`` adds id, parent, axis and
    round to every row. ``story`` is Markdown for the card: how the samples came about.

    Raises:
        UsageError: no such format, or ``out`` is something that must not be overwritten.
        DataError: a sample that the format cannot hold.
    """
    out = Path(out)
    if format not in EXPORTS:
        raise UsageError(f"--format {format}: there is no such format. There are {', '.join(EXPORTS)}.")
    if out.is_dir() != (format in folders.FOLDERS) and out.exists():
        kind = "a folder" if out.is_dir() else "a file"
        raise UsageError(f"{out}: is {kind}, which {format} does not write to. Name another path.")
    if out.suffix.lower() in PACKED and format in ("parquet", *folders.FOLDERS):
        raise UsageError(f"{out}: {format} is compressed already. Leave {out.suffix} out of the name.")
    out.parent.mkdir(parents=True, exist_ok=True)
    if format in folders.FOLDERS:
        folders.write([_row(s, _plain, provenance) for s in samples], out, format, story)
    elif format == "parquet":
        rows = [_row(s, _plain, provenance) for s in samples]
        with _beside(out) as place:
            write_parquet(rows, place)
    else:
        _json(samples, out, format, provenance)


def _json(samples: Sequence[Sample], out: Path, format: str, provenance: bool) -> None:
    shape = {"alpaca": _alpaca, "sharegpt": _sharegpt, "messages": _openai}[format]
    rows = [_row(s, shape, provenance) for s in samples]
    info = llama_factory.merged(out, format, rows)
    packed = out.suffix.lower() in PACKED
    lines = (out.with_suffix("") if packed else out).suffix.lower() in (".jsonl", ".ndjson")
    with _beside(out) as place, packing(place, out.suffix.lower()) as put:
        for text in _array_lines(rows, lines):
            put(text.encode("utf-8"))
    if info is not None:
        with _beside(out.parent / llama_factory.INFO) as place:
            place.write_text(info, encoding="utf-8")


def _array_lines(rows: list[dict[str, Any]], lines: bool) -> Iterator[str]:
    texts = (json.dumps(row, ensure_ascii=False) for row in rows)
    if lines:
        yield from (text + "\n" for text in texts)
        return
    yield "["
    for i, text in enumerate(texts):
        yield (",\n" if i else "\n") + text
    yield "\n]\n"


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A new file beside ``out`` that takes its place when the block ends well."""
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    os.close(handle)
    place = Path(name)
    try:
        yield place
        place.chmod(0o666 & ~_umask())
        place.replace(out)
    finally:
        place.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# ------------------------------------------------------------------------------------------------- rows


def _row(sample: Sample, shape: Any, provenance: bool) -> dict[str, Any]:
    row: dict[str, Any] = shape(sample)
    if provenance:
        row |= {"id": sample.id, "parent": sample.parent_id, "axis": sample.axis, "round": sample.born_round}
    return row


def _refuse(sample: Sample, format: str, what: str, instead: str) -> DataError:
    where = f" ({sample.source})" if sample.source else ""
    return DataError(f"sample {sample.id}{where}: {format} cannot hold {what}. Use --format {instead}.")


def _alpaca(sample: Sample) -> dict[str, Any]:
    """instruction, input, output; history and system where there are any."""
    if any(m.kind for m in sample.messages):
        raise _refuse(sample, "alpaca", "tool calls", "sharegpt")
    turns = list(sample.messages)
    system = turns.pop(0).content if turns[0].role == "system" else None
    if system == "":
        raise _refuse(sample, "alpaca", "an empty system turn", "sharegpt")
    if [m.role for m in turns] != ["user", "assistant"] * (len(turns) // 2) or not turns:
        raise _refuse(sample, "alpaca", "this order of turns", "messages")
    instruction, extra = split_input(turns[-2].content, sample.input_chars)
    row: dict[str, Any] = {"instruction": instruction, "input": extra, "output": turns[-1].content}
    if system is not None:
        row["system"] = system
    if len(turns) > 2:
        row["history"] = [[turns[i].content, turns[i + 1].content] for i in range(0, len(turns) - 2, 2)]
    return row


def _sharegpt(sample: Sample) -> dict[str, Any]:
    """conversations of from/value; tool definitions in a column of their own."""
    row: dict[str, Any] = {"conversations": []}
    for i, turn in enumerate(sample.messages):
        if turn.kind == TOOLS and i == 0:
            row["tools"] = turn.content
        elif (turn.role, turn.kind) in _SHAREGPT:
            row["conversations"].append({"from": _SHAREGPT[turn.role, turn.kind], "value": turn.content})
        else:
            raise _refuse(sample, "sharegpt", f"a {turn.role} turn of kind {turn.kind!r}", "messages")
    return row


def _plain(sample: Sample) -> dict[str, Any]:
    """messages of role/content/kind, the same columns in every row, as tables need it."""
    return {"messages": [{"role": m.role, "content": m.content, "kind": m.kind} for m in sample.messages]}


def _openai(sample: Sample) -> dict[str, Any]:
    """OpenAI's messages. Calls that came as ``tool_calls`` go as such; other kinds keep a ``kind`` of their
    own.
    """
    pending: list[str] = []
    turns = [m for i, m in enumerate(sample.messages) if not (i == 0 and m.kind == TOOLS)]
    row: dict[str, Any] = {"messages": [_openai_turn(m, pending) for m in turns]}
    if len(turns) < len(sample.messages):
        row["tools"] = sample.messages[0].content
    return row


def _openai_turn(turn: Message, pending: list[str]) -> dict[str, Any]:
    calls = _tool_calls(turn)
    if calls is not None:
        pending[:] = [str(call["id"]) for call in calls]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    out = {"role": turn.role, "content": turn.content}
    if turn.role == "tool" and pending:
        out["tool_call_id"] = pending.pop(0)
    if turn.kind and (turn.role, turn.kind) != ("tool", OBSERVATION):
        out["kind"] = turn.kind
    return out


def _tool_calls(turn: Message) -> list[dict[str, Any]] | None:
    """The calls of a function-call turn if it holds OpenAI's and would be read back as the same text."""
    if turn.kind != CALL:
        return None
    try:
        calls = json.loads(turn.content)
    except ValueError:
        return None
    if not isinstance(calls, list) or not calls or not all(isinstance(c, dict) and "id" in c for c in calls):
        return None
    return calls if json.dumps(calls, ensure_ascii=False) == turn.content else None
