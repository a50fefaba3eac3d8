"""Calls of tools in every form that files have, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import formats
from engine.config.schema import Data
from engine.errors import DataError
from engine.formats.turns import CALL, OBSERVATION, TOOLS
from engine.store.rows import Message, Sample, content_id
from tests.support.data_files import CALLS, put, read, reasons

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
HOLDING = ("messages", "parquet", "hf", "hub")


def call(name: str = "add", id: str | None = None, **arguments: Any) -> dict[str, Any]:
    function = {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return ({"id": id} if id else {}) | function


def asked(*turns: dict[str, Any], **columns: Any) -> dict[str, Any]:
    """A row in which these turns come between a question and its answer."""
    answer = {"role": "assistant", "content": "2"} | ({"weight": 1} if any("weight" in turn for turn in turns) else {})
    return {"messages": [{"role": "user", "content": "1 + 1?"}, *turns, answer], **columns}


def assistant(calls: Any, content: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": calls, **more}


def result(content: str = "2", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **more}


USABLE = {
    "text beside the call": [assistant([call(id="a")], "Let me add."), result(tool_call_id="a")],
    "results in another order": [
        assistant([call(id="a"), call(id="b")]),
        result("B", tool_call_id="b"),
        result("A", tool_call_id="a"),
    ],
    "no id": [assistant([call()]), result(name="add")],
    "arguments as an object": [assistant([{"function": {"name": "add", "arguments": {"x": None}}}]), result()],
    "no function around it": [assistant([{"name": "add", "arguments": {}}]), result()],
    "a result with an id of calls without": [assistant([call()]), result(tool_call_id="x")],
    "two rounds": [assistant([call(id="a")]), result(tool_call_id="a"), assistant([call(id="b")]), result()],
    "reasoning before the call": [assistant([call(id="a")], reasoning_content="Add them."), result(tool_call_id="a")],
    "a call not learned": [assistant([call(id="a")], weight=0), result(tool_call_id="a")],
}


@pytest.mark.parametrize("turns", USABLE.values(), ids=USABLE)
@pytest.mark.parametrize("format", HOLDING)
def test_calls_come_back_as_they_came(tmp_path: Path, turns: list[dict[str, Any]], format: str) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"x": None}}}]
    row = asked(*turns, tools=tools)
    found = read(put(tmp_path, [row], "in.jsonl"))
    assert found.rejects == []
    out = tmp_path / ("out.jsonl" if format == "messages" else "out")
    formats.write(found.samples, out, format)
    assert [s.messages for s in formats.read(out, Data()).samples] == [s.messages for s in found.samples]
    if format == "messages":
        assert json.loads(out.read_text()) == row


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        (
            [
                {"role": "assistant", "function_call": {"name": "add", "arguments": "{}"}},
                {"role": "function", "name": "add", "content": "2"},
            ],
            [{"type": "function", "function": {"name": "add", "arguments": "{}"}}],
        ),
        ([assistant(json.dumps(CALLS)), result()], CALLS),
        ([assistant([{"id": None, "index": None, **call()}]), result()], [call()]),
    ],
    ids=["function_call", "JSON text", "nulls"],
)  # fmt: skip
def test_other_spellings_of_calls(tmp_path: Path, turns: list[dict[str, Any]], said: list[dict[str, Any]]) -> None:
    (sample,) = read(put(tmp_path, [asked(*turns)])).samples
    assert json.loads(sample.messages[1].tool_calls) == said
    assert (sample.messages[1].kind, sample.messages[2].kind) == (CALL, OBSERVATION)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (
            [assistant([call(id="a")]), result(tool_call_id="z")],
            "turn 3 answers unknown call 'z'; unanswered: a",
        ),
        (
            [assistant([call(id="a")]), result(tool_call_id="a"), result(tool_call_id="a")],
            "turn 4 answers unknown call 'a'; all calls are answered",
        ),
        ([assistant("add(1)"), result()], "messages[1] has tool_calls text that is not JSON"),
        ([assistant([{"id": "a"}]), result()], "messages[1] has a call without a function name"),
        (
            [assistant({"name": "add"}), result()],
            "messages[1] has tool_calls that are not a list, or not in an assistant turn",
        ),
    ],
)
def test_calls_that_cannot_be_used_are_a_reason(tmp_path: Path, turns: list[dict[str, Any]], reason: str) -> None:
    assert reasons(read(put(tmp_path, [asked(), asked(*turns)]))) == [(2, reason)]


HERMES = {
    "conversations": [
        {"from": "system", "value": "<tools>[]</tools>"},
        {"from": "human", "value": "1 + 1?"},
        {"from": "gpt", "value": '<tool_call>\n{"name": "add"}\n</tool_call>'},
        {"from": "tool", "value": "<tool_response>2</tool_response>", "name": "add"},
        {"from": "gpt", "value": "2"},
    ]
}


@pytest.mark.parametrize("format", ["sharegpt", *HOLDING])
def test_a_tool_may_answer_a_call_in_the_text(tmp_path: Path, format: str) -> None:
    (sample,) = read(put(tmp_path, [HERMES])).samples
    assert [(m.role, m.kind) for m in sample.messages[2:4]] == [("assistant", ""), ("tool", OBSERVATION)]
    out = tmp_path / ("out.json" if format in ("sharegpt", "messages") else "out")
    formats.write([sample], out, format)
    assert formats.read(out, Data()).samples[0].messages == sample.messages


def test_nulls_of_a_table_are_nothing(tmp_path: Path) -> None:
    """Arrow gives every struct all keys of all rows: a null there is a key of another row."""
    import datasets

    plain = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    one = asked(assistant([{"id": "a", "function": {"name": "add", "arguments": {"x": 1}}}]), result(tool_call_id="a"))
    two = asked(assistant([{"id": "b", "function": {"name": "say", "arguments": {"y": "z"}}}]), result(name="say"))
    table = datasets.Dataset.from_list([plain, one, two])
    table.to_parquet(tmp_path / "x.parquet")
    table.save_to_disk(tmp_path / "folder")
    for name in ("x.parquet", "folder"):
        found = read(tmp_path / name)
        assert found.rejects == []
        calls = [json.loads(m.tool_calls) for s in found.samples for m in s.messages if m.tool_calls]
        assert [c[0]["function"]["arguments"] for c in calls] == [{"x": 1}, {"y": "z"}]
        assert found.samples[0].messages == (Message("user", "Hi"), Message("assistant", "Hello"))


def test_common_calls_are_structs_in_a_table_and_others_text(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    for name, made, expected in (
        ("a", call(id="a", x=1), [call(id="a", x=1)]),
        ("b", {"name": "add", "arguments": {}}, '[{"name": "add", "arguments": {}}]'),
    ):
        samples = read(put(tmp_path, [asked(assistant([made]), result())])).samples
        formats.write(samples, tmp_path / name, "parquet")
        (row,) = pq.read_table(tmp_path / name).to_pylist()
        assert row["messages"][1]["tool_calls"] == expected


def test_calls_of_an_older_project_leave_as_tool_calls(tmp_path: Path) -> None:
    """Such a store holds them as the turn's text."""
    for calls in (CALLS, [call()]):
        turns = (
            Message("user", "1 + 1?"),
            Message("assistant", json.dumps(calls), CALL),
            Message("tool", "2", OBSERVATION),
            Message("assistant", "2"),
        )
        out = tmp_path / "out.jsonl"
        formats.write([Sample(content_id(turns), turns, seq=0)], out, "messages")
        row = json.loads(out.read_text())
        assert row["messages"][1] == {"role": "assistant", "content": None, "tool_calls": calls}
        assert formats.read(out, Data()).rejects == []


def test_sharegpt_and_alpaca_refuse_openais_calls(tmp_path: Path) -> None:
    samples = read(put(tmp_path, [asked(assistant([call()]), result())])).samples
    for format, said in (("sharegpt", "OpenAI's tool_calls"), ("alpaca", "tool calls")):
        with pytest.raises(DataError, match=f"{format} cannot represent {said}. Use --format messages"):
            formats.write(samples, tmp_path / "x.json", format)


# ------------------------------------------------------------------------------------------------ any conversation

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT, lambda v: st.dictionaries(TEXT, v), max_leaves=4
)


@st.composite
def called(draw: st.DrawFn) -> tuple[Message, ...]:
    """A conversation with calls of all kinds."""
    tools = json.dumps([{"name": draw(TEXT)}], ensure_ascii=draw(st.booleans()))
    out = [Message("system", tools, TOOLS)] if draw(st.booleans()) else []
    out.append(Message("user", draw(TEXT), name=draw(st.sampled_from(["", "ann"]))))
    for number in range(draw(st.integers(0, 2))):
        ids = [f"{number}-{n}" for n in range(draw(st.integers(1, 3)))] if draw(st.booleans()) else [None, None]
        arguments = draw(st.sampled_from(["{}", draw(VALUE)]))
        calls = [({"id": id} if id else {}) | {"function": {"name": draw(TEXT), "arguments": arguments}} for id in ids]
        text = json.dumps(calls, ensure_ascii=False)
        said = draw(st.sampled_from(["", draw(TEXT)]))
        out.append(Message("assistant", said, CALL, draw(st.sampled_from(["", "hm"])), text, train=draw(st.booleans())))
        for id in draw(st.permutations(ids)):
            out.append(
                Message("tool", draw(TEXT), OBSERVATION, tool_call_id=id or "", name=draw(st.sampled_from(["", "f"])))
            )
    return (*out, Message("assistant", draw(TEXT), thinking=draw(st.sampled_from(["", draw(TEXT)]))))


@pytest.mark.parametrize("format", HOLDING)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations=st.lists(called(), min_size=1, max_size=4))
def test_any_conversation_with_calls_comes_back(
    tmp_path: Path, format: str, conversations: list[tuple[Message, ...]]
) -> None:
    out = tmp_path / ("x.json" if format == "messages" else "x")
    formats.write([Sample(content_id(c), c, seq=n) for n, c in enumerate(conversations)], out, format)
    found = formats.read(out, Data())
    expected = [tuple(_dropping_nulls(m) for m in c) for c in conversations]
    assert ([s.messages for s in found.samples], found.rejects) == (expected, [])


def _dropping_nulls(turn: Message) -> Message:
    """``arguments: null`` is no argument."""
    from msgspec.structs import replace

    if not turn.tool_calls:
        return turn
    calls = json.loads(turn.tool_calls)
    for made in calls:
        made["function"] = {k: v for k, v in made["function"].items() if v is not None}
    return replace(turn, tool_calls=json.dumps(calls, ensure_ascii=False))
