"""Disks that fail and processes that die at a call: a short, seeded draw of what ``make chaos`` does at length."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.chaos.seam import FAULTS, compiler
from engine.files.whole_folder import whole_folder
from tests.support.processes import environ
from tests.support.stores import Store

ONLY = "decide,undo,settings,import,export,restore,upgrade"


@pytest.mark.skipif(compiler() is None or sys.platform != "linux", reason="needs a C compiler and LD_PRELOAD")
def test_a_disturbed_write_is_done_whole_or_not_at_all_and_can_be_repeated() -> None:
    command = [sys.executable, "-m", "benchmarks.chaos.run", "--faults", "35", "--seed", "3", "--only", ONLY, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environ(), timeout=300)
    assert done.stdout.startswith("["), done.stderr
    found = json.loads(done.stdout)
    assert {one["operation"] for one in found} == set(ONLY.split(","))
    assert len({one["fault"] for one in found}) >= len(FAULTS) - 4
    assert {one["ended"] for one in found} == {"ok", "error", "died"}, "the disturbances land"
    assert [one for one in found if one["faults"]] == []


FULL_DISK = """
import errno, sys
from pathlib import Path
from benchmarks.chaos import seam
from engine.errors import StoreBlocked
from engine.store.connect import reader, writer
seam.restart_with_seam()
folder = Path(sys.argv[1])
for open_store in (writer, reader):
    seam.arm(folder, seam.Fault("", seam.OPEN, seam.ERROR, errno.ENOSPC, 1000), 2)  # the file itself is there
    try:
        open_store(folder)
    except StoreBlocked as error:
        print(error.trouble, error)
    seam.disarm()
"""


@pytest.mark.skipif(compiler() is None or sys.platform != "linux", reason="needs a C compiler and LD_PRELOAD")
def test_a_disk_that_is_full_when_the_store_is_opened_is_what_is_said(tmp_path: Path) -> None:
    Store(tmp_path / "P").db.close()
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "P")]
    done = subprocess.run(command, capture_output=True, text=True, env=environ(), timeout=300)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["full", "full"], done.stderr
    assert done.stdout.count("the disk is full") == 2
    assert "owner" not in done.stdout
    assert "backup" not in done.stdout


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with pytest.raises(FileNotFoundError), whole_folder(out) as making:
        (making / "half" / "way").touch()
    assert list(out.parent.iterdir()) == []
    (out.parent / ".out.unfinished").mkdir()  # of a kill
    (out.parent / ".out.unfinished" / "old").touch()
    out.mkdir()
    with whole_folder(out) as making:
        (making / "all").touch()
        assert list(out.iterdir()) == []
    assert [path.name for path in out.iterdir()] == ["all"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
