"""Dataset files out: lossless round trips, refusals, atomic and repeatable writing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine import formats
from engine.config.schema import Data
from engine.errors import DataError, UsageError
from engine.formats.row_formats import join_input, split_input
from engine.formats.streams import blocks
from engine.formats.turns import CALL, OBSERVATION, TOOLS, defined
from engine.store.rows import Message, Sample, content_id

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
SUFFIX = {"parquet": ".parquet", "hf": "", "hub": ""}


def sample(*messages: Message, **more: Any) -> Sample:
    return Sample(content_id(messages), messages, seq=0, **more)


@st.composite
def plain(draw: st.DrawFn) -> tuple[Message, ...]:
    """A conversation that every format can hold."""
    system = draw(st.one_of(st.none(), TEXT))
    pairs = draw(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
    head = () if system is None else (Message("system", system),)
    return head + tuple(Message(r, t) for pair in pairs for r, t in zip(("user", "assistant"), pair, strict=True))


@st.composite
def with_tools(draw: st.DrawFn) -> tuple[Message, ...]:
    """A conversation with tool definitions, calls and observations."""
    tools = draw(st.one_of(st.none(), TEXT.filter(defined)))
    head = (Message("system", tools, TOOLS),) if tools else ()
    calls = [
        turn
        for _ in range(draw(st.integers(0, 2)))
        for turn in (Message("assistant", draw(TEXT), CALL), Message("tool", draw(TEXT), OBSERVATION))
    ]
    return (*head, *draw(plain())[-2:-1], *calls, Message("assistant", draw(TEXT)))


def back(samples: list[Sample], format: str, folder: Path, name: str = "x") -> list[Sample]:
    out = folder / f"{name}{SUFFIX.get(format, '.json')}"
    formats.write(samples, out, format)
    return formats.read(out, Data()).samples


@pytest.mark.parametrize("format", formats.EXPORTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations=st.lists(plain(), min_size=1, max_size=4))
def test_plain_conversations_come_back(tmp_path: Path, format: str, conversations: list[tuple[Message, ...]]) -> None:
    got = back([sample(*messages) for messages in conversations], format, tmp_path)
    assert [s.messages for s in got] == conversations


@pytest.mark.parametrize("format", ["sharegpt", "messages", "parquet", "hf", "hub"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations=st.lists(with_tools(), min_size=1, max_size=4))
def test_tool_turns_come_back(tmp_path: Path, format: str, conversations: list[tuple[Message, ...]]) -> None:
    got = back([sample(*messages) for messages in conversations], format, tmp_path)
    assert [s.messages for s in got] == conversations


@given(TEXT, st.text(max_size=20))
def test_instruction_and_input_are_joined_and_split(instruction: str, extra: str) -> None:
    assert split_input(join_input(instruction, extra), len(extra)) == (instruction, extra)


@given(st.text(max_size=20), st.integers(-2, 30))
def test_a_split_never_loses_text(content: str, chars: int) -> None:
    assert join_input(*split_input(content, chars)) == content


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_alpaca_input_is_split_again(tmp_path: Path, name: str) -> None:
    rows = [
        {"instruction": "Add\nthem.", "input": "1\n2", "output": "3"},
        {"instruction": "Hi", "input": "", "output": "Hello"},
        {"instruction": "", "input": "only", "output": "x"},
    ]
    source = tmp_path / "in.json"
    source.write_text(json.dumps(rows), encoding="utf-8")
    out = tmp_path / name
    formats.write(formats.read(source, Data()).samples, out, "alpaca")
    text = out.read_text(encoding="utf-8")
    got = [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)
    assert got == rows


OPENAI = [
    {"role": "system", "content": ""},
    {"role": "user", "content": "What is 1 + 1 and 2 + 2?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": str(n), "type": "function", "function": {"name": "add", "arguments": "{}"}} for n in (1, 2)
        ],
    },
    {"role": "tool", "content": "2", "tool_call_id": "1"},
    {"role": "tool", "content": "4", "tool_call_id": "2"},
    {"role": "assistant", "content": "2 and 4"},
]


def test_openai_tool_calls_come_back_as_such(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"messages": OPENAI}), encoding="utf-8")
    formats.write(formats.read(source, Data()).samples, out, "messages")
    assert json.loads(out.read_text(encoding="utf-8")) == {"messages": OPENAI}


@pytest.mark.parametrize(
    ("messages", "format", "said"),
    [
        ((Message("user", "a"), Message("assistant", "f()", CALL)), "alpaca", "tool calls. Use --format sharegpt"),
        ((Message("system", "[]", TOOLS), Message("user", "a"), Message("assistant", "b")), "alpaca", "tool calls"),
        ((Message("system", ""), Message("user", "a"), Message("assistant", "b")), "alpaca", "an empty system turn"),
        ((Message("user", "a"), Message("user", "b"), Message("assistant", "c")), "alpaca", "this order of turns"),
        ((Message("user", "a"), Message("assistant", "b", "thought")), "sharegpt", "kind 'thought'"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_anything_is_written(
    tmp_path: Path, messages: tuple[Message, ...], format: str, said: str
) -> None:
    one = sample(*messages, source="x.json:3")
    with pytest.raises(DataError, match=said) as caught:
        formats.write([sample(Message("user", "a"), Message("assistant", "b")), one], tmp_path / "out.json", format)
    assert str(caught.value).startswith(f"#{one.seq} ")
    assert "x.json:3" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


PAIR = sample(Message("user", "a"), Message("assistant", "b"))
CHILD = replace(PAIR, id=7, parent_id=PAIR.id, axis="quality", born_round=2)


@pytest.mark.parametrize("format", formats.EXPORTS)
def test_the_same_samples_give_the_same_bytes(tmp_path: Path, format: str) -> None:
    found = []
    for name in ("a", "b"):
        out = tmp_path / name / "x"
        formats.write([PAIR, CHILD], out, format, provenance=True)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        found.append([(p.relative_to(tmp_path / name), p.read_bytes()) for p in files])
    assert found[0] == found[1]


@pytest.mark.parametrize("format", formats.EXPORTS)
def test_provenance_is_kept_and_not_in_the_way(tmp_path: Path, format: str) -> None:
    out = tmp_path / f"x{SUFFIX.get(format, '.json')}"
    formats.write([PAIR, CHILD], out, format, provenance=True)
    found = formats.read(out, Data())
    assert [s.messages for s in found.samples] == [PAIR.messages, CHILD.messages]
    assert found.facts.kept == ("id", "parent", "axis", "round")
    if format == "alpaca":
        row = json.loads(out.read_text(encoding="utf-8"))[1]
        assert (row["id"], row["parent"], row["axis"], row["round"]) == (7, PAIR.id, "quality", 2)


def test_a_datasets_folder_has_a_card_and_is_loaded_by_datasets(tmp_path: Path) -> None:
    import datasets

    out = tmp_path / "folder"
    formats.write([PAIR, CHILD], out, "hf", provenance=True)
    found = datasets.load_from_disk(str(out))
    assert found[1]["messages"] == [
        {"role": "user", "content": "a", "kind": ""},
        {"role": "assistant", "content": "b", "kind": ""},
    ]
    assert found.split == "train"
    card = (out / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "n<1K" in card
    assert "1 row is a rewrite" in card


def test_a_folder_is_exchanged_but_never_someone_elses(tmp_path: Path) -> None:
    out = tmp_path / "folder"
    formats.write([PAIR, CHILD], out, "hf")
    formats.write([PAIR], out, "hf")
    assert len(formats.read(out, Data()).samples) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not empty and not a dataset"):
        formats.write([PAIR], other, "hf")
    with pytest.raises(UsageError, match="is a folder"):
        formats.write([PAIR], other, "alpaca")
    with pytest.raises(UsageError, match="is a file"):
        formats.write([PAIR], other / "thesis.tex", "hf")
    with pytest.raises(UsageError, match="unknown format"):
        formats.write([PAIR], tmp_path / "x", "xml")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "x.json"
    formats.write([PAIR], out, "messages")
    before = out.read_bytes()
    broken = sample(Message("user", "a"), Message("assistant", "\ud800"))
    with pytest.raises(UnicodeEncodeError):
        formats.write([PAIR, broken], out, "messages")
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset_info.json", "x.json"]


def test_llama_factory_finds_the_files(tmp_path: Path) -> None:
    info = tmp_path / "dataset_info.json"
    info.write_text('{"other": {"file_name": "o.json"}}', encoding="utf-8")
    with_system = sample(Message("system", "s"), *PAIR.messages)
    formats.write([PAIR, with_system], tmp_path / "mine.json", "alpaca")
    formats.write([sample(Message("system", "[]", TOOLS), *PAIR.messages)], tmp_path / "chats.json", "sharegpt")
    known = json.loads(info.read_text(encoding="utf-8"))
    assert known["other"] == {"file_name": "o.json"}
    assert known["mine"] == {
        "file_name": "mine.json",
        "columns": {"prompt": "instruction", "query": "input", "response": "output", "system": "system"},
    }
    assert known["chats"] == {
        "file_name": "chats.json",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "tools": "tools"},
    }
    info.write_text("not json")
    with pytest.raises(DataError, match=r"dataset_info\.json: not a JSON object"):
        formats.write([PAIR], tmp_path / "late.json", "alpaca")
    assert not (tmp_path / "late.json").exists()
    assert info.read_text() == "not json"


def test_llama_factory_knows_messages_by_their_tags(tmp_path: Path) -> None:
    formats.write([PAIR], tmp_path / "chat.jsonl", "messages")
    calls = tmp_path / "in.jsonl"
    calls.write_text(json.dumps({"messages": OPENAI}), encoding="utf-8")
    formats.write(formats.read(calls, Data()).samples, tmp_path / "calls.json", "messages")
    known = json.loads((tmp_path / "dataset_info.json").read_text(encoding="utf-8"))
    assert known["chat"] == {
        "file_name": "chat.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "observation_tag": "tool",
            "function_tag": "function_call",
            "system_tag": "system",
        },
    }
    assert known["calls"] == known["chat"] | {"file_name": "calls.json", "formatting": "openai"}


def test_an_entry_of_another_file_and_what_was_added_to_ours_stay(tmp_path: Path) -> None:
    info = tmp_path / "dataset_info.json"
    theirs = {"hf_hub_url": "owner/x"}
    info.write_text(json.dumps({"x": theirs, "y": {"file_name": "y.json", "num_samples": 5, "tags": {}}}))
    for name in ("x.json", "y.json"):
        formats.write([PAIR], tmp_path / name, "alpaca")
    known = json.loads(info.read_text())
    assert known["x"] == theirs
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    assert known["x.json"] == {"file_name": "x.json", "columns": columns}
    assert known["y"] == {"file_name": "y.json", "num_samples": 5, "columns": columns}
    before = info.read_bytes()
    with pytest.raises(UsageError, match="Choose another file"):
        formats.write([PAIR], info, "alpaca")
    assert info.read_bytes() == before


@pytest.mark.parametrize("name", ["x.json.gz", "x.jsonl.gz", "x.json.zst", "x.jsonl.zst"])
def test_compressed_files_come_back_and_are_the_same_bytes(tmp_path: Path, name: str) -> None:
    plain, packed, again = tmp_path / Path(name).stem, tmp_path / name, tmp_path / "again" / name
    for out in (plain, packed, again):
        formats.write([PAIR, CHILD], out, "sharegpt")
    assert packed.read_bytes() == again.read_bytes()
    assert b"".join(blocks(packed)) == plain.read_bytes()
    assert packed.read_bytes()[:2] in (b"\x1f\x8b", b"\x28\xb5")
    assert [s.messages for s in formats.read(packed, Data()).samples] == [PAIR.messages, CHILD.messages]
    assert not (tmp_path / "again" / "dataset_info.json").exists(), "LLaMA-Factory reads nothing compressed"


@pytest.mark.parametrize("format", ["parquet", "hf", "hub"])
def test_what_is_compressed_already_is_not_packed(tmp_path: Path, format: str) -> None:
    with pytest.raises(UsageError, match="is already compressed"):
        formats.write([PAIR], tmp_path / "x.gz", format)
    assert list(tmp_path.iterdir()) == []


def parts(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr("engine.formats.arrow.ROWS", rows)


@pytest.mark.parametrize("format", ["parquet", "hf", "hub"])
def test_a_table_is_the_same_in_one_part_and_in_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """Columns that only some parts have, numbers that are whole in one part, calls that are not common in the last."""
    extras = ['{"n": 1, "tag": "a"}', "", '{"n": 2.5, "who": {"name": "x"}}', '{"mixed": 1}', '{"mixed": "one"}']
    call = json.dumps([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": 0}])
    turns = (Message("user", "Go"), Message("assistant", "", CALL, tool_calls=call), Message("tool", "1", OBSERVATION))
    samples = [replace(PAIR, seq=i, extra=extra) for i, extra in enumerate(extras)]
    samples.append(sample(*turns, Message("assistant", "Done")))
    tables = []
    for name, count in (("one", 100), ("many", 2)):
        parts(monkeypatch, count)
        out = tmp_path / f"{name}{SUFFIX[format]}"
        formats.write(samples, out, format)
        found = formats.read(out, Data())
        tables.append([(s.messages, json.loads(s.extra or "{}")) for s in found.samples])
    assert tables[0] == tables[1]
    assert [extra.get("n") for _, extra in tables[0][:3]] == [1, None, 2.5]
    assert [extra.get("mixed") for _, extra in tables[0][3:5]] == ["1", '"one"'], "JSON text where no type fits"


def test_parquet_has_a_row_group_for_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    parts(monkeypatch, 2)
    formats.write([PAIR, CHILD, PAIR], tmp_path / "x.parquet", "parquet")
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 2
