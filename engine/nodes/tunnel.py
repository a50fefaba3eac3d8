"""The store of a launch's rendezvous, reached through the door.

torch's TCPStore has no password: whoever connects can read and change what the processes tell each other of where they
are. So it listens on the loopback interface of the first machine, and another machine has a port on its own loopback
interface that leads there through the door, for who knows the launch's key (``STORE`` in ``handshake``).
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from engine.errors import MiddoError
from engine.nodes import handshake
from engine.nodes.channel import SILENT_S, Channel, ConnectionLost

LOOPBACK = "127.0.0.1"
IDLE_S = 20.0 * 24 * 3600
"""A connection may be silent for so long; a socket cannot wait for much more."""
PIECE_BYTES = 1 << 16


class Tunnel:
    """This machine's end. ``port``: on the loopback interface; what connects to it is connected to the store."""

    def __init__(self, host: str, port: int, secret: bytes) -> None:
        self._door, self._secret = (host, port), secret
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True, name="tunnel").start()

    def close(self) -> None:
        """Let nobody in any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=[connection], daemon=True, name="tunnelled").start()

    def _forward(self, connection: socket.socket) -> None:
        """One connection. If the door does not open it ends, and who connected sees that."""
        try:
            channel = Channel(socket.create_connection(self._door, timeout=SILENT_S))
        except OSError:
            connection.close()
            return
        try:
            handshake.call(channel, handshake.STORE, self._secret, f"{self._door[0]}:{self._door[1]}", "the key")
        except MiddoError:
            channel.close()
            connection.close()
            return
        join(channel, connection)


def to_store(channel: Channel, port: int) -> None:
    """The first machine's end: connect a caller with the store that listens on ``port`` of its loopback interface."""
    with suppress(OSError):  # there is none any more
        join(channel, socket.create_connection((LOOPBACK, port), timeout=SILENT_S))


def join(channel: Channel, connection: socket.socket) -> None:
    """Pass on what comes, both ways, until one side has ended; closes both."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def outwards() -> None:
        with suppress(OSError, ConnectionLost):
            while piece := connection.recv(PIECE_BYTES):
                channel.send(piece)
        channel.close()

    sender = threading.Thread(target=outwards, daemon=True, name="tunnel out")
    sender.start()
    with suppress(OSError, ConnectionLost):
        while True:
            connection.sendall(channel.receive(IDLE_S))
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    sender.join()
    connection.close()
    channel.close()
