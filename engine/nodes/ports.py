"""Tests whether ports beside the door's are open between two machines: a stage's processes listen on any free one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

TRY_S = 5.0
GLOO = "GLOO_SOCKET_IFNAME"
"""The variable that names the interface that gloo uses."""


def of_gloo(address: str) -> str:
    """The address that gloo listens on, on the machine with ``address``: the first IPv4 address of that interface, or
    of the one that GLOO_SOCKET_IFNAME names (gloo's ``lookupAddrForIface``).
    """
    import psutil  # takes 10 ms to import

    own = {
        name: [one.address for one in found if one.family == socket.AF_INET]
        for name, found in psutil.net_if_addrs().items()
    }
    named = next((name for name, found in own.items() if address in found), "")
    return next(iter(own.get(os.environ.get(GLOO, named), [])), address)


@contextmanager
def open_one(host: str) -> Iterator[tuple[str, int]]:
    """Listen, for the time of the block, on the address that this machine's processes will listen on. Yields address
    and port; connections are accepted by the kernel and never answered.
    """
    with socket.create_server((of_gloo(host), 0)) as server:
        where, port = server.getsockname()
        yield str(where), int(port)


def closed(host: str, port: int, known: str = "") -> str:
    """Why ``host`` cannot be reached on ``port``, as a sentence without a full stop; "": it can.

    Args:
        known: the address by which the machine is otherwise reached; "": ``host``.
    """
    try:
        socket.create_connection((host, port), timeout=TRY_S).close()
    except OSError as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror
        no = f"{host} cannot be reached on port {port} ({why})"
        if known and known != host:
            return f"{no}, where its processes listen: the first address of {known}'s interface. Open it, or set {GLOO}"
        return f"{no}: open all ports between the machines in the firewall"
    return ""
