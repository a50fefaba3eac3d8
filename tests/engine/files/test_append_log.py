"""Lines that a kill cut off."""

from __future__ import annotations

from pathlib import Path

from engine.files import append_log


def test_a_line_that_was_cut_off_is_dropped_and_the_next_one_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert append_log.whole(path) == []
    path.write_bytes(b"one\ntw")
    assert append_log.whole(path) == ["one"]
    append_log.append(path, ["three"])
    assert append_log.whole(path) == ["one", "three"]
