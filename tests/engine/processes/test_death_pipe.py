"""What kills processes with their worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.processes.death_pipe import receive_files, share_files
from tests.support import ROOT

CHILD = """
import sys
from pathlib import Path
from engine.processes.death_pipe import kill_group_on_close, receive_files
connection, (given,) = receive_files(Path(sys.argv[1]), 1)
kill_group_on_close({which})
print("tied", flush=True)
sys.stdin.read()
"""


def test_open_files_are_handed_out_as_often_as_asked(tmp_path: Path) -> None:
    read, write = os.pipe()
    kept = share_files(tmp_path / "s", [read], 2)
    asked = [receive_files(tmp_path / "s", 1) for _ in range(2)]
    assert len(kept) == 2
    for i, (_, (fd,)) in enumerate(asked):
        os.write(write, b"%d" % i)
        assert os.read(fd, 1) == b"%d" % i
    for connection in (*kept, *(c for c, _ in asked)):
        connection.close()
    for fd in (read, write, *(fd for _, (fd,) in asked)):
        os.close(fd)


def test_a_deep_folder_for_temporary_files_is_deep_enough(tmp_path: Path) -> None:
    """Schedulers of clusters give each job a folder with a long name, and sockets have short ones."""
    deep = tmp_path / ("job-" + "x" * 100)
    deep.mkdir()
    read, write = os.pipe()
    kept = share_files(deep / "s", [read], 1)
    connection, (fd,) = receive_files(deep / "s", 1)
    os.write(write, b"!")
    assert os.read(fd, 1) == b"!"
    for one in (*kept, connection):
        one.close()
    for open_file in (read, write, fd):
        os.close(open_file)


@pytest.mark.parametrize("which", ["connection.detach()", "given"])
def test_a_process_ends_with_its_launcher_and_with_its_worker(which: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    kept = share_files(tmp_path / "s", [read], 1)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD.format(which=which), str(tmp_path / "s")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"tied\n"
        if which == "given":
            os.close(write)
        else:
            kept[0].close()
            os.close(write)
        assert process.wait(30) == -9
    os.close(read)
