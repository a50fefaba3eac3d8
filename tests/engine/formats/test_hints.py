"""Which format a row has is told by its values; which column is which by its name, and a hint that is given works."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from engine.config.schema import Data
from engine.errors import DataError
from engine.formats.file_preview import preview
from engine.store.rows import Message
from tests.support.data_files import GOOD, HI, TURN, put, read, reasons

ROLES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


# ------------------------------------------------------------------------------------------------ by values


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"messages": None, "instruction": "Hi", "output": "Hello"}, "alpaca"),
        ({"messages": [], "conversations": TURN}, "sharegpt"),
        ({"messages": "", "prompt": "Hi", "completion": "Hello"}, "prompt"),
        ({"messages": "see the file", "prompt": "Hi", "completion": "Hello"}, "prompt"),
        ({"instruction": None, "output": None, "prompt": "Hi", "response": "Hello"}, "prompt"),
        ({"prompt": "Hi", "completion": None, "response": "Hello"}, "prompt"),
        ({"messages": float("nan"), "instruction": "Hi", "output": "Hello"}, "alpaca"),
        ({"prompt": "Hi", "messages": ROLES, "instruction": "x", "output": "y"}, "messages"),
    ],
)
def test_an_empty_column_is_none(tmp_path: Path, row: dict[str, Any], format: str) -> None:
    found = read(put(tmp_path, [row] * 3))
    assert (found.format, [s.messages for s in found.samples]) == (format, [HI] * 3)


def test_a_mixed_file_is_read_row_by_row(tmp_path: Path) -> None:
    rows = [
        {"messages": ROLES},
        {"instruction": "Hi", "output": "Hello"},
        {"messages": ROLES, "instruction": None},
        {"prompt": "Hi", "completion": "Hello"},
        {"messages": None, "instruction": "Hi", "output": ""},
    ]
    found = read(put(tmp_path, rows))
    assert [s.messages for s in found.samples] == [HI] * 4
    assert found.format == "messages + alpaca + prompt"
    assert reasons(found) == [(5, "messages is null, expected a list of turns")]


def test_a_format_that_was_asked_for_is_the_only_one(tmp_path: Path) -> None:
    found = read(put(tmp_path, [{"messages": ROLES, **GOOD}, {"messages": ROLES}]), format="alpaca")
    assert [s.response for s in found.samples] == ["3"]
    assert reasons(found) == [(2, "no column instruction, output")]


# ------------------------------------------------------------------------------------------------- by names

DOLLY = {"instruction": "Hi", "context": "Be kind.", "response": "Hello", "category": "open_qa"}
KIND = (Message("user", "Hi\nBe kind."), Message("assistant", "Hello"))


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (DOLLY, KIND),
        ({"Instruction": "Hi", "Input": "Be kind.", "Output": "Hello"}, KIND),
        ({"INSTRUCTION": "Hi", "RESPONSE": "Hello"}, HI),
        ({"question": "Hi", "answer": "Hello"}, HI),
        ({"Question": "Hi", "Complex_CoT": "hm", "Response": "Hello"}, HI),
        ({"query": "Hi", "response": "Hello", "type": "x"}, HI),
        ({"input": "Hi", "output": "Hello"}, HI),
        ({"inputs": "Hi", "targets": "Hello", "task": "x"}, HI),
        ({"question": "Hi", "context": "Be kind.", "answer": "Hello", "id": "3"}, KIND),
        ({"system_prompt": "s", "question": "Hi", "response": "Hello"}, (Message("system", "s"), *HI)),
        ({"problem": "Hi", "solution": "Hello", "level": "1"}, HI),
        ({"user": "Hi", "assistant": "Hello"}, HI),
        ({"userPrompt": "Hi", "modelAnswer": "Hello"}, HI),
        ({"the question": "Hi", "gold answer": "Hello"}, HI),
        ({"q": "Hi", "a": "Hello"}, HI),
        ({"document": "Hi", "summary": "Hello"}, HI),
        ({"conversation": ROLES, "model": "x"}, HI),
        ({"Conversations": TURN, "id": 3}, HI),
        ({"dialogue": ROLES, "prompt_id": "x"}, HI),
        ({"Messages": ROLES}, HI),
        ({"Prompt": "Hi", "Completion": "Hello", "text": "HiHello"}, HI),
        ({"question": "Hi", "chosen": "Hello", "rejected": "No"}, HI),
        ({"answers": ["x"], "question": "Hi", "long_answer": "Hello"}, HI),
        ({"output": 3, "question": "Hi", "response": "Hello"}, HI),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_the_hint_can_be_followed(tmp_path: Path, row: dict[str, Any], messages: tuple[Message, ...]) -> None:
    path = put(tmp_path, [row] * 5)
    with pytest.raises(DataError, match="unknown format") as caught:
        read(path)
    said = re.search(r"Try (.*) \(in config\.toml: \[data\] columns = \{(.*)\}\)\.$", str(caught.value))
    assert said, caught.value
    words = shlex.split(said[1])
    assert set(words[::2]) == {"--column"}
    columns = dict(word.split("=", 1) for word in words[1::2])
    assert [s.messages for s in read(path, columns=columns).samples] == [messages] * 5
    assert preview(path, Data()).guess | columns == preview(path, Data()).guess
    import tomllib

    assert tomllib.loads(f"x = {{{said[2]}}}")["x"] == columns


@pytest.mark.parametrize("row", [{"text": "Hi"}, {"frage": "Hi", "antwort": "Hello"}, {"question": 3, "answer": 4}])
def test_no_hint_where_names_or_values_do_not_tell(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"Expected messages: messages.*Map your columns: --column instruction=NAME"):
        read(put(tmp_path, [row]))
    with pytest.raises(
        DataError, match=r"Expected sharegpt: conversations\. Map your columns: --column conversations="
    ):
        read(put(tmp_path, [row]), format="sharegpt")


def test_a_hint_for_the_format_that_was_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path, [{"chat": ROLES, "question": "Hi", "answer": "Hello"}])
    with pytest.raises(DataError, match="Try --column conversations=chat "):
        read(path, format="sharegpt")
    with pytest.raises(DataError, match="Try --column prompt=question --column completion=answer "):
        read(path, format="prompt")


def test_a_mapping_that_does_not_fit_names_one_that_does(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([DOLLY]), encoding="utf-8")
    with pytest.raises(DataError, match=r"output is mapped to 'answer'.*Try --column output=response"):
        read(path, columns={"output": "answer"})
    path.write_text(json.dumps([GOOD]), encoding="utf-8")
    with pytest.raises(DataError, match="Try --column instruction=instruction --column output=output"):
        read(path, columns={"output": "answer"})
