"""The prepared process: it imports what stages need once per run, and forks for each group of them.

``python -m engine.runtime.prepared SOCKET_FD DEATH_FD``. The worker sends a ``ForkOrder`` with the group's log, the
project's lock and a death pipe. The fork has a session of its own, sends its pid, waits until the worker has recorded
that, and then runs ``engine.runtime.run_stage``. When it ends, its exit code is sent. This process ends with the worker
by a death pipe of its own, and holds neither lock nor store.

It never computes and never touches a GPU, which its forks could not use then. An import that opens a GPU anyway is
detected by its open device files, and the group is refused: the worker then starts a fresh process.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.processes.death_pipe import kill_group_on_close
from engine.runtime import imports, run_stage
from engine.runtime.exit_process import leave
from engine.runtime.orders import MOST_BYTES, Answer, ForkOrder

GPU_FILES = ("/dev/nvidia", "/dev/kfd", "/dev/dri")


def say(connection: socket.socket, answer: Answer) -> None:
    """Send one answer to the worker."""
    connection.send(msgspec.json.encode(answer))


def gpu_files() -> list[str]:
    """The GPU's device files that this process has open."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            name = os.readlink(fd)
        except FileNotFoundError:  # the descriptor of this listing
            continue
        if name.startswith(GPU_FILES):
            found.append(name)
    return found


def prepare(order: ForkOrder) -> str | None:
    """Import what the order needs; returns why this process cannot fork for it, or None."""
    try:
        imports.load(order.imports, order.unused)
    except Exception as error:  # noqa: BLE001 - a process of its own will say so in the stage's log
        return f"{type(error).__name__}: {error}"
    if found := gpu_files():
        return f"an import opened {found[0]}"
    gc.freeze()  # else the collector of every fork would copy and walk the modules' objects
    return None


def run(order: ForkOrder, fds: Sequence[int], connection: socket.socket, own_death: int) -> None:
    """The fork: become the process of this group. Never returns."""
    log, _, death = fds  # the lock stays open for as long as this process lives
    try:
        os.setsid()
        os.close(own_death)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        say(connection, Answer(pid=os.getpid()))
        if not connection.recv(1):  # the worker is gone
            os._exit(1)
        connection.close()
        code = run_stage.main([*order.argv, str(death)])
    except BaseException:  # noqa: BLE001 - what Python does at the end of a program
        sys.excepthook(*sys.exc_info())
        code = 1
    leave(code)


def serve(connection: socket.socket, death: int) -> None:
    """Answer the worker's orders, one after the other, until it is gone."""
    while True:
        message, fds, _, _ = socket.recv_fds(connection, MOST_BYTES, 3)
        if not message:
            return
        order = msgspec.json.decode(message, type=ForkOrder)
        if (why := prepare(order)) is not None:
            _close(fds)
            say(connection, Answer(refused=why))
        elif pid := os.fork():
            _close(fds)
            _, status = os.waitpid(pid, 0)
            say(connection, Answer(code=os.waitstatus_to_exitcode(status)))
        else:
            run(order, fds, connection, death)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def main(argv: list[str]) -> int:
    """Entry point."""
    connection, death = socket.socket(fileno=int(argv[0])), int(argv[1])
    for fd in (connection.fileno(), death):
        os.set_inheritable(fd, False)
    kill_group_on_close(death)
    serve(connection, death)
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
