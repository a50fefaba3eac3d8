"""Data without measure: nesting without end and numbers of any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from engine import formats
from engine.config.schema import Data
from engine.errors import DataError
from engine.formats import jsonrows, streams
from tests.support.data_files import GOOD, put, read, reasons

CALL = {"name": "look", "arguments": {"at": "x"}}
DEEP = ["[" * 100_000, '{"a":' * 50_000, "[" * 800 + "]" * 800, '{"a":' * 300 + "1" + "}" * 300]
ROWS: list[dict[str, Any]] = [
    {"messages": "DEEP"},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": "DEEP"}]},
    {
        "conversations": [
            {"from": "human", "value": "Hi"},
            {"from": "function_call", "value": json.dumps(CALL)},
            {"from": "function_call", "value": "DEEP"},
        ]
    },
    {"instruction": "Hi", "output": "Hello", "history": "DEEP"},
]
TEXTS: list[dict[str, Any]] = [
    {"prompt": "Hi", "completion": "DEEP", "tools": "[{}]"},
    {"instruction": "Hi", "output": "DEEP", "tools": "DEEP"},
    {"prompt": "DEEP", "chosen": "DEEP", "rejected": "DEEP"},
    {"prompt": "Hi", "completion": "Hello", "note": "DEEP"},
]


@pytest.mark.parametrize("deep", DEEP, ids=["lists", "objects", "closed lists", "closed objects"])
def test_nesting_without_end_is_text_or_a_reason(tmp_path: Path, deep: str) -> None:
    rows = [json.loads(json.dumps(row).replace('"DEEP"', json.dumps(deep))) for row in (*ROWS, *TEXTS)]
    found = read(put(tmp_path, rows))
    refused = {row for row, _ in reasons(found)}
    assert refused >= {1, 2, 3, 4}
    assert refused.isdisjoint({6, 8})
    if deep.endswith(("]", "}")):
        nested = put(tmp_path, [GOOD, {**GOOD, "note": json.loads(deep)}], "nested.jsonl")
        assert reasons(read(nested)) == [(2, "nested too deeply")]


def test_numbers_of_any_size_leave_in_every_format(tmp_path: Path) -> None:
    """``parent`` is a number of ours in a table; theirs may be larger."""
    found = read(put(tmp_path, [{**GOOD, "parent": 2**70, "round": -(2**80), "id": 2**64}]))
    for format in ("parquet", "messages"):
        out = tmp_path / f"out.{'parquet' if format == 'parquet' else 'json'}"
        formats.write(found.samples, out, format)
        extra = json.loads(read(out).samples[0].extra)
        assert {name: int(value) for name, value in extra.items()} == {"parent": 2**70, "round": -(2**80), "id": 2**64}


def test_a_bomb_is_unpacked_in_small_pieces(tmp_path: Path) -> None:
    """Zstandard makes 4 GB of 400 kB: no single step may."""
    bomb = tmp_path / "a.jsonl.zst"
    bomb.write_bytes(zstandard.compress(b"x" * (200 << 20)))
    assert bomb.stat().st_size < 50_000
    assert max(map(len, streams.blocks(bomb))) <= 40 << 20


def test_one_json_value_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonrows, "MAX_WHOLE", 1000)
    path = tmp_path / "a.json"
    path.write_text('{"data": [\n' + ",\n".join(['{"instruction": "a", "output": "b"}'] * 50) + "]}")
    with pytest.raises(DataError, match="Save it as one object per line"):
        formats.read(path, Data())
