"""The messages between the first machine and another once they have authenticated each other."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from engine.files.json_errors import UNREADABLE
from engine.nodes.channel import SILENT_S, Channel, ConnectionLost
from engine.nodes.machine_versions import About


class NodeMessage(Struct, frozen=True, tag=True, omit_defaults=True):
    """One message, as JSON in one frame."""


class Present(NodeMessage, frozen=True):
    """The other machine reports what is installed on it."""

    about: About


class NeededModel(Struct, frozen=True):
    """A model that every machine needs: its name in config.toml, and its fingerprint on the first machine ("": not on
    that machine yet).
    """

    name: str
    fingerprint: str


class Welcome(NodeMessage, frozen=True):
    """Accepted as machine ``node`` of ``nodes``; the first machine is 0. ``own``: the model that ``--model`` may
    replace. ``address``, ``port``: where to test whether the first machine's processes can be reached; port 0: no test.
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
    """Why the machine cannot join, completing "cannot join: …". ``later``: it may join once another has left."""

    why: str
    later: bool = False


class Ready(NodeMessage, frozen=True):
    """The other machine has what it needs. ``port``, ``address``: as in ``Welcome``, on that machine."""

    port: int = 0
    address: str = ""


class Joined(NodeMessage, frozen=True):
    """The first machine can reach the other one, which now takes part."""


class Unable(NodeMessage, frozen=True):
    """The other machine lacks something it needs; ``why`` says what."""

    why: str


class Ping(NodeMessage, frozen=True):
    """Answered by ``Pong`` with the same number. ``bulk`` pads it, to measure the bandwidth."""

    number: int
    bulk: str = ""


class Pong(NodeMessage, frozen=True):
    """The answer to a ``Ping``."""

    number: int


class Begin(NodeMessage, frozen=True):
    """Start the stages ``what``. ``world``: JSON without the key, which is derived from the token and ``salt``."""

    world: str
    salt: str
    what: str


class Halt(NodeMessage, frozen=True):
    """End what was started: SIGTERM now, SIGKILL after ``grace_s`` seconds."""

    grace_s: float


class TryPort(NodeMessage, frozen=True):
    """Try to connect to where a joining machine's processes will listen. Answered by ``PortTried``."""

    host: str
    port: int


class PortTried(NodeMessage, frozen=True):
    """Why nobody can connect to ``port`` from here (``ports.closed``); "": it works."""

    port: int
    why: str


class Ended(NodeMessage, frozen=True):
    """The launcher ended with this exit code; ``said``: the last line of its log."""

    code: int
    said: str


class Bye(NodeMessage, frozen=True):
    """The first machine ends the run (``failed``: with an error; ``again``: reconnect at once), or the other one
    leaves.
    """

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
        ConnectionLost: the connection is lost, or the other side accepts nothing for ``within_s`` seconds.
    """
    channel.send(msgspec.json.encode(message), within_s)


def receive(channel: Channel, within_s: float = SILENT_S) -> AnyMessage:
    """The next message.

    Raises:
        ConnectionLost: none came within ``within_s`` seconds, or it is not a message of this protocol.
    """
    try:
        message: AnyMessage = _decoder.decode(channel.receive(within_s))
        return message
    except UNREADABLE:
        raise ConnectionLost("does not speak middo-tui's language") from None
