"""What ties a child to its worker: the lock that it keeps, and the pipe by whose end it learns that the worker is gone.

A child of one process inherits both. torchrun closes inherited files and puts every process into a session of its own,
so its processes fetch them from their launcher over a socket, and the socket's end tells them that the launcher is
gone.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path


def die_with(fd: int) -> None:
    """Kill this process group when the other end of ``fd`` closes."""

    def wait() -> None:
        os.read(fd, 1)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=wait, name="death-pipe", daemon=True).start()


def hand_out(path: Path, fds: Sequence[int], times: int) -> list[socket.socket]:
    """Give copies of the open files ``fds`` to ``times`` processes that ask at the socket ``path``, in a thread.

    Returns the connections, to be kept for as long as those processes are to live; the list fills as they ask.
    """
    kept: list[socket.socket] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(times)

    def serve() -> None:
        with server:
            while len(kept) < times:
                connection, _ = server.accept()
                kept.append(connection)
                socket.send_fds(connection, [b"!"], fds)

    threading.Thread(target=serve, name="hand-out", daemon=True).start()
    return kept


def fetch(path: Path, count: int) -> tuple[socket.socket, list[int]]:
    """The connection to the launcher at ``path`` and ``count`` open files that it handed out."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    _, fds, _, _ = socket.recv_fds(connection, 1, count)
    return connection, fds
