"""Frames between two machines: a length, so many bytes, and, once both have shown who they are, a code over them.

A frame is four bytes of length (big-endian) and its content; a sealed one ends in HMAC-SHA256 over a counter and the
content, with a key for each direction. Counters begin at 0 and are never sent, so a frame that was changed, left out,
repeated or turned round does not fit.
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
"""Most bytes of a frame before both sides know each other."""
MOST_BYTES = 4 << 20
"""Most bytes of a sealed frame."""
CODE_BYTES = 32
SILENT_S = 15.0
"""A machine that says nothing for so long is gone."""


class ConnectionLost(MiddoError):
    """The other side is not there any more, or does not speak as agreed. The message is the end of a sentence."""


class Channel:
    """A connection, of which one thread may receive and any number may send. ``here``: this machine's address in it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = connection
        self._writer = connection.dup()  # of their own, as each sets how long it waits
        self.here = str(connection.getsockname()[0])  # also known when it is closed
        self._sending = threading.Lock()
        self._keys: tuple[bytes, bytes] | None = None
        self._counts = [0, 0]

    @property
    def there(self) -> str:
        """The other machine's address."""
        return str(self._reader.getpeername()[0])

    def seal(self, sending: bytes, receiving: bytes) -> None:
        """From now on every frame carries a code by these keys."""
        self._keys = sending, receiving

    def send(self, content: bytes, within_s: float = SILENT_S) -> None:
        """Send one frame.

        Raises:
            ConnectionLost: the connection is closed, or the other side takes nothing for ``within_s`` seconds.
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
        """The next frame, which must be here whole within ``within_s`` seconds.

        Raises:
            ConnectionLost: it is not, it is too long, its code is wrong, or the connection has ended.
        """
        until = time.monotonic() + within_s
        length = int.from_bytes(self._exactly(4, until), "big")
        if length > (PLAIN_BYTES if self._keys is None else MOST_BYTES):
            raise ConnectionLost("does not speak middo-tui's language")
        content = self._exactly(length, until)
        if self._keys is not None:
            code = self._exactly(CODE_BYTES, until)
            if not hmac.compare_digest(code, self._code(self._keys[1], self._counts[1], content)):
                raise ConnectionLost("sent something that was changed on the way")
            self._counts[1] += 1
        return content

    def finish(self) -> None:
        """Say no more. What was said arrives, also where the other side is just saying something."""
        with suppress(OSError):
            self._writer.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End the connection; whoever waits in ``receive`` gets ConnectionLost."""
        with suppress(OSError):
            self._reader.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self._writer.close()

    def _exactly(self, count: int, until: float) -> bytes:
        """``count`` bytes. Memory grows with what has come, not with what was announced."""
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
