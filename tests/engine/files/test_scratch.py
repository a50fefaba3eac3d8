"""What a process leaves behind among the temporary files: nothing, also one that was killed before."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from engine.files.scratch import LOCK, locked, scratch, sweep


def test_folders_of_processes_that_are_gone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether one is alive is told by its lock: its pid may be another machine's, which shares the folder for them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone, alive, begun, other = (tmp_path / name for name in ("middo-a", "middo-b", "middo-c", "d"))
    for folder in (gone, alive, begun, other):
        folder.mkdir()
    (gone / LOCK).touch()
    with locked(alive):
        sweep("middo-")
        assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in (alive, begun, other))
    with scratch("middo-") as mine:
        assert mine.stat().st_mode & 0o777 == 0o700
        sweep("middo-")
        assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in (mine, begun, other))
    assert not mine.exists()
