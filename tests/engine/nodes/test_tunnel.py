"""The store of a launch is reached through the door by who knows the launch's key, and by nobody else."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.nodes.tunnel import Tunnel
from tests.support.doors import KEY, WITHIN_S, open_door

LONG = bytes(range(256)) * 4096
"""More than one piece."""


@contextmanager
def tunnelled(project: Path, key: bytes = KEY, store: bool = True) -> Iterator[tuple[socket.socket, socket.socket]]:
    """What listens where the store would be, and a connection to the other machine's end of the tunnel."""
    with socket.create_server(("127.0.0.1", 0)) as listener, open_door(project) as held:
        listener.settimeout(WITHIN_S)
        held.door.hand_out(KEY, listener.getsockname()[1] if store else None)
        tunnel = Tunnel(held.host, held.port, key)
        with socket.create_connection(("127.0.0.1", tunnel.port), timeout=WITHIN_S) as near:
            yield listener, near
        tunnel.close()


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side ends."""
    parts = bytearray()
    while part := connection.recv(1 << 16):
        parts += part
    return bytes(parts)


def test_bytes_pass_both_ways_and_an_end_is_an_end_on_both_sides(tmp_path: Path) -> None:
    with tunnelled(tmp_path) as (listener, near):
        far, _ = listener.accept()
        with far:
            far.settimeout(WITHIN_S)
            near.sendall(LONG)
            assert far.makefile("rb").read(len(LONG)) == LONG
            far.sendall(LONG[::-1])
        assert everything(near) == LONG[::-1]
    with tunnelled(tmp_path) as (listener, near):
        far, _ = listener.accept()
        near.close()
        with far:
            far.settimeout(WITHIN_S)
            assert everything(far) == b""


@pytest.mark.parametrize("how", [{"key": b"another launch's key" * 2}, {"store": False}])
def test_without_the_key_or_a_launch_nobody_gets_there(tmp_path: Path, how: dict[str, Any]) -> None:
    with tunnelled(tmp_path, **how) as (listener, near):
        assert everything(near) == b""
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_it_goes_on_when_this_process_has_had_too_many_open_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = socket.socket.accept
    refused = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ECONNABORTED, "gone")]

    def accepting(listener: socket.socket) -> tuple[socket.socket, Any]:
        if threading.current_thread().name == "tunnel" and refused:
            raise refused.pop()
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", accepting)
    with tunnelled(tmp_path) as (listener, near):
        far, _ = listener.accept()
        with far:
            far.settimeout(WITHIN_S)
            near.sendall(b"here")
            assert far.recv(4) == b"here"
    assert not refused
