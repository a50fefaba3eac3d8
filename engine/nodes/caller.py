"""Another machine's side of the door: find the first machine, show who one is, hear what is wanted."""

from __future__ import annotations

import errno
import math
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from engine.nodes import handshake, messages
from engine.nodes.channel import Channel, ConnectionLost
from engine.nodes.handshake import JoinRefused, RefusedForNow
from engine.nodes.machine_versions import About

CONNECT_S = 5.0
RETRY_S = 1.0
LEAVE_S = 2.0
LOOK_S = 0.1


def connect(
    host: str, port: int, wait_s: float, pause: Callable[[float], None], said: Callable[[str], None]
) -> Channel:
    """A connection to the first machine, which may not be up yet.

    Args:
        wait_s: for how long it is tried. pause: waits so many seconds. said: hears once that it is waited.

    Raises:
        ConnectionLost: nothing answered in that time; the message is the end of a sentence.
    """
    until, told = time.monotonic() + wait_s, False
    while True:
        try:
            return Channel(_answered(socket.create_connection((host, port), timeout=CONNECT_S)))
        except ValueError:  # "a..b" is a UnicodeError
            raise ConnectionLost("is no address that this machine knows (not a host name)") from None
        except OSError as error:
            why = error.strerror or ("no answer" if isinstance(error, TimeoutError) else str(error))
            if isinstance(error, socket.gaierror):
                raise ConnectionLost(f"is no address that this machine knows ({why})") from None
        left = until - time.monotonic()
        if left <= 0:
            raise ConnectionLost(f"cannot be reached ({why})")
        if not told:
            told = True
            most = "" if math.isinf(wait_s) else f", for {wait_s:.0f} s at most"
            said(f"waiting for {host}:{port} ({why}){most} …")
        pause(min(RETRY_S, left))


def _answered(connection: socket.socket) -> socket.socket:
    """``connection`` when the other side has begun to speak. A forwarded port takes a call also when nobody is behind
    it, and closes it then; a machine that stands still takes one and says nothing.

    Raises:
        OSError: it does not speak.
    """
    try:
        connection.settimeout(handshake.WITHIN_S)
        if not connection.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError(errno.ECONNRESET, "closed at once")
    except OSError:
        connection.close()
        raise
    return connection


def introduce(channel: Channel, secret: bytes, about: About, where: str, name: str) -> messages.Welcome:
    """Show who one is.

    Args:
        where: the first machine. name: the variable with the token.

    Raises:
        ConnectionLost, JoinRefused: as ``handshake.call``.
        JoinRefused: the machines differ in what is installed.
        RefusedForNow: no place is free, or another machine uses the same GPU.
    """
    handshake.call(channel, handshake.JOIN, secret, where, name)
    messages.send(channel, messages.Present(about))
    answer = messages.receive(channel)
    if isinstance(answer, messages.Welcome):
        return answer
    if isinstance(answer, messages.Unwelcome):
        kind = RefusedForNow if answer.later else JoinRefused
        raise kind(f"{where} does not let this machine join: {answer.why}.")
    raise ConnectionLost("does not speak middo-tui's language")


class MessageReader:
    """Hears the first machine in a thread: answers its questions whether one is there, and keeps the rest in a queue.

    The last thing in the queue is how the connection ended. ``over``: it has ended, or is about to.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.over = threading.Event()
        self.heard: queue.Queue[messages.AnyMessage | ConnectionLost] = queue.Queue()
        threading.Thread(target=self._listen, name="reader", daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                message = messages.receive(self._channel)
                if isinstance(message, messages.Ping):
                    with suppress(ConnectionLost):  # the next one it says, or its end, will be heard
                        messages.send(self._channel, messages.Pong(message.number))
                    continue
                self.heard.put(message)
                if isinstance(message, messages.Bye):
                    self.over.set()
                    self._channel.close()
        except ConnectionLost as error:
            self.heard.put(error)
            self.over.set()

    def leave(self, message: messages.Unable | messages.Bye) -> None:
        """Say why one goes, and wait until the first machine has heard it and closes the connection."""
        with suppress(ConnectionLost):
            messages.send(self._channel, message, LEAVE_S)
        until = time.monotonic() + LEAVE_S
        while not isinstance(self.next(LOOK_S), ConnectionLost) and time.monotonic() < until:
            pass

    def next(self, within_s: float) -> messages.AnyMessage | ConnectionLost | None:
        """What was said; None: nothing within this time."""
        try:
            return self.heard.get(timeout=within_s)
        except queue.Empty:
            return None
