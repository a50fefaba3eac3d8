"""What a process leaves behind among the temporary files: nothing, also one that was killed before."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

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


def test_a_folder_whose_lock_is_being_taken_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when two processes start at once."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    take = fcntl.flock

    def flock(file: IO[bytes], how: int) -> None:
        if how == fcntl.LOCK_EX:
            sweep("middo-")  # another process, just before
        take(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with scratch("middo-") as mine:
        assert (mine / LOCK).exists()
