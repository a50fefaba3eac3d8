"""A row's other columns: kept with it, named at the import, and exported again."""

from __future__ import annotations

import json
import math
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine import formats
from engine.config.schema import Data
from engine.formats.row_formats import COLUMNS
from engine.project import folder as project
from engine.store.rows import Sample
from tests.support.data_files import GOOD, HI, put, read, reasons

TURNS = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
META = {"id": "row-0", "source": "web", "score": 0.5, "tags": ["a", "b"], "place": {"page": 3}}


def place(folder: Path, format: str, name: str = "out") -> Path:
    return folder / (f"{name}.json" if format in ("alpaca", "sharegpt", "messages") else name)


def extras(samples: list[Sample]) -> list[dict[str, Any]]:
    return [json.loads(s.extra) if s.extra else {} for s in samples]


@pytest.mark.parametrize(
    "base", [GOOD, TURNS, {"conversations": TURNS["messages"]}, {"prompt": "Hi", "response": "Yes"}]
)
@pytest.mark.parametrize("format", formats.EXPORTS)
def test_other_columns_come_back(tmp_path: Path, base: dict[str, Any], format: str) -> None:
    found = read(put(tmp_path, [base | META, base | {"id": "row-1"}]))
    assert (extras(found.samples), found.facts.kept) == ([META, {"id": "row-1"}], tuple(META))
    assert found.facts.notes()[0] == "extra columns, kept and exported unchanged: id, source, score, tags, place"
    out = place(tmp_path, format)
    formats.write(found.samples, out, format)
    again = formats.read(out, Data())
    assert [s.messages for s in again.samples] == [s.messages for s in found.samples]
    assert [{k: v for k, v in e.items() if v is not None} for e in extras(again.samples)] == extras(found.samples)


NAME = st.sampled_from(["id", "source", "input", "system", "tools", "history", "parent", "x y", "Ä"])
LEAF = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
WORD = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUE = st.recursive(
    LEAF | WORD, lambda v: st.lists(v, max_size=3) | st.dictionaries(WORD, v, max_size=3), max_leaves=5
)


@pytest.mark.parametrize("format", ["alpaca", "sharegpt", "messages"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=st.lists(st.dictionaries(NAME, VALUE), min_size=1, max_size=3))
def test_any_value_comes_back_from_json(tmp_path: Path, format: str, columns: list[dict[str, Any]]) -> None:
    samples = [Sample(n, HI, n, extra=json.dumps(c) if c else "") for n, c in enumerate(columns)]
    out = place(tmp_path, format)
    formats.write(samples, out, format)
    again = formats.read(out, Data())
    assert [s.messages for s in again.samples] == [HI] * len(columns)
    named = [{k.removeprefix("original_"): v for k, v in e.items()} for e in extras(again.samples)]
    assert [_filled(e) for e in named] == [_filled(c) for c in columns]


def _filled(columns: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty in a column that conversations come from."""
    return {k: v for k, v in columns.items() if k not in COLUMNS or v not in (None, "", [], {})}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=st.lists(st.dictionaries(NAME, VALUE), min_size=1, max_size=3))
def test_any_value_has_a_place_in_a_table(tmp_path: Path, columns: list[dict[str, Any]]) -> None:
    """As itself, or as JSON text where a column holds several types."""
    samples = [Sample(n, HI, n, extra=json.dumps(c) if c else "") for n, c in enumerate(columns)]
    formats.write(samples, tmp_path / "x", "parquet")
    again = formats.read(tmp_path / "x", Data())
    for before, after in zip(columns, extras(again.samples), strict=True):
        for name, value in _filled(_bare(before)).items():
            got = after[name] if name in after else after[f"original_{name}"]
            assert _bare(got) == value or _bare(json.loads(got)) == value


def _bare(value: Any) -> Any:
    """Without nulls, as tables say them."""
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if v is not None}
    return [_bare(v) for v in value] if isinstance(value, list) else value


def test_a_name_that_the_export_needs_gives_way(tmp_path: Path) -> None:
    found = read(put(tmp_path, [TURNS | {"id": "row-0", "original_id": 1, "input": "x"}]))
    for format, provenance, names in (
        ("messages", True, {"original_original_id": "row-0", "original_id": 1, "input": "x"}),
        ("messages", False, {"id": "row-0", "original_id": 1, "input": "x"}),
        ("alpaca", False, {"id": "row-0", "original_id": 1, "original_input": "x"}),
    ):
        out = place(tmp_path, format)
        formats.write(found.samples, out, format, provenance)
        (row,) = json.loads(out.read_text())
        assert {k: row[k] for k in names} == names
        if provenance:
            assert row["id"] == found.samples[0].id
        assert formats.read(out, Data()).samples[0].messages == HI


def test_a_column_that_another_is_mapped_over_is_kept(tmp_path: Path) -> None:
    path = put(tmp_path, [{"instruction": "old", "question": "Hi", "output": "Hello"}])
    (sample,) = read(path, columns={"instruction": "question"}).samples
    assert (sample.messages, json.loads(sample.extra)) == (HI, {"instruction": "old"})


def test_columns_of_no_value_for_the_conversation_do_not_come_along(tmp_path: Path) -> None:
    row: dict[str, object] = {"messages": None, "conversations": [], "tools": "", "id": None}
    row |= {"instruction": "Hi", "output": "Hello"}
    (sample,) = read(put(tmp_path, [row])).samples
    assert (sample.messages, json.loads(sample.extra)) == (HI, {"id": None})


def test_values_that_json_does_not_have(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    odd = {"at": datetime(2025, 1, 2, 3), "price": Decimal("1.50"), "raw": b"\x00\xff", "nan": math.nan}
    pq.write_table(pa.Table.from_pylist([{"instruction": "Hi", "output": "Hello", **odd}]), tmp_path / "x.parquet")
    (sample,) = read(tmp_path / "x.parquet").samples
    assert json.loads(sample.extra) == {"at": "2025-01-02T03:00:00", "price": "1.50", "raw": "AP8=", "nan": None}


def test_text_that_cannot_be_stored_is_a_reason(tmp_path: Path) -> None:
    found = read(put(tmp_path, [GOOD, GOOD | {"note": {"by": "\ud800"}}]))
    assert reasons(found) == [(2, "note has a lone surrogate (a broken \\u escape) at character 1")]


def test_a_project_gives_its_columns_back(tmp_path: Path) -> None:
    """Held-out rows too; a rewrite has none of its parent's."""
    rows = [{"instruction": f"Say {n}.", "output": f"{n}", "id": f"row-{n}", "source": "web"} for n in range(50)]
    (added,) = project.create(tmp_path / "P", [put(tmp_path, rows)], {})
    assert added.heldout == 1
    assert added.notes == ("extra columns, kept and exported unchanged: id, source",)
    out = tmp_path / "out.json"
    project.export(tmp_path / "P", out, None, "alpaca")
    assert json.loads(out.read_text()) == [{**row, "input": ""} for row in rows]
    child = replace(read(out).samples[0], id=7, parent_id=1, extra="")
    formats.write([read(out).samples[0], child], tmp_path / "x", "parquet")
    assert extras(read(tmp_path / "x").samples)[1] == {"id": None, "source": None}
