"""Dataset files in: every format, every reason to refuse a row or a file, hostile text."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard

from engine.errors import DataError
from engine.formats import streams
from engine.store.rows import Message
from tests.support.data_files import ADD, CALLS, GOOD, HI, TURN, put, read, reasons

# ------------------------------------------------------------------------------------------- formats


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
                "tools": "[{}]",
            },
            "sharegpt",
            (
                Message("system", "[{}]", "tools"),
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
                Message("assistant", "", "function_call", tool_calls=json.dumps(CALLS)),
                Message("tool", "1", "observation", tool_call_id="a1"),
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
    assert (found.format, found.samples[0].messages, found.facts.kept) == ("alpaca", HI, ("id",))


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
        with pytest.raises(DataError, match="cannot be read to the end"):
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


def test_what_is_not_read_of_a_folder_is_said(tmp_path: Path) -> None:
    """Other splits are named, and a missing part of the split that is read is an error: it held rows."""
    import datasets

    rows = datasets.Dataset.from_list([GOOD])
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "saved")
    hub = tmp_path / "hub"
    (hub / "data").mkdir(parents=True)
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        rows.to_parquet(hub / "data" / f"{name}.parquet")
    said = "only the split train is read; other splits are data of their own: "
    assert read(tmp_path / "saved").facts.notes() == (f"{said}{tmp_path}/saved/test",)
    assert read(hub).facts.notes() == (f"{said}{hub}/data/test-00000-of-00001.parquet",)
    assert read(tmp_path / "saved" / "test").facts.notes() == ()
    datasets.DatasetDict({"all": rows}).save_to_disk(tmp_path / "one")
    assert read(tmp_path / "one").facts.notes() == ()
    (hub / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"data/train-00001-of-00002\.parquet is missing"):
        read(hub)


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
