"""Port forwarding to the rendezvous store of a launch, through the door.

torch's TCPStore has no password: whoever connects can read and change the addresses that the processes exchange. So it
listens on the loopback interface of the first machine. Each other machine opens a port on its own loopback interface
and forwards it through the door, which asks for the launch's key (``STORE`` in ``handshake``).
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
"""How long a connection may be idle; socket timeouts cannot be much longer (2^31 ms)."""
PIECE_BYTES = 1 << 16
PAUSE_S = 0.2
"""Between two tries to accept a connection."""


class Tunnel:
    """This machine's end. ``port``: on the loopback interface; connections to it are forwarded to the store."""

    def __init__(self, host: str, port: int, secret: bytes) -> None:
        self._door, self._secret = (host, port), secret
        self._closed = threading.Event()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True, name="tunnel").start()

    def close(self) -> None:
        """Stop accepting connections; open ones stay."""
        self._closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed; or too many open files, or a caller that has gone already
                self._closed.wait(PAUSE_S)
                continue
            try:
                threading.Thread(target=self._forward, args=[connection], daemon=True, name="tunnelled").start()
            except RuntimeError:  # this user may start no more threads at the moment
                connection.close()

    def _forward(self, connection: socket.socket) -> None:
        """Forward one connection; closes it where the door refuses."""
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
    """The first machine's end: connect a caller to the store on ``port`` of the loopback interface."""
    with suppress(OSError):  # the launch has ended
        join(channel, socket.create_connection((LOOPBACK, port), timeout=SILENT_S))


def join(channel: Channel, connection: socket.socket) -> None:
    """Forward data in both directions until one side closes; closes both."""
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
