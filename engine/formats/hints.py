"""Suggests a column mapping by column names, tested on the first rows: a suggested mapping works."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from shlex import quote
from typing import Any

from engine.config.schema import Data
from engine.formats import row_formats
from engine.formats.parsing import Parser
from engine.formats.row_formats import Shape
from engine.formats.streams import Raw
from engine.formats.turns import Unusable


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Common names of each part, likeliest first. Compared in lower case, with words joined by _.
_PROMPT = _words(
    "instruction instructions prompt question query user_prompt request problem user human user_message user_input q"
    " input inputs input_text source text_in original_question problem_statement document article title task"
)
_INPUT = _words("input context contexts passage background paragraph document article reference")
_CONTEXT = _words("context contexts passage background paragraph")
_OUTPUT = _words(
    "output outputs response answer completion target targets reply assistant solution gpt bot a output_text"
    " model_answer expected_output generation generated_text result assistant_response final_answer answer_text summary"
    " text_out chosen long_answer answers"
)
_TURNS = _words(
    "messages conversations conversation message dialog dialogue dialogs dialogues chat turns chats chat_history"
    " history data"
)
_NAMES: dict[str, tuple[str, ...]] = {
    "messages": _TURNS,
    "conversations": _TURNS,
    "instruction": _PROMPT,
    "prompt": _PROMPT,
    "input": _INPUT,
    "output": _OUTPUT,
    "completion": _OUTPUT,
    "chosen": ("chosen", "preferred", "chosen_response", "answer_chosen", "accepted", "response_chosen"),
    "rejected": ("rejected", "dispreferred", "rejected_response", "answer_rejected", "response_rejected"),
    "system": ("system", "system_prompt", "system_message", "system_instruction"),
    "tools": ("tools", "functions", "available_tools"),
}
_KINDS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("messages", ("messages",), ("system", "tools")),
    ("sharegpt", ("conversations",), ("system", "tools")),
    ("preference", ("prompt", "chosen", "rejected"), ("system",)),
    ("alpaca", ("instruction", "output"), ("input", "system", "tools")),
    ("prompt", ("prompt", "completion"), ("system", "tools")),
)
"""Format, the parts that a hint must find for it, and those that it adds when there are columns for them."""
_TRIED = 20
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


def found(columns: Sequence[str]) -> str:
    """A sentence that lists the columns."""
    if not columns:
        return "The file has no columns."
    more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
    return f"The columns are {', '.join(columns[:20])}{more}."


def advice(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], wanted: Shape | None) -> str:
    """A sentence with options that make the file readable, tested on its rows; generic advice without a good guess."""
    pairs = guess(columns, rows, wanted)
    if not pairs:
        expected = "; ".join(f"{s.name}: {', '.join(s.needs)}" for s in ((wanted,) if wanted else row_formats.SHAPES))
        parts = (wanted or row_formats.named("alpaca")).needs
        mapped = " ".join(f"--column {part}=NAME" for part in parts)
        return f"Expected {expected}. Map your columns: {mapped}."
    pairs = {ours: yours for ours, yours in pairs.items() if ours != yours} or pairs
    given = " ".join(f"--column {ours}={quote(yours)}" for ours, yours in pairs.items())
    known = ", ".join(f"{ours} = {_toml(yours)}" for ours, yours in pairs.items())
    return f"Try {given} (in config.toml: [data] columns = {{{known}}})."


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def guess(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], wanted: Shape | None) -> dict[str, str]:
    """The mapping (ours -> theirs) with which most of ``rows`` can be read; {} when no column's name says enough.

    A part whose column has its very name is in it too.
    """
    named = {column: _WORD.sub("_", column.strip()).lower().strip("_") for column in columns}
    best: dict[str, str] = {}
    most = 0
    for kind, needs, adds in _KINDS:
        if kind != wanted.name if wanted else kind == "sharegpt":
            continue
        for chosen in _candidates(named, needs):
            pairs = chosen | _added(named, adds, set(chosen.values()))
            asked = Data(columns=pairs, format=wanted.name if wanted else "auto")  # type: ignore[arg-type]
            usable = _usable(rows[:_TRIED], asked)
            if usable > most:
                best, most = pairs, usable
    return best


def unused(columns: Iterable[str], inputs: bool) -> list[str]:
    """The options that would make ``columns``, which are kept beside a conversation, part of its prompt, as their names
    suggest, be it only in another case (``Input``). ``inputs``: whether the format has the parts of Alpaca's prompt.
    """
    meant: dict[str, tuple[str, ...]] = {"system": _NAMES["system"], "tools": ("tools",)}
    if inputs:
        meant |= {"input": ("input", *_CONTEXT), "history": ("history",)}
    named = {column: _WORD.sub("_", column.strip()).lower().strip("_") for column in columns}
    return [
        f"--column {part}={quote(c)}"
        for part, names in meant.items()
        for c, name in named.items()
        if name in names and c != part
    ]


def _candidates(named: Mapping[str, str], needs: Sequence[str]) -> list[dict[str, str]]:
    """All assignments of distinct columns to the needed parts, likeliest first."""
    options = []
    for part in needs:
        ranks = {column: rank for column, name in named.items() if (rank := _rank(name, _NAMES[part])) is not None}
        options.append(sorted(ranks, key=ranks.__getitem__)[:4])
    made = [dict(zip(needs, chosen, strict=True)) for chosen in product(*options)]
    return [pairs for pairs in made if len(set(pairs.values())) == len(pairs)]


def _rank(name: str, known: Sequence[str]) -> int | None:
    """Rank of a column for a part (lower is likelier): by full name, else by last word (``the_question``)."""
    last = name.rpartition("_")[2]
    return known.index(name) if name in known else len(known) + known.index(last) if last in known else None


def _added(named: Mapping[str, str], parts: Sequence[str], taken: set[str]) -> dict[str, str]:
    out: dict[str, str] = {}
    for part in parts:
        free = {c: _NAMES[part].index(name) for c, name in named.items() if name in _NAMES[part] and c not in taken}
        if free:
            out[part] = min(free, key=free.__getitem__)
            taken.add(out[part])
    return out


def _usable(rows: Sequence[Mapping[str, Any]], data: Data) -> int:
    """Number of rows that an import with this mapping could use."""
    shape = row_formats.detect([row_formats.renamed(row, data.columns) for row in rows])
    if shape is None:
        return 0
    parser = Parser(shape if data.format == "auto" else row_formats.named(data.format), rows, data)
    count = 0
    for row in rows:
        try:
            parser.parse(Raw(0, row))
            count += 1
        except Unusable:
            continue
    return count
