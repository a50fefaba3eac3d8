from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from engine.files.last_line import TAIL_BYTES, last_line


@pytest.mark.parametrize(
    ("content", "last"),
    [(b"", ""), (b" \n\n", ""), (b"one", "one"), (b"one\ntwo \n\n", "two"), (b"one\n\xff", "\ufffd")],
)
def test_blank_lines_at_the_end_do_not_count(tmp_path: Path, content: bytes, last: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(content)
    assert last_line(log) == last


def test_a_huge_log_is_not_read_into_memory(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    os.truncate(log, 1 << 30)
    with log.open("ab") as file:
        file.write(b"\nthe reason\n")
    tracemalloc.start()
    try:
        assert last_line(log) == "the reason"
        assert tracemalloc.get_traced_memory()[1] < 32 * TAIL_BYTES
    finally:
        tracemalloc.stop()
