"""How two machines show each other that they know the same secret, without sending it.

    first machine              other machine
      Greeting(nonce)     ──▶
                          ◀──   Hello(purpose, nonce, proof)
      Accepted(proof)     ──▶   or Declined(why)

Each proof is an HMAC-SHA256 over both nonces by the secret. The one who comes proves first, so a stranger learns a
random number and nothing else. Afterwards frames are sealed by keys made of the secret and both nonces.

The secret of ``JOIN`` is the token, stretched by scrypt so that whoever recorded a handshake cannot try many tokens a
second; that of ``FILES`` and ``STORE`` belongs to one launch.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from functools import lru_cache

import msgspec
from msgspec import Struct

from engine.errors import ConfigError, MiddoError
from engine.files.json_errors import UNREADABLE
from engine.nodes.channel import Channel, ConnectionLost

PROTOCOL = 1
NAME = "middo-tui"
JOIN, FILES, STORE = "join", "files", "store"
LEAST_TOKEN = 16
"""Characters of the shortest token."""
WITHIN_S = 10.0
"""Time for a handshake."""
NONCE_BYTES = 32


class Greeting(Struct, frozen=True, tag=True):
    """The first word of the first machine. ``protocol`` grows when a frame's meaning changes."""

    name: str
    protocol: int
    nonce: str


class Hello(Struct, frozen=True):
    """The answer: what for, and the proof."""

    purpose: str
    nonce: str
    proof: str


class Accepted(Struct, frozen=True, tag=True):
    """The first machine's proof."""

    proof: str


class Declined(Struct, frozen=True, tag=True):
    """Why the first machine does not go on; ``reason`` is a key of ``REASONS``."""

    reason: str


class JoinRefused(MiddoError):
    """The first machine refuses this one. The message is a sentence."""


class RefusedForNow(JoinRefused):
    """It may let this one in when another one has left."""


class LaunchOver(ConnectionLost):
    """A process of a launch that has ended, or is not the present one, came for its files or its store."""


class Barred(ConnectionLost):
    """A caller for JOIN from an address that has failed too often."""


REASONS = {
    "token": "{where} refused the token. Give {name} the value that it has on the first machine.",
    "over": "{where} has ended this launch.",
    "barred": "{where} was called too often from this address without the right token. Try again in a minute.",
}


@lru_cache(maxsize=4)
def stretched(token: str) -> bytes:
    """The secret that a token stands for, 32 bytes."""
    return hashlib.scrypt(token.encode(), salt=b"middo-tui join 1", n=1 << 14, r=8, p=1, dklen=32)


def token(name: str, value: str | None, fix: str = "") -> str:
    """The token in the environment variable ``name``.

    Args:
        fix: what to do without one; otherwise: make one.

    Raises:
        ConfigError: it is not set, or too short.
    """
    fix = fix or "Make one, for example with `openssl rand -hex 16`, and set it on every machine."
    if not value:
        raise ConfigError(f"{name} is not set: the machines of a run know each other by this token. {fix}")
    if len(value) < LEAST_TOKEN:
        raise ConfigError(f"{name} is too short: it needs at least {LEAST_TOKEN} characters. {fix}")
    return value


def _proof(secret: bytes, who: str, purpose: str, first: str, other: str) -> bytes:
    words = "\0".join((NAME, str(PROTOCOL), who, purpose, first, other))
    return hmac.digest(secret, words.encode(), hashlib.sha256)


def _same(said: str, proof: bytes) -> bool:
    """Whether somebody said this proof; takes as long for any answer of that length."""
    return hmac.compare_digest(said.encode(), proof.hex().encode())


def _reason(refused: Declined, where: str, name: str) -> str:
    return REASONS.get(refused.reason, REASONS["barred"]).format(where=where, name=name)


def receive_caller(channel: Channel, secret_of: Callable[[str], bytes | None], barred: bool = False) -> str:
    """The first machine's part; seals the channel. Returns the purpose.

    Args:
        secret_of: the secret of a purpose; None: nobody may come for it now. barred: nobody joins from there now.

    Raises:
        LaunchOver: it was not a caller for JOIN, and did not know the secret. Barred: it was one, and may not come.
        ConnectionLost: it was no caller of ours, or it did not know the token.
    """
    mine = secrets.token_hex(NONCE_BYTES)
    channel.send(msgspec.json.encode(Greeting(NAME, PROTOCOL, mine)))
    try:
        hello = msgspec.json.decode(channel.receive(WITHIN_S), type=Hello)
    except UNREADABLE:
        raise ConnectionLost("does not speak middo-tui's language") from None
    if barred and hello.purpose == JOIN:
        channel.send(msgspec.json.encode(Declined("barred")))
        raise Barred("called too often")
    secret = secret_of(hello.purpose)
    of = (hello.purpose, mine, hello.nonce)
    if secret is None or not _same(hello.proof, _proof(secret, "other", *of)):
        join = hello.purpose == JOIN
        channel.send(msgspec.json.encode(Declined("token" if join else "over")))
        raise ConnectionLost("did not know the token") if join else LaunchOver("came for a launch that is over")
    channel.send(msgspec.json.encode(Accepted(_proof(secret, "first", *of).hex())))
    channel.seal(_proof(secret, "first seals", *of), _proof(secret, "other seals", *of))
    return hello.purpose


def call(channel: Channel, purpose: str, secret: bytes, where: str, name: str) -> None:
    """The other machine's part; seals the channel.

    Args:
        where: the first machine, ``name``: the variable with the token, both for errors.

    Raises:
        ConnectionLost: there is no middo-tui, or it went away. JoinRefused: it refuses this machine, or is not the right one.
    """
    no_run = "does not speak middo-tui's language"
    try:
        greeting = msgspec.json.decode(channel.receive(WITHIN_S), type=Greeting | Declined)
        if isinstance(greeting, Declined):
            raise JoinRefused(_reason(greeting, where, name))
        if greeting.name != NAME:
            raise ConnectionLost(no_run)
        if greeting.protocol != PROTOCOL:
            raise JoinRefused(f"{where} runs another version of middo-tui. Install the same one on both machines.")
        mine = secrets.token_hex(NONCE_BYTES)
        of = (purpose, greeting.nonce, mine)
        channel.send(msgspec.json.encode(Hello(purpose, mine, _proof(secret, "other", *of).hex())))
        answer = msgspec.json.decode(channel.receive(WITHIN_S), type=Accepted | Declined)
    except UNREADABLE:
        raise ConnectionLost(no_run) from None
    if isinstance(answer, Declined):
        raise JoinRefused(_reason(answer, where, name))
    if not _same(answer.proof, _proof(secret, "first", *of)):
        raise JoinRefused(f"{where} does not know this machine's token: it is another run. Check the address.")
    channel.seal(_proof(secret, "other seals", *of), _proof(secret, "first seals", *of))


def launch_key(secret: bytes, salt: str) -> str:
    """The key of one launch, 32 bytes in hex. Each machine makes it by itself from the token's secret and ``salt``."""
    return hmac.digest(secret, f"launch\0{salt}".encode(), hashlib.sha256).hex()
