"""The Thresholds screen at a real terminal: hostile samples beside the cut, bytes of a move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.middo_tui.test_app_in_terminal import hostile_bytes
from tests.support.hostile import CORPUS
from tests.support.terminal import Terminal
from tests.support.threshold_projects import Cuts, spread

MOVE_BYTES = 2_300  # the cut goes to another cell, the counts change; within a cell it is some 0.3 KB
REST_BYTES = 2_000  # the samples beside the cut, once the keys rest


def test_hostile_samples_beside_the_cut_stay_text(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in CORPUS.values()]
    Cuts(tmp_path / "p", spread(len(texts)), texts=texts)
    terminal = opened(tmp_path / "p", columns=140, rows=60)
    terminal.wait_for("quit")
    terminal.send(b"3")
    terminal.wait_for("past threshold")
    for keys in (b"\t", b"\t", b"HHHHHHHHHHHHHHHHHHHHHH", b"\t", b"HHHHHHHHHHHHHHHHHHHH"):
        terminal.send(keys)
        terminal.wait_for("just inside")
        terminal.settle(0.6)
    terminal.send(b"q")
    assert terminal.wait() == 0
    assert hostile_bytes(terminal.seen) == []
    assert "␛".encode() in terminal.seen
    assert b"[red]b[/red]" in terminal.seen


def test_a_move_of_the_cut_is_few_bytes_and_rest_is_none(tmp_path: Path, opened: Callable[..., Terminal]) -> None:
    Cuts(tmp_path / "p", spread(2000))
    terminal = opened(tmp_path / "p")
    terminal.wait_for("quit")
    terminal.send(b"3")
    terminal.wait_for("past threshold")
    terminal.settle()
    terminal.send(b"h")
    terminal.settle()
    sizes = []
    for number_ in range(6):
        since = len(terminal.seen)
        terminal.send(b"h" if number_ % 2 else b"H")
        terminal.settle(0.5)
        sizes.append(len(terminal.seen) - since)
    assert max(sizes) <= MOVE_BYTES + REST_BYTES, sizes
    since = len(terminal.seen)
    terminal.settle()
    assert len(terminal.seen) == since
    terminal.send(b"q")
    assert terminal.wait() == 0
