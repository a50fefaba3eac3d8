"""What a rename or a row says is there is on the disk: bytes first, then the name, then the folder of the name."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from engine.files import durable
from engine.runtime.context import StoreCtx
from engine.store import read
from tests.support import ROOT, tiny


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was flushed and renamed, in order, by name."""
    out: list[tuple[str, str]] = []
    sync, rename = os.fsync, os.replace

    def synced(handle: int) -> None:
        out.append(("sync", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        sync(handle)

    def renamed(new: Path, path: Path) -> None:
        out.append(("rename", Path(path).name))
        rename(new, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    return out


pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="file names are read from /proc")


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, told: list[tuple[str, str]]) -> None:
    (tmp_path / "new").write_bytes(b"x")
    durable.replace(tmp_path / "new", tmp_path / "a")
    assert [one for one in told if one != ("sync", tmp_path.name)] == [("sync", "new"), ("rename", "a")]
    assert told[-1] == ("sync", tmp_path.name)


def test_so_is_every_file_of_a_folder(tmp_path: Path, told: list[tuple[str, str]]) -> None:
    (tmp_path / "new" / "sub").mkdir(parents=True)
    for name in ("new/one", "new/sub/two"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "new" / "link").symlink_to("nowhere")
    durable.replace(tmp_path / "new", tmp_path / "a")
    before = told[: told.index(("rename", "a"))]
    assert {name for _, name in before} == {"one", "two", "sub", "new", tmp_path.name}


def test_an_artifact_is_on_the_disk_before_its_row(tmp_path: Path, told: list[tuple[str, str]]) -> None:
    made = tiny.Project(tmp_path, tiny.make_config(tmp_path / "no-model"), [])
    ctx: StoreCtx = made.ctx("score")
    path = ctx.workdir("embeddings") / "a.npy"
    path.write_bytes(b"x")
    ctx.publish("embeddings", path, {})
    assert ("sync", "a.npy") in told
    assert read.artifact(made.db, 0, "embeddings") is not None


def test_a_filesystem_that_cannot_flush_folders_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def refused(handle: int) -> None:
        if os.path.isdir(os.readlink(f"/proc/self/fd/{handle}")):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", refused)
    (tmp_path / "new").write_bytes(b"x")
    durable.replace(tmp_path / "new", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_nobody_renames_without_it() -> None:
    allowed = {"engine/files/durable.py", "engine/demo/pretrain.py", "engine/formats/folders.py"}
    allowed |= {
        "engine/nodes/fetching.py",
        "engine/distributed/shared_paths.py",
        "engine/files/scratch.py",
    }  # in a folder that goes with its launch or process
    found = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "engine").rglob("*.py")
        if re.search(r"os\.(replace|rename)\(|\.rename\(", file.read_text(encoding="utf-8"))
    }
    assert found <= allowed, "rename by engine.files.durable"
