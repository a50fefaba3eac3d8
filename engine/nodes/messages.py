"""What the first machine and another say to each other once they know each other."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from engine.files.json_errors import UNREADABLE
from engine.nodes.channel import SILENT_S, Channel, ConnectionLost
from engine.nodes.machine_versions import About


class NodeMessage(Struct, frozen=True, tag=True, omit_defaults=True):
    """One message, as JSON in one frame."""


class Present(NodeMessage, frozen=True):
    """The other machine says what it is."""

    about: About


class NeededModel(Struct, frozen=True):
    """A model that every machine needs: its name in config.toml, and its fingerprint on the first machine (empty: it
    is not there yet).
    """

    name: str
    fingerprint: str


class Welcome(NodeMessage, frozen=True):
    """It is machine ``node`` of ``nodes``; the first one is 0. ``own``: the model that ``--model`` may stand in for.
    ``address``, ``port``: to try whether its processes can be reached; 0: none.
    """

    about: About
    node: int
    nodes: int
    project: str
    own: str
    models: tuple[NeededModel, ...]
    port: int = 0
    address: str = ""


class Unwelcome(NodeMessage, frozen=True):
    """Why the machine cannot join, as a sentence. ``later``: it may join when another one has left."""

    why: str
    later: bool = False


class Ready(NodeMessage, frozen=True):
    """The other machine has what it needs. ``port``, ``address``: as in ``Welcome``, there."""

    port: int = 0
    address: str = ""


class Joined(NodeMessage, frozen=True):
    """The first machine can reach it too: it takes part."""


class Unable(NodeMessage, frozen=True):
    """It has not; the sentence says what is missing."""

    why: str


class Ping(NodeMessage, frozen=True):
    """Are you there? The answer is ``Pong`` with the same number. ``bulk`` makes it long, to measure the line."""

    number: int
    bulk: str = ""


class Pong(NodeMessage, frozen=True):
    """Yes."""

    number: int


class Begin(NodeMessage, frozen=True):
    """Start these stages. ``world``: as JSON, without its key, which is made of the token and ``salt``."""

    world: str
    salt: str
    what: str


class Halt(NodeMessage, frozen=True):
    """End what was begun, kindly for ``grace_s`` seconds."""

    grace_s: float


class TryPort(NodeMessage, frozen=True):
    """Connect to where the processes of a machine that joins will listen. The answer is ``PortTried``."""

    host: str
    port: int


class PortTried(NodeMessage, frozen=True):
    """Why ``port`` cannot be connected to (``ports.closed``); empty: it can."""

    port: int
    why: str


class Ended(NodeMessage, frozen=True):
    """It has ended with this exit code; ``said``: the last line of its log."""

    code: int
    said: str


class Bye(NodeMessage, frozen=True):
    """The first machine ends the run (``failed``: not as it should), or the other one leaves."""

    why: str
    failed: bool = False
    again: bool = False


AnyMessage = (
    Present
    | Welcome
    | Unwelcome
    | Ready
    | Joined
    | Unable
    | Ping
    | Pong
    | Begin
    | Halt
    | TryPort
    | PortTried
    | Ended
    | Bye
)
_decoder = msgspec.json.Decoder(AnyMessage)


def send(channel: Channel, message: NodeMessage, within_s: float = SILENT_S) -> None:
    """Send a message.

    Raises:
        ConnectionLost: the other side is not there, or takes nothing for ``within_s`` seconds.
    """
    channel.send(msgspec.json.encode(message), within_s)


def receive(channel: Channel, within_s: float = SILENT_S) -> AnyMessage:
    """The next message.

    Raises:
        ConnectionLost: there is none.
    """
    try:
        message: AnyMessage = _decoder.decode(channel.receive(within_s))
        return message
    except UNREADABLE:
        raise ConnectionLost("does not speak middo-tui's language") from None
