"""The recorder of the documentation's casts, at a real pseudo terminal; the casts in docs/ can be played."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from middo_tui.cli import casts
from tests.support import ROOT

SHOW = casts.Show("x", "A show", ("demo",), ("é\r".encode(), b"\x04"), 40, 10, 0.5)


def test_a_program_is_recorded_with_the_keys_it_was_sent(tmp_path: Path) -> None:
    asks = """stty size; printf '\\033[6n'; IFS= read -r line; printf 'got %s' "$line"; cat; pwd"""
    written = b"".join(data for _, data in casts.record(["sh", "-c", asks], SHOW, tmp_path, quiet_s=0.1))
    assert written.startswith(b"10 40\r\n\x1b[6n")
    assert "got \x1b[1;1Ré".encode() in written, "the position was answered, then the first key was typed"
    assert written.endswith(f"{tmp_path}\r\n".encode()), "the second key ended cat"


def test_a_program_that_fails_leaves_no_cast(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="exit code 3"):
        list(casts.record(["sh", "-c", "exit 3"], SHOW, tmp_path))


def test_long_pauses_are_shortened_and_split_characters_joined() -> None:
    pieces = [(100.0, b"a\xc3"), (100.25, b"\xa9"), (160.0, b"b")]
    head, *events = map(json.loads, casts.cast(SHOW, iter(pieces)))
    assert (head["version"], head["width"], head["height"]) == (2, 40, 10)
    assert events == [[0.0, "o", "$ middo-tui demo\r\n"], [0.5, "o", "a"], [0.75, "o", "é"], [1.25, "o", "b"]]


@pytest.mark.parametrize("show", [casts.DEMO, casts.TOUR], ids=lambda show: show.name)
def test_the_casts_of_the_documentation_are_small_and_run_forward(show: casts.Show) -> None:
    path = ROOT / "docs" / "casts" / f"{show.name}.cast"
    assert path.stat().st_size < 200_000
    head, *events = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert (head["width"], head["height"]) == (show.columns, show.rows)
    times = [at for at, kind, text in events if kind == "o" and isinstance(text, str)]
    assert times == sorted(times)
    assert len(times) == len(events) > 10
