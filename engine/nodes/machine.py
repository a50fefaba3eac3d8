"""One of the other machines, as the first one sees it."""

from __future__ import annotations

import queue
import threading
import time

from engine.nodes import messages, ports
from engine.nodes.channel import Channel, ConnectionLost
from engine.nodes.machine_versions import About

BULK_BYTES = 1 << 20
TRIES = 3
ANSWER_S = 2 * ports.TRY_S
MOST_SAID = 500
"""Maximum characters of a machine's own text that get into the log."""


class OtherMachine:
    """A machine that has joined. ``node``: its number, from 1. ``name``: host and address.

    ``ready``: it takes part. ``address``, ``port``: where to test whether its processes can be reached; ``port`` is
    None until it reports them. ``ended``: how the current launch ended there, None while it runs. ``left``: how it
    left, completing "machine 2 of 3 …". ``round_trip_s`` (seconds), ``bytes_per_s``: measured when it joined; None: not
    yet.
    """

    def __init__(self, node: int, name: str, about: About, channel: Channel) -> None:
        self.node = node
        self.name = name
        self.about = about
        self.channel = channel
        self.ready = False
        self.port: int | None = None
        self.address = ""
        self.ended: messages.Ended | None = None
        self.left = ""
        self.round_trip_s: float | None = None
        self.bytes_per_s: float | None = None
        self._sent: dict[int, tuple[float, int]] = {}
        self._number = 0
        self._ahead: list[int] = []
        self._numbering = threading.Lock()
        self._trying = threading.Lock()
        self._tried: queue.Queue[messages.PortTried] = queue.Queue()

    @property
    def measured(self) -> bool:
        """Whether all pings of ``measure`` have been answered."""
        return not self._ahead and self.bytes_per_s is not None

    def begin(self, message: messages.Begin) -> None:
        """Start a launch there.

        Raises:
            ConnectionLost: it has left.
        """
        self.ended = None
        messages.send(self.channel, message)

    def cannot_reach(self, host: str, port: int) -> str:
        """Why this machine cannot connect to another one, as ``ports.closed``; "": it can, or gives no answer within
        ANSWER_S seconds.
        """
        with self._trying:
            try:
                messages.send(self.channel, messages.TryPort(host, port))
                while (answer := self._tried.get(timeout=ANSWER_S)).port != port:
                    pass  # a late answer to an earlier question
                return answer.why[:MOST_SAID]
            except (ConnectionLost, queue.Empty):  # it has left, or its silence will be noticed
                return ""

    def ping(self, length: int = 0) -> None:
        """Send a ping, padded with ``length`` bytes.

        Raises:
            ConnectionLost: as ``begin``.
        """
        with self._numbering:
            self._number += 1
            number = self._number
            self._sent = {number: (time.monotonic(), length), **{n: s for n, s in self._sent.items() if n > number - 8}}
        messages.send(self.channel, messages.Ping(number, "." * length))

    def measure(self) -> None:
        """Start to measure round trip and bandwidth: TRIES short pings, then TRIES long ones, one after the other."""
        self._ahead = [0] * TRIES + [BULK_BYTES] * TRIES
        self.ping(self._ahead[0])

    def take(self, message: messages.AnyMessage) -> bool:
        """Handle one message from it; False: it leaves, and ``left`` says how."""
        if isinstance(message, messages.Pong):
            self._timed(message.number)
        elif isinstance(message, messages.Ready):
            self.port, self.address = message.port, message.address
        elif isinstance(message, messages.PortTried):
            self._tried.put(message)
        elif isinstance(message, messages.Ended):
            self.ended = messages.Ended(message.code, message.said[:MOST_SAID])
        elif isinstance(message, messages.Unable):
            self.left = f"cannot take part: {message.why[:MOST_SAID]}"
        elif isinstance(message, messages.Bye):
            self.left = message.why[:MOST_SAID] or "left"
        else:
            self.left = "does not speak middo-tui's language"
        return not self.left

    def _timed(self, number: int) -> None:
        with self._numbering:
            at, length = self._sent.pop(number, (0.0, -1))
        took = time.monotonic() - at
        if length == 0:
            self.round_trip_s = min(took, self.round_trip_s or took)
        elif length > 0:
            rate = length / max(
                took - (self.round_trip_s or 0.0), took / 2
            )  # if the short pings were slower than this one
            self.bytes_per_s = max(rate, self.bytes_per_s or 0.0)
        if self._ahead and length == self._ahead[0]:
            self._ahead.pop(0)
            if self._ahead:
                self.ping(self._ahead[0])
