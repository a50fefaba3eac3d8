"""Mutual authentication: two machines prove to each other that they know the same secret, without sending it.

    first machine              other machine
      Greeting(nonce)     ──▶
                          ◀──   Hello(purpose, nonce, proof)
      Accepted(proof)     ──▶   or Declined(why)

Each proof is an HMAC-SHA256 over both nonces, keyed with the secret. The caller proves first, so a stranger learns a
random number and nothing else. Afterwards frames are authenticated with keys derived from the secret and both nonces.

The secret of ``JOIN`` is the token, stretched by scrypt so that an attacker who recorded a handshake cannot try many
tokens a second; that of ``FILES`` and ``STORE`` belongs to one launch.
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
"""Minimum length of the token, in characters."""
WITHIN_S = 10.0
"""Timeout of each reply in a handshake, in seconds."""
NONCE_BYTES = 32


class Greeting(Struct, frozen=True, tag=True):
    """The first message, sent by the first machine. ``protocol`` is raised when the meaning of a frame changes."""

    name: str
    protocol: int
    nonce: str


class Hello(Struct, frozen=True):
    """The caller's answer: its purpose (JOIN, FILES or STORE) and its proof."""

    purpose: str
    nonce: str
    proof: str


class Accepted(Struct, frozen=True, tag=True):
    """The first machine's proof."""

    proof: str


class Declined(Struct, frozen=True, tag=True):
    """The first machine refuses the caller; ``reason`` is a key of ``REASONS``."""

    reason: str


class JoinRefused(MiddoError):
    """The first machine refuses this one. The message is a complete sentence."""


class RefusedForNow(JoinRefused):
    """The first machine may accept this one once another has left."""


class LaunchOver(ConnectionLost):
    """A process asked for the files or the store of a launch that has ended."""


class WrongToken(ConnectionLost):
    """A machine asked to join and did not know the token."""


class Barred(ConnectionLost):
    """A machine asked to join from an address that has sent too many wrong tokens."""


REASONS = {
    "token": "{where} refused the token. Give {name} the value that it has on the first machine.",
    "over": "{where} has ended this launch.",
    "barred": "{where} was called too often from this address with a wrong token. Try again in a minute.",
}


@lru_cache(maxsize=4)
def stretched(token: str) -> bytes:
    """The secret derived from ``token`` by scrypt, 32 bytes."""
    return hashlib.scrypt(
        token.encode("utf-8", "surrogateescape"), salt=b"middo-tui join 1", n=1 << 14, r=8, p=1, dklen=32
    )


def token(name: str, value: str | None, fix: str = "") -> str:
    """The token in the environment variable ``name``.

    Args:
        fix: the way out that the error names; by default, to generate a token.

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
    """Whether ``said`` is ``proof`` in hex, compared in constant time."""
    return hmac.compare_digest(said.encode(), proof.hex().encode())


def _reason(refused: Declined, where: str, name: str) -> str:
    return REASONS.get(refused.reason, REASONS["barred"]).format(where=where, name=name)


def receive_caller(channel: Channel, secret_of: Callable[[str], bytes | None], barred: bool = False) -> str:
    """The first machine's part; seals the channel. Returns the caller's purpose.

    Args:
        secret_of: the secret for a purpose; None: nobody may ask for it now.
        barred: refuse callers that want to join.

    Raises:
        LaunchOver: a caller for files or the store did not know the secret. Barred: as it says.
        WrongToken: it did not know the token. ConnectionLost: the caller does not speak this protocol.
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
        raise WrongToken("did not know the token") if join else LaunchOver("came for a launch that is over")
    channel.send(msgspec.json.encode(Accepted(_proof(secret, "first", *of).hex())))
    channel.seal(_proof(secret, "first seals", *of), _proof(secret, "other seals", *of))
    return hello.purpose


def call(channel: Channel, purpose: str, secret: bytes, where: str, name: str) -> None:
    """The other machine's part; seals the channel.

    Args:
        where, name: the first machine's address and the variable with the token, for error messages.

    Raises:
        ConnectionLost: no middo-tui answers there, or the connection closed.
        JoinRefused: the first machine refuses this one, or belongs to another run.
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
    """The key of one launch, 32 bytes in hex. Each machine derives it from the token's secret and ``salt``."""
    return hmac.digest(secret, f"launch\0{salt}".encode(), hashlib.sha256).hex()
