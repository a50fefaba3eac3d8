"""Files over a real door: what may be fetched comes whole, and nothing else comes at all."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from pathlib import Path

import msgspec
import pytest

from engine.errors import StageError
from engine.nodes import door, fetching, sending
from engine.nodes.channel import Channel, ConnectionLost
from engine.nodes.fetching import fetch
from tests.support.doors import KEY, OpenDoor, open_door

SUM = sending.Sum(hashlib.sha256(b"ab").hexdigest())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    checkpoint = tmp_path / "project" / "artifacts" / "round-0" / "checkpoint"
    (checkpoint / "checkpoint-3").mkdir(parents=True)
    (checkpoint / "adapter.safetensors").write_bytes(os.urandom(3 * sending.PIECE_BYTES + 5))
    (checkpoint / "checkpoint-3" / "state.json").write_text("{}")
    (checkpoint / "empty").write_bytes(b"")
    (tmp_path / "project" / "middo.db").write_text("secret")
    (tmp_path / "project" / "config.toml").write_text("secret")
    (tmp_path / "outside").write_text("secret")
    (checkpoint / "link").symlink_to(tmp_path / "outside")
    return tmp_path / "project"


def get(held: OpenDoor, path: Path, into: Path, key: bytes = KEY) -> Path:
    return fetch(held.host, held.port, key, path, into)


def test_a_checkpoint_comes_whole_and_without_links_out_of_it(project: Path, tmp_path: Path) -> None:
    source = project / "artifacts" / "round-0" / "checkpoint"
    with open_door(project) as held:
        got = get(held, source, tmp_path / "here")
    assert got == tmp_path / "here" / "checkpoint"
    names = {file.relative_to(got).as_posix() for file in got.rglob("*") if file.is_file()}
    assert names == {"adapter.safetensors", "checkpoint-3/state.json", "empty"}
    assert all((got / name).read_bytes() == (source / name).read_bytes() for name in names)
    assert {file.stat().st_mode & 0o777 for file in got.rglob("*") if file.is_file()} == {0o600}
    assert os.listdir(tmp_path / "here") == ["checkpoint"]


def test_one_file_comes_and_replaces_an_older_one(project: Path, tmp_path: Path) -> None:
    source = project / "artifacts" / "round-0" / "checkpoint" / "adapter.safetensors"
    with open_door(project) as held:
        get(held, source, tmp_path / "here")
        source.write_bytes(b"newer")
        assert get(held, source, tmp_path / "here").read_bytes() == b"newer"


@pytest.mark.parametrize(
    "path",
    [
        "middo.db",
        "config.toml",
        "artifacts",
        "artifacts/round-0",
        "artifacts/round-0/checkpoint/link",
        "artifacts/round-0/checkpoint/../../../middo.db",
        "artifacts/round-0/checkpoint/no-such-file",
        "../outside",
        "",
    ],
)
def test_nothing_else_is_handed_out(project: Path, tmp_path: Path, path: str) -> None:
    with (
        open_door(project) as held,
        pytest.raises(StageError, match=r"could not be fetched from 127\.0\.0\.1:\d+: only files of a round"),
    ):
        get(held, project / path, tmp_path / "here")
    assert os.listdir(tmp_path / "here") == []


def test_a_relative_path_names_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = sending.given_out(project, ())
    monkeypatch.chdir(folders[0])  # where there is a file of that name
    assert sending.allowed(Path("adapter.safetensors"), folders) is None
    assert sending.allowed(Path("/\0"), folders) is None


def test_a_checkpoint_that_is_a_link_out_of_the_project_is_not_handed_out(project: Path, tmp_path: Path) -> None:
    away = tmp_path / "elsewhere"
    away.mkdir()
    (project / "artifacts" / "round-1").mkdir()
    (project / "artifacts" / "round-1" / "checkpoint").symlink_to(away)
    assert sending.given_out(project, [away, project]) == [project / "artifacts" / "round-0" / "checkpoint"]


def test_a_model_inside_the_project_is_handed_out(project: Path, tmp_path: Path) -> None:
    model = project / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    with open_door(project, handed_out=(model,)) as held:
        assert (get(held, model, tmp_path / "here") / "config.json").read_text() == "{}"


def test_only_the_key_of_the_present_launch_opens_it(project: Path, tmp_path: Path) -> None:
    source = project / "artifacts" / "round-0" / "checkpoint"
    with open_door(project) as held:
        with pytest.raises(StageError, match=r"\d: \S+ has ended this launch\.$"):
            get(held, source, tmp_path / "here", b"older")
        held.door.hand_out(None)
        with pytest.raises(StageError, match=r"\d: \S+ has ended this launch\.$"):
            get(held, source, tmp_path / "here")


def test_a_full_disk_is_told_with_the_way_out(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetching, "_receive_file", full)
    with open_door(project) as held, pytest.raises(StageError) as caught:
        get(held, project / "artifacts" / "round-0" / "checkpoint", tmp_path / "here")
    assert str(caught.value).endswith(
        ": No space left on device. Set TMPDIR to a disk that has room for it, and join again."
    )


def test_a_file_that_was_changed_while_it_came_is_not_kept(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project / "artifacts" / "round-0" / "checkpoint" / "adapter.safetensors"
    before = sending.PIECE_BYTES
    monkeypatch.setattr(sending, "Sum", lambda _: sending.File("", before))
    with open_door(project) as held, pytest.raises(StageError, match=r"did not arrive as it is there\.$"):
        get(held, source, tmp_path / "here")
    assert os.listdir(tmp_path / "here") == []


def test_a_file_that_gets_shorter_while_it_is_sent_is_named_as_the_reason(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project / "artifacts" / "round-0" / "checkpoint" / "adapter.safetensors"
    announced = sending.File

    def cut(name: str, size: int) -> sending.File:
        os.truncate(source, sending.PIECE_BYTES + 1)
        return announced(name, size)

    monkeypatch.setattr(sending, "File", cut)
    why = r": adapter\.safetensors cannot be read \(became shorter while it was sent\)\.$"
    with open_door(project) as held, pytest.raises(StageError, match=why):
        get(held, source, tmp_path / "here")
    assert os.listdir(tmp_path / "here") == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([sending.File("../out", 2), b"ab", SUM, sending.Sent(1)], r"it sent a file with the name '\.\./out'"),
        ([sending.File("/out", 2), b"ab", SUM, sending.Sent(1)], "it sent a file with the name '/out'"),
        ([sending.File("a", 2), b"ba", SUM, sending.Sent(1)], "a did not arrive as it is there"),
        ([sending.File("a", 1), b"ab", SUM, sending.Sent(1)], "a did not arrive as it is there"),
        ([sending.File("a", 2), b"ab", SUM, sending.Sent(2)], "1 of 2 files came"),
    ],
)
def test_what_does_not_come_as_it_was_announced_is_not_taken(
    tmp_path: Path, said: list[msgspec.Struct | bytes], why: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = Channel(socket.create_connection(listener.getsockname()))
        there = Channel(listener.accept()[0])
    for one in said:
        there.send(one if isinstance(one, bytes) else msgspec.json.encode(one))
    with pytest.raises(ConnectionLost, match=why):
        fetching._receive(here, tmp_path / "part")
    assert not (tmp_path / "out").exists()
    here.close()
    there.close()


def test_no_more_than_so_many_fetch_at_once(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MOST_FILES", 0)
    with open_door(project) as held, pytest.raises(StageError, match="closed the connection"):
        get(held, project / "artifacts" / "round-0" / "checkpoint", tmp_path / "here")


def test_nobody_at_the_address_is_one_sentence(tmp_path: Path) -> None:
    with open_door(tmp_path) as held:
        pass
    with pytest.raises(StageError, match=r"^/p/x could not be fetched from 127\.0\.0\.1:\d+: Connection refused\.$"):
        get(held, Path("/p/x"), tmp_path / "here")
