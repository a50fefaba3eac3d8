"""Two machines on one: network namespaces with a cable between them, for tests that are run by root on Linux.

They have no names and end with the processes that hold them, so nothing is left behind.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any, TypeVar

R = TypeVar("R")

IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
ADDRESSES = ("10.213.7.1", "10.213.7.2")
NEW_NET = 0x40000000  # CLONE_NEWNET of sched.h


def why_not() -> str:
    """Why there can be no namespaces here; empty: there can."""
    if sys.platform != "linux" or IP is None:
        return "needs Linux and the program ip (iproute2)"
    try:
        made = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "needs the program unshare (util-linux)"
    return f"network namespaces may not be made here: {made.stderr.strip()}" if made.returncode else ""


class Machine:
    """One namespace. ``address``: its own, on the cable."""

    def __init__(self, address: str) -> None:
        self.address = address
        # cat ends when this process ends, and the namespace with it
        self._holder = Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=PIPE, stdout=PIPE)
        assert self._holder.stdout is not None
        self._holder.stdout.read(1)
        self._net = f"/proc/{self._holder.pid}/ns/net"
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> None:
        """The program ip, inside."""
        subprocess.run(["nsenter", f"--net={self._net}", str(IP), *words], check=True)

    def attach(self, other: Machine) -> None:
        """Put a cable between this machine and another one."""
        self.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(other._holder.pid))
        for machine in (self, other):
            machine.ip("address", "add", f"{machine.address}/24", "dev", "eth0")
            machine.ip("link", "set", "eth0", "up")

    def unplug(self) -> None:
        """Pull the cable out: from now on nothing arrives, and nobody is told."""
        self.ip("link", "set", "eth0", "down")

    def start(self, argv: Sequence[str], hidden: Sequence[Path] = (), **how: Any) -> Popen[str]:
        """Start a program on this machine, which finds nothing in the folders ``hidden``."""
        command = ["nsenter", f"--net={self._net}", *argv]
        if hidden:
            mounts = " && ".join(f'mount -t tmpfs none "{folder}"' for folder in hidden)
            command = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *command]
        return Popen(command, text=True, stdin=DEVNULL, **how)

    def inside(self, function: Callable[[], R]) -> R:
        """What ``function`` returns on this machine: a socket that it opens there stays there."""
        found: list[R] = []

        def run() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(self._net, "rb") as net:
                if libc.setns(net.fileno(), NEW_NET):
                    raise OSError(ctypes.get_errno(), "setns")
            found.append(function())

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return found[0]

    def end(self) -> None:
        """Its holder goes, and what was started on it should have."""
        self._holder.kill()
        self._holder.communicate()


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines that reach each other and nobody else."""
    machines = [Machine(address) for address in ADDRESSES]
    try:
        machines[0].attach(machines[1])
        yield machines[0], machines[1]
    finally:
        for machine in machines:
            machine.end()
