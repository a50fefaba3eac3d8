"""Encodings: what is certain is read, what would be a guess is asked for, and a wrong byte costs its row."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.errors import ConfigError, DataError
from engine.formats import streams
from tests.support.data_files import read, reasons

TEXTS = {
    "gb18030": "请用一句话描述北京的天气",
    "big5": "請用一句話描述台北的天氣",
    "cp932": "東京の天気を一文で説明してください",
    "cp949": "서울의 날씨를 한 문장으로 설명하세요",
    "cp1251": "Опишите погоду в Москве одним предложением",
    "koi8_r": "Опишите погоду в Москве одним предложением",
    "cp1252": "Décrivez la tour Eiffel à Paris, célèbre et déjà âgée",
    "cp1250": "Opisz pogodę w Łodzi jednym zdaniem, żółć i jaźń",
}
KINDS = ("x.csv", "x.json", "x.jsonl")


def content(name: str, text: str, rows: int = 12) -> str:
    """A file of rows with this text."""
    made = [{"instruction": f"{text} {n}", "output": f"{text}!"} for n in range(rows)]
    if name.endswith(".csv"):
        return "instruction,output\n" + "".join(f'"{r["instruction"]}","{r["output"]}"\n' for r in made)
    if name.endswith("l"):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
    return json.dumps(made, ensure_ascii=False)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("encoding", TEXTS)
def test_a_guess_is_asked_for_and_can_be_answered(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_bytes(content(name, TEXTS[encoding]).encode(encoding))
    with pytest.raises(DataError, match=r"not UTF-8 at byte \d+ .*Which encoding is it\? As ") as caught:
        read(path)
    shown = re.findall(r'[Aa]s (\w+) it reads "([^"]*)"', str(caught.value))
    assert encoding in dict(shown)
    assert dict(shown)[encoding].split()[0] in TEXTS[encoding]
    assert f"--encoding {shown[0][0]};" in str(caught.value)
    found = read(path, encoding=encoding)
    assert (len(found.samples), found.rejects) == (12, [])
    assert found.samples[0].response == TEXTS[encoding] + "!"


@pytest.mark.parametrize("name", KINDS)
def test_a_few_words_of_chinese_are_read_as_such(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content(name, "问题").encode("gbk"))
    with pytest.raises(DataError, match=r'As gb18030 it reads "问题".*--encoding gb18030;'):
        read(path)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"])
def test_wide_encodings_need_no_mark(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_bytes(content(name, "日本 é").encode(encoding))
    assert read(path).samples[0].response == "日本 é!"
    if "sig" not in encoding:
        assert read(path, encoding=encoding).samples[0].response == "日本 é!"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("block", [1 << 20, 7])
def test_one_wrong_byte_costs_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, block: int) -> None:
    monkeypatch.setattr(streams, "BLOCK", block)
    raw = content(name, "naïve 日本").encode().replace("日本 3".encode(), "日本 3".encode()[1:])
    path = tmp_path / name
    path.write_bytes(raw)
    found = read(path)
    assert len(found.samples) == 11
    ((row, reason),) = reasons(found)
    assert row == 4
    assert "not UTF-8" in reason


@pytest.mark.parametrize("name", KINDS)
def test_rows_with_wrong_bytes_are_left_out_when_utf_8_is_asked_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content(name, "plain").encode().replace(b"plain 1", b"plain \xe9 1"))
    with pytest.raises(DataError, match="--encoding utf-8 only rows with invalid bytes are skipped"):
        read(path)
    assert len(read(path, encoding="utf-8").samples) == 9  # not rows 1, 10 and 11


def test_an_encoding_that_there_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content("x.json", "a"))
    for name in ("gbx", "base64", "rot13"):
        with pytest.raises(ConfigError, match=rf"\[data\] encoding: unknown encoding '{name}'"):
            read(path, encoding=name)


def test_what_is_no_text_is_no_encoding(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    with pytest.raises(DataError, match="unsupported file type"):
        read(path)
