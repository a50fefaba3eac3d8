"""Rows that cannot be used are kept with their reasons, and files that cannot be read say why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConfigError, DataError
from engine.formats import jsonrows, streams
from engine.formats.reading import why
from tests.support.data_files import CALLS, GOOD, put, read, reasons

# ---------------------------------------------------------------------------------------------- rejects


def test_the_most_frequent_reasons_are_told_and_that_there_are_others() -> None:
    assert (
        why([("empty response", 1200), ("no column output", 1)], 1201) == "empty response (1,200); no column output (1)"
    )
    assert why([("a", 3), ("b", 2)], 9) == "a (3); b (2); other reasons (4)"


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
        ({"instruction": "x", "output": "\ud800"}, "output has a lone surrogate (a broken \\u escape) at character 1"),
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
            {"messages": [{"role": "user", "tool_calls": CALLS}]},
            "messages[0] has tool_calls that are not a list",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "x"},
                    {"role": "assistant", "tool_calls": CALLS},
                    {"role": "tool", "content": "1", "tool_call_id": "zz"},
                ]
            },
            "turn 3 answers unknown call 'zz'; unanswered: a1",
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
        ("x.json", b"[]", "no rows"),
        ("x.jsonl", b"\n\n", "only white space"),
        ("x.json", b"hello", "not JSON: it begins with 'h'"),
        ("x.bin", b"\x00\x01", "unsupported file type"),
        ("x.json", b'[{"instruction": "a", "output": "b"}', "row 1: the file ends after it"),
        ("x.json", b'[{"instruction": "a", "output": "b', "row 1: Unterminated string .*; the file ends there"),
        ("x.json", b'[{"instruction": "a", "output": "b"},]', "row 2: Expecting value"),
        (
            "x.json",
            b'[{"instruction": "a" "output": "b"}, 12345678901234567890]',
            r"Expecting ',' delimiter \(1, first in row 1\)",
        ),
        ("x.json", b'[{"a": "b"} {"a": "b"}]', r"expected , or \] after it, found '\{' \(1, first in row 1\)"),
        ("x.json", b'[{"instruction": "a", "output": "b"}] {}', "text after the closing"),
        ("x.json", b"[" * 100_000, "nested too deeply"),
        ("x.json", b'{"a": }', "neither one JSON value nor"),
        (
            "x.json",
            b'[{"instruction": "caf\xe9", "output": "b"}]',
            r"not UTF-8 at byte 21 .*As cp1252 it reads \"café\".*--encoding cp1252",
        ),
        ("x.csv", b"instruction,output\na,caf\xe9\n", "not UTF-8 at byte 24"),
        ("x.csv", b'instruction,output\n"a,b\n', "not CSV"),
        ("x.json", b"\xff\xfe[\x00\x00", "not UTF-16-LE"),
        ("x.json.gz", b"\x1f\x8b\x08\x00oops", "cannot be read to the end"),
        ("x.json.zst", b"\x28\xb5\x2f\xfdoops", "cannot be read to the end"),
        ("x.parquet", b"PAR1 oops", "unreadable Parquet file"),
        (
            "x.json",
            b'[{"text": "a", "label": 3}]',
            "The columns are text, label. Expected messages: messages; sharegpt",
        ),
        ("x.json", b'[{"text": "a"}]', "Map your columns: --column instruction=NAME"),
        ("x.json", b'[{"instruction": "a", "output": ""}]', "its only row cannot be used .*empty response"),
        ("x.json", b"[1, 2]", "none of 2 rows can be used: not an object"),
        ("x.jsonl", b'{"instruction": "\xff"}', "not UTF-8 at byte 17 .*--encoding utf-8"),
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
    raw = json.dumps([GOOD] * 3, ensure_ascii=False).encode() + " é".encode("latin-1")
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
    with pytest.raises(DataError, match=r"output is mapped to 'answer', which does not exist.*--column"):
        read(path, columns={"output": "answer"})
    with pytest.raises(ConfigError, match="unknown part question"):
        read(path, columns={"question": "instruction"})


FINE = '{"instruction": "Say hi.", "output": "Hi."}'


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ('{"instruction": "Say "hi".", "output": "Hi."}', "Expecting ',' delimiter"),
        ('{"instruction": "Say hi.", "output": "Hi.}', "Invalid control character"),
        ('{"instruction": "Say hi.", "output": "Hi.,\n}', "Invalid control character"),
        ('{"instruction": "Say hi." "output": ["a", {"b": "}]"}]}', "Expecting ',' delimiter"),
        ("{'instruction': 'Say hi.', 'output': 'Hi.'}", "Expecting property name"),
        ('{"instruction": "Say hi.", "output": "Hi."}}', "expected , or ] after it, found '}'"),
        ('{"instruction": "a", "output": nothing}', "Expecting value"),
        ('{"instruction": "\\x", "output": "b, ]"}', "Invalid \\escape"),
    ],
)
@pytest.mark.parametrize("joint", [",\n", ",\n  "])
def test_a_broken_row_of_an_array_is_refused_alone(tmp_path: Path, broken: str, why: str, joint: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[\n" + joint.join([FINE, broken, FINE, broken]) + "\n]\n", encoding="utf-8")
    found = read(path)
    assert [sample.source.rpartition(":")[2] for sample in found.samples] == ["1", "3"]
    assert [(reject.row, reject.raw[:20]) for reject in found.rejects] == [(2, broken[:20]), (4, broken[:20])]
    assert all(reject.reason.startswith("not JSON: ") and why in reject.reason for reject in found.rejects)


@pytest.mark.parametrize("broken", ['{"instruction": "a", "output": ["b"', '{"instruction": "a"', '{"a": {"b": "c"}'])
def test_a_row_whose_end_cannot_be_told_refuses_the_file(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(f"[{FINE},\n{broken},\n{FINE}]", encoding="utf-8")
    with pytest.raises(DataError, match="not JSON in row 2"):
        read(path)


# ---------------------------------------------------------------------------------------------- repeated keys

TWICE = '{"instruction": "x", "output": "first", "output": "second"}'
NESTED = '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "a", "content": "b"}]}'


@pytest.mark.parametrize("row", [TWICE, NESTED, '{"instruction": "x", "output": "y", "meta": {"a": 1, "a": 1}}'])
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("data.jsonl", "{good}\n{row}\n{good}\n"),
        ("data.json", "[{good}, {row},\n {good}]"),
        ("held.json", '{{"data": [{good}, {row}, {good}]}}'),
        ("spread.json", '{{"data":\n [{good},\n {row}, {good}]}}'),
    ],
)
def test_a_row_with_a_key_twice_is_set_aside_whole(tmp_path: Path, row: str, name: str, form: str) -> None:
    (tmp_path / name).write_text(form.format(good=json.dumps(GOOD), row=row), encoding="utf-8")
    found = read(tmp_path / name)
    key = "content" if row == NESTED else "output" if row == TWICE else "a"
    assert reasons(found) == [(2, f"the key {key!r} is there twice, so that nobody can tell which value is meant")]
    if form.startswith(("{good}", "[")):
        assert found.rejects[0].raw == row
    assert len(found.samples) == 2


def test_a_long_row_with_a_key_twice_is_read_to_its_end(tmp_path: Path) -> None:
    long = '{"output": "a", "output": "b", "instruction": "' + "x" * (3 << 20) + '"}'
    (tmp_path / "data.json").write_text(f"[{long}, {json.dumps(GOOD)}]", encoding="utf-8")
    found = read(tmp_path / "data.json")
    assert [row for row, _ in reasons(found)] == [1]
    assert len(found.samples) == 1
    (tmp_path / "cut.json").write_text(f"[{json.dumps(GOOD)}, {TWICE[:-1]}", encoding="utf-8")
    with pytest.raises(DataError, match="not JSON in row 2"):
        read(tmp_path / "cut.json")


def test_a_file_whose_object_has_a_key_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(f'{{"data": [{json.dumps(GOOD)}],\n "data": []}}', encoding="utf-8")
    with pytest.raises(DataError, match="the key 'data' is there twice"):
        read(tmp_path / "data.json")
