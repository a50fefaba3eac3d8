"""Rows of any values under the names that mean something: a sample or a reason, and whatever is written comes back."""

from __future__ import annotations

import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import formats
from engine.config.schema import Data
from engine.errors import DataError
from engine.formats import hints, row_formats
from engine.formats.parsing import Parser
from engine.formats.streams import Raw
from engine.formats.turns import Unusable
from engine.store.rows import Sample, content_id, dump_messages, load_messages

LIKELY = [
    "user",
    "assistant",
    "tool",
    "[",
    "{}",
    "[]",
    '[{"role":"user"}]',
    "\n\nHuman: a\n\nAssistant: b",
    "<image>\n",
]
FIELDS = {
    "role",
    "content",
    "from",
    "value",
    "weight",
    "train",
    "function",
    "name",
    "arguments",
    "images",
    "label",
    "type",
}
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(LIKELY)
KEYS = st.sampled_from(sorted(row_formats.COLUMNS | FIELDS))
VALUE = st.recursive(LEAF, lambda v: st.lists(v, max_size=4) | st.dictionaries(KEYS, v, max_size=5), max_leaves=20)
CALLS = st.lists(st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": st.text(max_size=3)})}), max_size=2)
MORE = {"weight": st.sampled_from([0, 1, 0.5]), "thinking": VALUE, "name": VALUE, "tool_call_id": VALUE, "kind": VALUE}
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system"]), "content": st.text(max_size=4) | VALUE},
    optional={"tool_calls": CALLS | VALUE, "function_call": VALUE, "train_detail": VALUE, **MORE},
)
PAIR = st.tuples(
    st.fixed_dictionaries({"role": st.just("user"), "content": st.text("ab", min_size=1, max_size=3)}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": st.text("ab", min_size=1)}, optional=MORE),
)
TALK = st.lists(PAIR, max_size=3).map(lambda pairs: [turn for pair in pairs for turn in pair])
ROW = st.dictionaries(KEYS, VALUE | st.lists(TURN, max_size=5), max_size=6) | st.fixed_dictionaries({"messages": TALK})


def usable(rows: list[dict[str, Any]]) -> list[Sample]:
    """The samples that these rows are, whatever format they are read as."""
    out: list[Sample] = []
    found = row_formats.detect(rows)
    for shape in {s.name: s for s in (found, *row_formats.SHAPES) if s}.values():
        for asked in ("auto", shape.name):
            parser = Parser(shape, rows, msgspec.convert({"format": asked}, Data))
            for row in rows:
                try:
                    parsed = parser.parse(Raw(1, row))
                except Unusable:
                    continue
                out.append(Sample(content_id(parsed.messages), parsed.messages, len(out), extra=parsed.extra))
    return out


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=3))
def test_any_row_is_a_sample_or_a_reason(rows: list[dict[str, Any]]) -> None:
    hints.advice(list(rows[0]), rows, None)
    for sample in usable(rows):
        assert load_messages(dump_messages(sample.messages)) == sample.messages
        sample.extra.encode()


@settings(max_examples=30, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=2))
def test_what_is_written_comes_back_or_is_refused(rows: list[dict[str, Any]]) -> None:
    samples = {s.id: s for s in usable(rows)}
    with tempfile.TemporaryDirectory() as folder:
        for format, sample in product(("alpaca", "sharegpt", "messages", "parquet"), samples.values()):
            out = Path(folder) / format
            if not written(sample, out, format):
                assert format in ("alpaca", "sharegpt")
                continue
            (again,) = formats.read(out, Data()).samples
            assert again.messages == sample.messages
            names = set(json.loads(sample.extra or "{}"))
            assert set(json.loads(again.extra or "{}")) <= names | {f"original_{name}" for name in names}


def written(sample: Sample, out: Path, format: str) -> bool:
    """Whether the format can hold the sample."""
    try:
        formats.write([sample], out, format)
    except DataError:
        return False
    return True
