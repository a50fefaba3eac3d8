"""Frames between two machines, authenticated once both have proved who they are.

A frame is its length (four bytes, big-endian) and its content. A sealed frame ends in an HMAC-SHA256 over a counter and
the content, with one key for each direction. Counters begin at 0 and are never sent, so a frame that was changed,
dropped, repeated, reordered or reflected fails the check.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
import time
from contextlib import suppress

from engine.errors import MiddoError

PLAIN_BYTES = 1024
"""Maximum content of a frame before the channel is sealed."""
MOST_BYTES = 4 << 20
"""Maximum content of a sealed frame."""
CODE_BYTES = 32
SILENT_S = 15.0
"""A machine that sends nothing for so many seconds counts as lost."""


class ConnectionLost(MiddoError):
    """The connection is lost, or the other side breaks the protocol. The message completes "NAME …"."""


class Channel:
    """A connection on which one thread may receive and any number may send. ``here``: this machine's address on it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = connection
        self._writer = connection.dup()  # two sockets, because a timeout belongs to one
        self.here = str(connection.getsockname()[0])  # still known once it is closed
        self._sending = threading.Lock()
        self._keys: tuple[bytes, bytes] | None = None
        self._counts = [0, 0]

    @property
    def there(self) -> str:
        """The other machine's address."""
        return str(self._reader.getpeername()[0])

    def seal(self, sending: bytes, receiving: bytes) -> None:
        """Authenticate every frame from now on, with one key for each direction."""
        self._keys = sending, receiving

    def send(self, content: bytes, within_s: float = SILENT_S) -> None:
        """Send one frame.

        Raises:
            ConnectionLost: the connection is closed, or the other side accepts nothing for ``within_s`` seconds.
        """
        with self._sending:
            code = b""
            if self._keys is not None:
                code = self._code(self._keys[0], self._counts[0], content)
                self._counts[0] += 1
            try:
                self._writer.settimeout(within_s)
                self._writer.sendall(len(content).to_bytes(4, "big") + content + code)
            except OSError as error:
                raise ConnectionLost(_why(error)) from None

    def receive(self, within_s: float = SILENT_S) -> bytes:
        """The content of the next frame, which must arrive whole within ``within_s`` seconds.

        Raises:
            ConnectionLost: it did not, it is too long, its code is wrong, or the connection is closed.
        """
        until = time.monotonic() + within_s
        length = int.from_bytes(self._exactly(4, until), "big")
        if length > (PLAIN_BYTES if self._keys is None else MOST_BYTES):
            raise ConnectionLost("does not speak middo-tui's language")
        content = self._exactly(length, until)
        if self._keys is not None:
            code = self._exactly(CODE_BYTES, until)
            if not hmac.compare_digest(code, self._code(self._keys[1], self._counts[1], content)):
                raise ConnectionLost("sent a frame that was changed on the way")
            self._counts[1] += 1
        return content

    def finish(self) -> None:
        """Close this side for sending. What was sent still arrives, even while the other side is sending."""
        with suppress(OSError):
            self._writer.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection; a thread that waits in ``receive`` gets ConnectionLost."""
        with suppress(OSError):
            self._reader.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self._writer.close()

    def _exactly(self, count: int, until: float) -> bytes:
        """``count`` bytes. Memory grows with what has arrived, not with the announced length."""
        parts = bytearray()
        while len(parts) < count:
            left = until - time.monotonic()
            if left <= 0:
                raise ConnectionLost("went silent")
            try:
                self._reader.settimeout(left)
                part = self._reader.recv(min(count - len(parts), 1 << 18))
            except OSError as error:
                raise ConnectionLost(_why(error)) from None
            if not part:
                raise ConnectionLost("closed the connection")
            parts += part
        return bytes(parts)

    @staticmethod
    def _code(key: bytes, count: int, content: bytes) -> bytes:
        return hmac.digest(key, count.to_bytes(8, "big") + content, hashlib.sha256)


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "went silent"
    if isinstance(error, ConnectionError):
        return "closed the connection"
    return f"cannot be reached ({error.strerror})"
