"""A real door on the loopback interface, and machines that come to it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engine.distributed import world as worlds
from engine.nodes import caller, handshake, messages
from engine.nodes.channel import Channel
from engine.nodes.door import Door, RunNeeds
from engine.nodes.machine_versions import LIBRARIES, About

TOKEN = "sixteen characters"
SECRET, KEY = handshake.stretched(TOKEN), b"k" * 32
ABOUT = About("head", "3.11", dict.fromkeys(LIBRARIES, "1.0"), "", ())
NODE = msgspec.structs.replace(ABOUT, host="node2")
WITHIN_S = 120.0


def join_at(host: str, port: int, about: About = NODE, secret: bytes = SECRET) -> tuple[Channel, messages.Welcome]:
    """A machine that comes in, and says that it has everything."""
    channel = caller.connect(host, port, 0.0, lambda _: None, lambda _: None)
    welcome = caller.introduce(channel, secret, about, f"{host}:{port}", "TOKEN")
    messages.send(channel, messages.Ready())
    while not isinstance(word := messages.receive(channel), messages.Joined):
        if isinstance(word, messages.Ping):
            messages.send(channel, messages.Pong(word.number))
    return channel, welcome


class OpenDoor:
    """A door that is open. ``lines``: what it says."""

    def __init__(self, project: Path, nodes: int = 2, about: About = ABOUT, **offer: object) -> None:
        listener = worlds.listen("127.0.0.1")
        self.host, self.port = listener.getsockname()
        self.lines: queue.Queue[str] = queue.Queue()
        needs = RunNeeds(nodes, 2, "cpu", project, "model")
        needs = msgspec.structs.replace(needs, **offer)
        self.door = Door(listener, SECRET, about, needs, lambda line, _: self.lines.put(line))
        self.door.hand_out(KEY)

    def line(self) -> str:
        """The next line it says."""
        return self.lines.get(timeout=WITHIN_S)

    def channel(self) -> Channel:
        """A connection to it."""
        return caller.connect(self.host, self.port, 0.0, lambda _: None, lambda _: None)

    def join(self, about: About = NODE, secret: bytes = SECRET) -> tuple[Channel, messages.Welcome]:
        """As ``join_at``, here."""
        return join_at(self.host, self.port, about, secret)


@contextmanager
def open_door(project: Path, nodes: int = 2, about: About = ABOUT, **offer: object) -> Iterator[OpenDoor]:
    """A door for the time of the block."""
    held = OpenDoor(project, nodes, about, **offer)
    held.door.open()
    try:
        yield held
    finally:
        held.door.close("the test is over")
