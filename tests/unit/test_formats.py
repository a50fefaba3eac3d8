"""Dataset files in: every format, every reason to refuse a row or a file, hostile text."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard

from engine import formats
from engine.config import Data
from engine.errors import ConfigError, DataError
from engine.formats import Imported, jsonrows, streams
from engine.store.rows import Message

GOOD = {"instruction": "Add them.", "input": "1 2", "output": "3"}
ADD = (Message("user", "Add them.\n1 2"), Message("assistant", "3"))
TURN = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
HI = (Message("user", "Hi"), Message("assistant", "Hello"))


def put(folder: Path, rows: Any, name: str = "data.json") -> Path:
    path = folder / name
    if name.endswith("l"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def read(path: Path, **settings: Any) -> Imported:
    return formats.read(path, Data(**settings))


def reasons(found: Imported) -> list[tuple[int, str]]:
    return [(r.row, r.reason) for r in found.rejects]


# ------------------------------------------------------------------------------------------- formats

CALLS = [{"id": "a1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("row", "format", "messages"),
    [
        (GOOD, "alpaca", ADD),
        ({"instruction": "Hi", "output": "Hello"}, "alpaca", HI),
        ({"instruction": "Hi", "input": None, "output": "Hello", "system": "", "history": []}, "alpaca", HI),
        ({"instruction": "", "input": "Hi", "output": "Hello"}, "alpaca", HI),
        (
            {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]},
            "alpaca",
            (
                Message("system", "s"),
                Message("user", "a"),
                Message("assistant", "b"),
                Message("user", "c"),
                Message("assistant", "d"),
            ),
        ),
        ({"conversations": TURN}, "sharegpt", HI),
        ({"conversations": TURN, "system": "s"}, "sharegpt", (Message("system", "s"), *HI)),
        ({"conversations": [{"from": "system", "value": "s"}, *TURN]}, "sharegpt", (Message("system", "s"), *HI)),
        (
            {
                "conversations": [
                    TURN[0],
                    {"from": "function_call", "value": "f()"},
                    {"from": "observation", "value": "1"},
                    TURN[1],
                ],
                "tools": "[]",
            },
            "sharegpt",
            (
                Message("system", "[]", "tools"),
                Message("user", "Hi"),
                Message("assistant", "f()", "function_call"),
                Message("tool", "1", "observation"),
                Message("assistant", "Hello"),
            ),
        ),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}, "messages", HI),
        (
            {"prompt": "x", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
            "messages",
            HI,
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
                    {"role": "assistant", "content": None, "tool_calls": CALLS},
                    {"role": "tool", "tool_call_id": "a1", "content": "1"},
                    {"role": "assistant", "content": "Hello"},
                ]
            },
            "messages",
            (
                Message("user", "Hi"),
                Message("assistant", json.dumps(CALLS), "function_call"),
                Message("tool", "1", "observation"),
                Message("assistant", "Hello"),
            ),
        ),
        ({"prompt": "Hi", "completion": "Hello"}, "prompt", HI),
        ({"prompt": "Hi", "response": "Hello"}, "prompt", HI),
        (
            {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Hello"}]},
            "prompt",
            HI,
        ),
    ],
)
@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_each_format_is_told_by_its_columns(
    tmp_path: Path, row: dict[str, Any], format: str, messages: tuple[Message, ...], name: str
) -> None:
    found = read(put(tmp_path, [row, row], name))
    assert found.format == format
    assert [s.messages for s in found.samples] == [messages, messages]
    assert found.rejects == []


def test_samples_know_where_they_come_from(tmp_path: Path) -> None:
    found = read(put(tmp_path, [GOOD, {**GOOD, "output": ""}, GOOD]))
    assert [(s.seq, s.source, s.input_chars, s.born_round) for s in found.samples] == [
        (0, "data.json:1", 3, 0),
        (1, "data.json:3", 3, 0),
    ]


def test_exact_duplicates_stay_separate_rows(tmp_path: Path) -> None:
    found = read(put(tmp_path, [GOOD, GOOD, GOOD]))
    assert found.duplicates == 2
    assert len({s.id for s in found.samples}) == 3
    assert found.samples == read(put(tmp_path, [GOOD, GOOD, GOOD])).samples


def test_columns_are_mapped_ours_to_theirs(tmp_path: Path) -> None:
    path = put(tmp_path, [{"question": "Hi", "answer": "Hello", "id": 4}])
    found = read(path, columns={"instruction": "question", "output": "answer"})
    assert (found.format, found.samples[0].messages, found.ignored) == ("alpaca", HI, ("id",))


def test_a_column_that_another_is_mapped_over_is_not_read(tmp_path: Path) -> None:
    path = put(tmp_path, [{"instruction": "old", "question": "Hi", "output": "Hello"}])
    assert read(path, columns={"instruction": "question"}).samples[0].messages == HI


def test_columns_swap_names(tmp_path: Path) -> None:
    path = put(tmp_path, [{"prompt": "Hello", "completion": "Hi"}])
    found = read(path, columns={"prompt": "completion", "completion": "prompt"})
    assert found.samples[0].messages == HI


def test_rows_inside_an_object_and_a_lone_object(tmp_path: Path) -> None:
    assert len(read(put(tmp_path, {"version": 1, "data": [GOOD, GOOD]})).samples) == 2
    assert len(read(put(tmp_path, GOOD)).samples) == 1
    pretty = tmp_path / "pretty.json"
    pretty.write_text(json.dumps({"data": [GOOD]}, indent=2), encoding="utf-8")
    assert len(read(pretty).samples) == 1


# ---------------------------------------------------------------------------------------------- files


def test_json_lines_in_a_json_file_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(f"{json.dumps(GOOD)}\n\n  \n{json.dumps(GOOD)}\r\n", encoding="utf-8")
    assert [s.source for s in read(path).samples] == ["data.json:1", "data.json:4"]


def test_line_separators_of_unicode_do_not_end_a_line(tmp_path: Path) -> None:
    row = {**GOOD, "output": "a\u2028b\x85c\x0cd"}
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    assert read(path).samples[0].response == "a\u2028b\x85c\x0cd"


@pytest.mark.parametrize("name", ["d.json", "d.jsonl", "d.json.gz", "d.jsonl.zst", "no_suffix"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_compression_and_encodings(tmp_path: Path, name: str, encoding: str) -> None:
    row = {**GOOD, "output": "naïve 🙂 日本"}
    text = json.dumps([row], ensure_ascii=False) if "jsonl" not in name else json.dumps(row, ensure_ascii=False) + "\n"
    raw = text.encode(encoding)
    packed = gzip.compress(raw) if name.endswith("gz") else zstandard.compress(raw) if name.endswith("zst") else raw
    path = tmp_path / name
    path.write_bytes(packed)
    assert read(path).samples[0].response == "naïve 🙂 日本"


def test_a_cut_off_stream_loses_no_rows_silently(tmp_path: Path) -> None:
    text = "".join(json.dumps({**GOOD, "output": os.urandom(30).hex()}) + "\n" for _ in range(3000)).encode()
    for name, packed in (("x.jsonl.zst", zstandard.compress(text)), ("x.jsonl.gz", gzip.compress(text))):
        path = tmp_path / name
        path.write_bytes(packed + packed)
        assert len(read(path).samples) == 6000
        path.write_bytes(packed[: len(packed) // 2])
        with pytest.raises(DataError, match="cannot be read to its end"):
            read(path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv(tmp_path: Path, separator: str) -> None:
    text = separator.join(["instruction", "input", "output"]) + "\r\n"
    text += separator.join(["Hi", "", '"say ""x""\nand more"']) + "\r\n" + separator.join(["a", "b"]) + "\r\n"
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8", newline="")
    found = read(path)
    assert found.samples[0].response == 'say "x"\nand more'
    assert reasons(found) == [(2, "2 fields, the header has 3")]


def test_csv_with_turns_as_json(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    quoted = json.dumps(TURN).replace('"', '""')
    path.write_text(f'conversations\n"{quoted}"\n', encoding="utf-8")
    assert read(path).samples[0].messages == HI


def test_parquet_and_datasets_folders(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_list([GOOD, {**GOOD, "output": None}])
    rows.to_parquet(tmp_path / "x.parquet")
    rows.save_to_disk(tmp_path / "folder")
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "splits")
    for name in ("x.parquet", "folder", "splits"):
        found = read(tmp_path / name)
        assert found.samples[0].messages == ADD
        assert reasons(found) == [(2, "empty response")]
    datasets.DatasetDict({"a": rows, "b": rows}).save_to_disk(tmp_path / "strange")
    with pytest.raises(DataError, match="splits a, b"):
        read(tmp_path / "strange")


def test_an_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a block ends (in a string, an escape, a number, between rows), the rows are the same."""
    rows = [
        {"instruction": f'é{i}\n"q" \\u00e9', "output": "x" * (i % 7) + "🙂", "n": 12345, "f": -1.5e3}
        for i in range(20)
    ]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    whole = read(path).samples
    for block in (1, 2, 3, 7, 64):
        monkeypatch.setattr(streams, "BLOCK", block)
        assert read(path).samples == whole


# ---------------------------------------------------------------------------------------------- rejects


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "", "input": "", "output": "x"}, "empty prompt"),
        ({"instruction": " \n\t", "output": "x"}, "empty prompt"),
        ({"instruction": "x", "output": ""}, "empty response"),
        ({"instruction": "x", "output": None}, "empty response"),
        ({"instruction": "x", "output": "  "}, "empty response"),
        ({"instruction": "x"}, "no column output"),
        ({"instruction": 4, "output": "x"}, "instruction is a number, expected text"),
        ({"instruction": "x", "output": True}, "output is true/false, expected text"),
        ({"instruction": "x", "output": ["x"]}, "output is a list, expected text"),
        ({"instruction": "x", "input": {"a": 1}, "output": "x"}, "input is an object, expected text"),
        ({"instruction": "x", "output": "\ud800"}, "output has a lone surrogate at character 1: a broken \\u escape"),
        ({"instruction": "x", "output": "x", "history": [["a"]]}, "history[0] is not a pair of prompt and response"),
        ({"instruction": "x", "output": "x", "history": "a"}, "history is text that is not a JSON list"),
        ({"instruction": "x", "output": "x", "history": [["", "b"]]}, "empty prompt (turn 1)"),
        (["Hi", "Hello"], "not an object with columns"),
        ("Hi", "not an object with columns"),
        (None, "not an object with columns"),
    ],
)
@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_a_bad_alpaca_row_is_kept_with_its_reason(tmp_path: Path, row: Any, reason: str, name: str) -> None:
    found = read(put(tmp_path, [GOOD, row, GOOD], name))
    assert reasons(found) == [(2, reason)]
    assert found.rejects[0].file == name
    assert found.rejects[0].raw.encode()
    assert len(found.samples) == 2


def turns(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": []}, "no assistant turn"),
        (turns(("user", "x")), "no assistant turn"),
        (turns(("system", "x")), "no assistant turn"),
        (turns(("user", "a"), ("assistant", "b"), ("user", "c")), "unbalanced conversation: it ends with a user turn"),
        (turns(("user", "a"), ("user", "b"), ("assistant", "c")), "two user turns in a row (turn 2)"),
        (turns(("user", "a"), ("assistant", "b"), ("assistant", "c")), "two assistant turns in a row (turn 3)"),
        (turns(("assistant", "b")), "the conversation begins with the assistant turn, expected system or user"),
        (turns(("user", "a"), ("system", "s"), ("assistant", "b")), "a system turn follows the user turn (turn 2)"),
        (turns(("system", "a"), ("system", "s"), ("user", "b")), "two system turns in a row (turn 2)"),
        (turns(("user", "a"), ("tool", "s"), ("assistant", "b")), "a tool turn follows the user turn (turn 2)"),
        (turns(("user", "a"), ("assistant", "")), "empty response"),
        (turns(("user", ""), ("assistant", "b")), "empty prompt"),
        (turns(("user", "a"), ("assistant", " "), ("user", "a"), ("assistant", "b")), "empty response (turn 2)"),
        (turns(("boss", "a"), ("assistant", "b")), "messages[0] has the role 'boss', expected one of"),
        (turns(("user", 4), ("assistant", "b")), "messages[0] is a number, expected text"),
        (turns(("user", [{"type": "image_url"}]), ("assistant", "b")), "messages[0] has parts that are not text"),
        ({"messages": ["x"]}, "messages[0] is text, expected an object with role and content"),
        ({"messages": "x"}, "messages is text, expected a list of turns"),
        ({"messages": 3}, "messages is a number, expected a list of turns"),
        ({"messages": [{"content": "x"}]}, "messages[0] has the role None"),
        (
            {"messages": [{"role": "assistant", "content": "x", "tool_calls": CALLS}]},
            "messages[0] has both text and tool_calls",
        ),
        (
            {"messages": [{"role": "user", "tool_calls": CALLS}]},
            "messages[0] has tool_calls that are not an assistant's",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "x"},
                    {"role": "assistant", "tool_calls": CALLS},
                    {"role": "tool", "content": "1", "tool_call_id": "zz"},
                ]
            },
            "messages[2] answers the call 'zz', expected 'a1'",
        ),
    ],
)
def test_a_bad_conversation_is_kept_with_its_reason(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    found = read(put(tmp_path, [turns(("user", "a"), ("assistant", "b")), row]))
    assert [r for r, _ in reasons(found)] == [2]
    assert reasons(found)[0][1].startswith(reason)


def test_bad_lines_are_rejects(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    good = json.dumps(GOOD).encode()
    deep = b'{"instruction": ' + b"[" * 200_000
    path.write_bytes(
        b"\n".join(
            [b"oops", good, b'{"instruction": "\xff"}', b'{"a": 1', deep, good[:-1] + b', "x": ' + b"9" * 5000 + b"}"]
        )
    )
    found = read(path)
    assert [row for row, _ in reasons(found)] == [1, 3, 4, 5, 6]
    said = [reason for _, reason in reasons(found)]
    assert said[0].startswith("not JSON: Expecting value")
    assert said[1] == "not UTF-8 at byte 17 of the line"
    assert said[2].startswith("not JSON")
    assert said[3] in ("nested too deeply", "not JSON: Expecting value at character 200017")
    assert "4300 digits" in said[4]
    assert "\\xff" in found.rejects[1].raw


def test_an_overlong_row_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_ROW", 4096)
    monkeypatch.setattr(jsonrows, "MAX_ROW", 4096)
    monkeypatch.setattr(streams, "BLOCK", 1024)
    rows = [GOOD, {**GOOD, "output": "x" * 5000}, GOOD, {**GOOD, "output": "y" * 20_000}, GOOD]
    for name in ("data.jsonl", "data.json"):
        found = read(put(tmp_path, rows, name))
        assert [s.source for s in found.samples] == [f"{name}:{n}" for n in (1, 3, 5)]
        assert [row for row, _ in reasons(found)] == [2, 4]
        assert all("longer than" in reason for _, reason in reasons(found))


def test_a_shown_row_is_bounded_and_valid(tmp_path: Path) -> None:
    found = read(put(tmp_path, [GOOD, {"instruction": "\ud800" + "x" * 100_000, "output": "y"}]))
    assert len(found.rejects[0].raw) < 5000
    found.rejects[0].raw.encode("utf-8")


# ------------------------------------------------------------------------------------------ unusable files


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.json", b"", "the file is empty"),
        ("x.json", b"  \n", "not JSON"),
        ("x.json", b"[]", "there are no rows in it"),
        ("x.jsonl", b"\n\n", "nothing but white space"),
        ("x.json", b"hello", "not JSON: it begins with 'h'"),
        ("x.bin", b"\x00\x01", "not a kind of file that can be read"),
        ("x.json", b'[{"instruction": "a", "output": "b"}', "row 1: the file ends after it"),
        ("x.json", b'[{"instruction": "a", "output": "b', "row 1: Unterminated string .*; the file ends there"),
        ("x.json", b'[{"instruction": "a", "output": "b"},]', "row 2: Expecting value"),
        (
            "x.json",
            b'[{"instruction": "a" "output": "b"}, {"a": 12345678901234567890}]',
            "row 1: Expecting ',' delimiter",
        ),
        ("x.json", b'[{"a": "b"} {"a": "b"}]', r"row 1: expected , or \] after it"),
        ("x.json", b'[{"instruction": "a", "output": "b"}] {}', "text after the closing"),
        ("x.json", b"[" * 100_000, "nested too deeply"),
        ("x.json", b'{"a": }', "neither one JSON value nor"),
        ("x.json", b'[{"instruction": "caf\xe9", "output": "b"}]', "not UTF-8 at byte 21 .*iconv"),
        ("x.csv", b"instruction,output\na,caf\xe9\n", "not UTF-8 at byte 24"),
        ("x.csv", b'instruction,output\n"a,b\n', "not CSV"),
        ("x.json", b"\xff\xfe[\x00\x00", "not UTF-16-LE"),
        ("x.json.gz", b"\x1f\x8b\x08\x00oops", "cannot be read to its end"),
        ("x.json.zst", b"\x28\xb5\x2f\xfdoops", "cannot be read to its end"),
        ("x.parquet", b"PAR1 oops", "not a Parquet file"),
        (
            "x.json",
            b'[{"text": "a", "label": 3}]',
            "The columns are text, label. Expected messages: messages; sharegpt",
        ),
        ("x.json", b'[{"text": "a"}]', 'columns = .*instruction = "text"'),
        ("x.json", b'[{"instruction": "a", "output": ""}]', "none of 1 rows can be used .*empty response"),
        ("x.json", b"[1, 2]", "none of 2 rows can be used: not an object"),
        ("x.jsonl", b'{"instruction": "\xff"}', "none of 1 rows can be used: not UTF-8"),
    ],
)
def test_an_unusable_file_says_why(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_late_wrong_byte_is_named_by_its_place_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BLOCK", 7)
    path = tmp_path / "x.json"
    raw = b"\xef\xbb\xbf" + json.dumps([GOOD] * 3, ensure_ascii=False).encode() + " é".encode("latin-1")
    path.write_bytes(raw)
    with pytest.raises(DataError, match=f"not UTF-8 at byte {len(raw) - 1} "):
        read(path)


def test_a_missing_file_and_a_plain_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match=r"no state\.json"):
        read(tmp_path)


def test_a_format_that_does_not_fit_and_wrong_mappings(tmp_path: Path) -> None:
    path = put(tmp_path, [GOOD])
    with pytest.raises(DataError, match="Expected sharegpt: conversations"):
        read(path, format="sharegpt")
    with pytest.raises(DataError, match="maps output to 'answer', which is not there"):
        read(path, columns={"output": "answer"})
    with pytest.raises(ConfigError, match="there is no part question"):
        read(path, columns={"question": "instruction"})


# ------------------------------------------------------------------------------------------------ real data


@pytest.mark.parametrize(
    ("name", "rows", "duplicates", "rejects"), [("alpaca_1k", 999, 14, 0), ("alpaca_9k", 9225, 0, 4)]
)
def test_real_alpaca(name: str, rows: int, duplicates: int, rejects: int) -> None:
    folder = os.environ.get("MIDDO_TEST_DATA")
    if not folder:
        pytest.skip("MIDDO_TEST_DATA does not name a folder with alpaca_1k.json and alpaca_9k.json")
    found = read(Path(folder) / f"{name}.json")
    assert (len(found.samples), found.duplicates, len(found.rejects)) == (rows, duplicates, rejects)
    assert len({s.id for s in found.samples}) == rows
    assert {r.reason for r in found.rejects} <= {"empty response"}
