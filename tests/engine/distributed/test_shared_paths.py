"""A machine without the project fetches what it needs of it, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.distributed import shared_paths
from engine.distributed import world as worlds
from engine.errors import StageError
from tests.support.doors import open_door


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a checkpoint, and with what is nobody else's business."""
    folder = tmp_path / "P" / "artifacts" / "round-0" / "checkpoint" / "final"
    folder.mkdir(parents=True)
    (folder / "adapter.bin").write_bytes(b"weights")
    (folder.parent / "rows.arrow").write_bytes(b"rows")
    (tmp_path / "P" / "config.toml").write_text("[teacher]\n", encoding="utf-8")
    return tmp_path / "P"


def test_files_of_a_checkpoint_are_fetched_when_they_are_asked_for_and_then_there(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_paths, "_project", None)  # and put back
    monkeypatch.setattr(shared_paths, "_elsewhere", None)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    checkpoint = Path("artifacts") / "round-0" / "checkpoint"
    with open_door(project) as held:
        world, listener = worlds.begin(1, "cpu", str(project), nodes=2, host=held.host, door_port=held.port)
        listener.close()
        held.door.hand_out(world.secret("door"))
        shared_paths.settle(world.on(1, "127.0.0.1"), scratch)
        final, rows = scratch / checkpoint / "final", scratch / checkpoint / "rows.arrow"
        assert not final.exists()
        assert (shared_paths.local(final) / "adapter.bin").read_bytes() == b"weights"
        assert shared_paths.local(rows).read_bytes() == b"rows"
        with pytest.raises(StageError, match=r"config\.toml could not be fetched from 127\.0\.0\.1:\d+: "):
            shared_paths.local(scratch / "config.toml")
    assert shared_paths.local(final) == final, "the door is closed, and it is there"
    assert sorted(path.name for path in final.parent.iterdir()) == ["final", "rows.arrow"]


def test_the_first_machine_keeps_the_file_of_a_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_paths, "_elsewhere", None)
    fields = {"name": "m", "chat_template": str(tmp_path / "own.jinja")}
    assert shared_paths.with_template(fields, "text").chat_template == fields["chat_template"]


def test_an_empty_folder_is_where_a_disk_is_not_mounted(tmp_path: Path) -> None:
    assert not shared_paths.filled(tmp_path)
    assert not shared_paths.filled(tmp_path / "none")
    (tmp_path / "file").touch()
    assert shared_paths.filled(tmp_path)
    assert shared_paths.filled(tmp_path / "file")
