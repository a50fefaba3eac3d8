"""One launch of a stage in several processes: the machines, the rendezvous and the key. Loads no torch.

Node 0 is the machine with the store; it makes a ``World`` for every launch (``begin``) and one for each other machine
(``World.on``). A launch on one machine is the same with one node and the loopback interface.

The key is new for every launch. The launcher gets its World as an open file without a name, and hands it on to the
ranks (``keep``, ``read``), so the key is in no argument, no environment variable and no folder.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import socket
import tempfile
from typing import IO

import msgspec
from msgspec import Struct

from engine.errors import ConfigError

LOOPBACK = "127.0.0.1"
KEY_BYTES = 32


class World(Struct, frozen=True, forbid_unknown_fields=True):
    """What a machine must know about a launch.

    nodes, node: the number of machines, and this one's index; 0 has the store.
    processes: per machine.
    port: the port of the rendezvous store (torch's TCPStore) on this machine's loopback interface. On node 0 the store
        listens there; elsewhere the launcher forwards it through the door.
    key: KEY_BYTES random bytes, hex.
    address: the address by which the other machines reach this one; data goes through the interface that has it.
    device: [model] device; every machine resolves "auto" for itself.
    project: the project's folder on node 0; elsewhere files below it are fetched.
    host, door_port: the address of node 0's door; unused on a single machine.
    store_fd: the inherited listening socket of the rendezvous store; only on node 0.
    """

    nodes: int
    node: int
    processes: int
    host: str
    port: int
    key: str
    address: str
    device: str
    project: str
    door_port: int = 0
    store_fd: int | None = None

    @property
    def size(self) -> int:
        """The number of processes on all machines."""
        return self.nodes * self.processes

    def on(self, node: int, address: str) -> World:
        """The World of machine ``node``, which the others reach at ``address``; "": it fills that in itself."""
        return msgspec.structs.replace(self, node=node, address=address, port=0, store_fd=None)

    def secret(self, purpose: str) -> bytes:
        """A key derived for one purpose, 32 bytes."""
        return hmac.digest(bytes.fromhex(self.key), purpose.encode(), hashlib.sha256)


def begin(
    processes: int,
    device: str,
    project: str,
    *,
    nodes: int = 1,
    host: str = LOOPBACK,
    door_port: int = 0,
    key: str | None = None,
) -> tuple[World, socket.socket]:
    """A new launch as node 0 sees it, and the listening socket of its store, on the loopback interface.

    The launcher must inherit the socket (``World.store_fd``); the caller can close its copy once the launcher runs.

    Args:
        host, door_port: the address and port of node 0's door.
        key: KEY_BYTES bytes, hex, never used before; None: random.
    """
    listener = listen(LOOPBACK)
    port = listener.getsockname()[1]
    world = World(
        nodes,
        0,
        processes,
        host,
        port,
        key or secrets.token_hex(KEY_BYTES),
        host,
        device,
        project,
        door_port=door_port,
        store_fd=listener.fileno(),
    )
    return world, listener


def listen(host: str, port: int = 0) -> socket.socket:
    """A socket that listens on one address of this machine, and on no other.

    Args:
        port: 0 for any free port.

    Raises:
        ConfigError: names address, port and reason.
    """
    try:
        found = socket.getaddrinfo(
            host, port, socket.AF_INET, socket.SOCK_STREAM
        )  # a name may have an IPv6 address, too
        family, kind, protocol, _, place = found[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, ValueError) as error:  # no name at all, such as "a..b", is a UnicodeError
        why = error.strerror if isinstance(error, OSError) else "not a host name"
        raise ConfigError(f"{host}: {why}. Use an address of this machine, e.g. 10.0.0.1.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        where = f"{host}:{port}" if port else host
        raise ConfigError(
            f"{where}: cannot listen there: {error.strerror}. Use an address of this machine and a free port."
        ) from None
    return listener


def keep(world: World) -> IO[bytes]:
    """``world`` in an open file without a name, for a child that inherits its descriptor to ``read``. In memory where
    the system can: on a disk the key might outlive it, and a full disk would hold up the launch.
    """
    memory = getattr(os, "memfd_create", None)
    file = os.fdopen(memory("world"), "w+b") if memory else tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(msgspec.json.encode(world))
    file.flush()
    return file


def read(fd: int) -> World:
    """The World that ``keep`` wrote. Leaves the file's position alone, so several processes may read it."""
    return msgspec.json.decode(os.pread(fd, os.fstat(fd).st_size, 0), type=World)
