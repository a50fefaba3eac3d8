"""The format of an export by the name that it is written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import UsageError
from middo_tui.cli.export import wanted_format


@pytest.mark.parametrize(
    ("name", "asked", "format"),
    [
        ("d.parquet", None, "parquet"),
        ("d.json", None, "alpaca"),
        ("d.jsonl.zst", None, "alpaca"),
        ("d.v2.jsonl", "messages", "messages"),
        ("d", None, "alpaca"),
        ("d.v2", "hub", "hub"),
    ],
)
def test_the_name_says_the_format(name: str, asked: str | None, format: str) -> None:
    assert wanted_format(Path(name), asked) == format


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("d.csv", None, "cannot export to .csv. Name it .json, .jsonl or .parquet"),
        ("d.csv", "alpaca", "--format alpaca does not go with .csv"),
        ("d.parquet", "messages", "--format messages does not go with .parquet"),
        ("d.json.gz", "parquet", "--format parquet does not go with .json"),
        ("d.jsonl", "hub", "--format hub does not go with .jsonl"),
    ],
)
def test_a_name_that_goes_with_no_format_or_another_one_is_refused(name: str, asked: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wanted_format(Path(name), asked)
