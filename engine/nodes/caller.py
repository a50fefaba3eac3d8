"""The joining machine's side of the door: connect to the first machine, authenticate, receive its messages."""

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
        wait_s: how long to keep trying, in seconds; may be infinite.
        pause: sleeps for a number of seconds between two tries.
        said: called once with a line when the first try has failed.

    Raises:
        ConnectionLost: nothing answered in that time; the message completes "HOST:PORT …".
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
    """``connection``, once the other side has sent its first byte: a forwarded port accepts a connection and closes it
    when nothing listens behind it; a suspended machine accepts one and sends nothing.

    Raises:
        OSError: it closed the connection, or sent nothing in time.
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
    """Authenticate, and report what is installed here.

    Args:
        where, name: the first machine's address and the variable with the token, for error messages.

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
    """Reads the first machine's messages in a thread: answers pings and queues the rest.

    The last item of the queue is the error with which the connection ended. ``over`` is set once the first machine has
    said goodbye or the connection has ended.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.over = threading.Event()
        self.heard: queue.Queue[messages.AnyMessage | ConnectionLost] = queue.Queue()
        threading.Thread(target=self._listen, name="message reader", daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                message = messages.receive(self._channel)
                if isinstance(message, messages.Ping):
                    with suppress(ConnectionLost):  # the next receive reports it
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
        """Say why this machine leaves, and wait until the first one closes the connection, LEAVE_S at most."""
        with suppress(ConnectionLost):
            messages.send(self._channel, message, LEAVE_S)
        until = time.monotonic() + LEAVE_S
        while not isinstance(self.next(LOOK_S), ConnectionLost) and time.monotonic() < until:
            pass

    def next(self, within_s: float) -> messages.AnyMessage | ConnectionLost | None:
        """The next message, or the error that ended the connection; None: nothing came within ``within_s`` seconds."""
        try:
            return self.heard.get(timeout=within_s)
        except queue.Empty:
            return None
