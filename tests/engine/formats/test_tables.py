"""JSON by columns, and CSV rows that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError
from engine.formats import streams
from tests.support.data_files import HI, read, reasons

ROLES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.mark.parametrize(
    "table",
    [
        {"instruction": ["Hi"] * 3, "output": ["Hello"] * 3},
        {"messages": [ROLES] * 3, "id": [1, 2, 3]},
        {"messages": [ROLES] * 3},
        {"instruction": {str(n): "Hi" for n in range(3)}, "output": {str(n): "Hello" for n in range(3)}},
        {str(n): {"instruction": "Hi", "output": "Hello"} for n in range(3)},
        {f"row {n}": {"instruction": "Hi", "output": "Hello"} for n in range(3)},
        {"columns": ["instruction", "output"], "index": [0, 1, 2], "data": [["Hi", "Hello"]] * 3},
        {"data": [{"instruction": "Hi", "output": "Hello"}] * 3, "schema": {"fields": []}},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_table_by_columns(tmp_path: Path, table: dict[str, Any], indent: int | None) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(table, indent=indent), encoding="utf-8")
    found = read(path)
    assert [s.messages for s in found.samples] == [HI] * 3
    assert [s.source for s in found.samples] == [f"x.json:{n}" for n in (1, 2, 3)]


def test_a_lone_row_is_no_table(tmp_path: Path) -> None:
    for row in ({"messages": ROLES}, {"prompt": ROLES[:1], "completion": ROLES[1:]}, {"messages": ROLES, "tags": []}):
        (tmp_path / "x.json").write_text(json.dumps(row), encoding="utf-8")
        assert [s.messages for s in read(tmp_path / "x.json").samples] == [HI]


def test_columns_of_different_lengths_and_other_names(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"instruction": ["a", "b"], "output": ["c"]}))
    with pytest.raises(DataError, match="its columns have different lengths: instruction 2, output 1"):
        read(path)
    path.write_text(json.dumps({"Question": ["Hi"] * 2, "Answer": ["Hello"] * 2}))
    assert len(read(path, columns={"instruction": "Question", "output": "Answer"}).samples) == 2


def test_a_row_of_a_table_that_has_not_its_columns_is_refused_and_not_lost(tmp_path: Path) -> None:
    rows = [["Hi", "Hello"], ["Hi"], ["Hi", "Hello", "more"], {"instruction": "Hi", "output": "Hello"}, 7]
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"columns": ["instruction", "output"], "data": rows}))
    found = read(path)
    assert [(s.messages, s.source) for s in found.samples] == [(HI, "x.json:1"), (HI, "x.json:4")]
    assert reasons(found) == [
        (2, "1 value, the table has 2 columns"),
        (3, "3 values, the table has 2 columns"),
        (5, "not an object with columns"),
    ]
    path.write_text(json.dumps({"columns": ["instruction", "output", "output"], "data": [["Hi", "a", "b"]]}))
    with pytest.raises(DataError, match="it has the column 'output' twice"):
        read(path)


# ------------------------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize("block", [1 << 20, 5])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('"a"b,c\n', "not CSV: ',' expected after '\"'"),
        ('a,"b\n', "not CSV: unexpected end of data"),
        ("only one\n", "1 field, the header has 2"),
        ("one,two,three\n", "3 fields, the header has 2"),
        ("one,\n", "empty response"),
    ],
)
def test_one_bad_row_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str, reason: str, block: int
) -> None:
    monkeypatch.setattr(streams, "BLOCK", block)
    path = tmp_path / "x.csv"
    path.write_text("instruction,output\n" + "Hi,Hello\n" * 3 + bad + "Hi,Hello\n" * 4, encoding="utf-8")
    found = read(path)
    assert [s.messages for s in found.samples] == [HI] * 7
    assert reasons(found) == [(4, reason)]


def test_a_quote_that_never_ends_costs_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = [f'"Say\n{n}","{n}"' for n in range(50)]
    rows[20] = '"Say 20,"20"'
    path.write_text("instruction,output\n" + "\n".join(rows), encoding="utf-8")
    found = read(path)
    assert len(found.samples) == 49
    assert [row for row, _ in reasons(found)] == [21]
    assert found.rejects[0].raw == '"Say 20,"20"\n'


def test_a_header_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("instruction,output,output\na,b,c\n")
    with pytest.raises(DataError, match="the header has the column 'output' twice"):
        read(path)
    path.write_text('instruction,"out"put\na,b\n')
    with pytest.raises(DataError, match="not CSV: cannot read the header line"):
        read(path)
    path.write_text(",instruction,output\n0,Hi,Hello\n")
    found = read(path)
    assert (found.samples[0].messages, found.samples[0].extra) == (HI, '{"column 1": "0"}')
