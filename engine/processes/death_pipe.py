"""The death pipe, which kills a child when its worker dies.

The worker keeps the write end of a pipe and each child inherits the read end. However the worker ends, even by SIGKILL,
the kernel closes the write end, and the child kills its own process group. The worker in turn kills what a child leaves
behind in that group.

A child that is a single process inherits the pipe and the project's lock. torchrun closes inherited files and starts
every process in a session of its own, so its processes receive both from their launcher over a socket. When the
launcher dies, that socket closes.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

MOST_BYTES = 100
"""Maximum length of a socket's path: Linux allows 107 bytes, macOS 103."""
SELF = Path("/proc/self/fd")


def kill_group_on_close(fd: int) -> None:
    """Kill this process group when the other end of ``fd`` closes."""

    def wait() -> None:
        os.read(fd, 1)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=wait, name="death-pipe", daemon=True).start()


def kill_group(group: int, how: int = signal.SIGKILL) -> None:
    """Kill what a child left behind in its process group, e.g. vLLM's engine, which would keep the GPU's memory."""
    with suppress(ProcessLookupError):
        os.killpg(group, how)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """``path`` in few enough bytes for a socket's address (unix(7)), however deep the temporary folder is."""
    if len(os.fsencode(path)) <= MOST_BYTES or not SELF.exists():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(SELF / str(folder) / path.name)
    finally:
        os.close(folder)


def share_files(path: Path, fds: Sequence[int], times: int) -> list[socket.socket]:
    """Send copies of the file descriptors ``fds`` to ``times`` processes that connect to the socket ``path``, in a
    thread.

    Returns the list of connections, which fills as they connect; keep it as long as those processes are to live.
    """
    kept: list[socket.socket] = []
    server = socket.socket(socket.AF_UNIX)
    with _short(path) as place:
        server.bind(place)
    server.listen(times)

    def serve() -> None:
        with server:
            while len(kept) < times:
                connection, _ = server.accept()
                kept.append(connection)
                socket.send_fds(connection, [b"!"], fds)

    threading.Thread(target=serve, name="share-files", daemon=True).start()
    return kept


def receive_files(path: Path, count: int) -> tuple[socket.socket, list[int]]:
    """The connection to the launcher at ``path``, and up to ``count`` file descriptors that it shares."""
    connection = socket.socket(socket.AF_UNIX)
    with _short(path) as place:
        connection.connect(place)
    _, fds, _, _ = socket.recv_fds(connection, 1, count)
    return connection, fds
