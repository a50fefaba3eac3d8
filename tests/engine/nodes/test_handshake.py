"""Two ends of a connection: who knows the secret gets in, nobody else does, and a sealed frame cannot be touched."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.errors import ConfigError
from engine.nodes import handshake
from engine.nodes.channel import MOST_BYTES, PLAIN_BYTES, Channel, ConnectionLost
from engine.nodes.handshake import JoinRefused

SECRET, OTHER = b"s" * 32, b"o" * 32


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    listener = socket.create_server(("127.0.0.1", 0))
    here = socket.create_connection(listener.getsockname())
    there, _ = listener.accept()
    listener.close()
    yield here, there
    here.close()
    there.close()


def shake(ends: tuple[socket.socket, socket.socket], theirs: bytes | None, mine: bytes) -> tuple[Channel, Channel]:
    """Both channels after a handshake between a first machine that knows ``theirs`` and another that knows ``mine``."""
    first, other = Channel(ends[1]), Channel(ends[0])
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(handshake.receive_caller, first, lambda _: theirs)
        handshake.call(other, handshake.JOIN, mine, "10.0.0.1:29400", "MIDDO_JOIN_TOKEN")
        assert done.result() == handshake.JOIN
    return first, other


def test_who_knows_the_secret_is_let_in_and_the_secret_is_not_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    seen: list[bytes] = []

    class Watched(Channel):
        def receive(self, within_s: float = 5) -> bytes:
            seen.append(super().receive(within_s))
            return seen[-1]

    first, other = Watched(ends[1]), Watched(ends[0])
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(handshake.receive_caller, first, lambda _: SECRET)
        handshake.call(other, handshake.JOIN, SECRET, "head", "T")
        done.result()
    other.send(b"hello")
    assert first.receive() == b"hello"
    assert len(seen) == 4
    assert not any(SECRET in one or SECRET.hex().encode() in one for one in seen)


def test_a_wrong_secret_is_refused_in_one_sentence(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(JoinRefused, match=r"^10\.0\.0\.1:29400 refused the token\. Give MIDDO_JOIN_TOKEN the value"):
        shake(ends, SECRET, OTHER)


def test_who_does_not_prove_the_secret_back_is_not_believed(ends: tuple[socket.socket, socket.socket]) -> None:
    first, other = Channel(ends[1]), Channel(ends[0])

    def liar() -> None:
        first.send(json.dumps({"type": "Greeting", "name": "middo-tui", "protocol": 1, "nonce": "00"}).encode())
        first.receive()
        first.send(json.dumps({"type": "Accepted", "proof": "é"}).encode())

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(liar)
        with pytest.raises(JoinRefused, match="does not know this machine's token"):
            handshake.call(other, handshake.JOIN, SECRET, "head:1", "T")
        done.result()


def test_an_older_protocol_is_told_to_install_the_same(ends: tuple[socket.socket, socket.socket]) -> None:
    Channel(ends[1]).send(json.dumps({"type": "Greeting", "name": "middo-tui", "protocol": 0, "nonce": "00"}).encode())
    with pytest.raises(JoinRefused, match=r"another version of middo-tui\. Install the same"):
        handshake.call(Channel(ends[0]), handshake.JOIN, SECRET, "head:1", "T")


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",  # read as a length: a gigabyte
        b"\x00\x00\x00\x02{}",
        b"\x00\x00\x00\x03\xff\xff\xff",
        b"\x00\x00\x00\x05[[[[[",
        b"\x00\x00\x00\x09" + b'"\\ud800"  ',
        b"\x00",
        b"",
    ],
)
def test_garbage_is_no_caller(ends: tuple[socket.socket, socket.socket], said: bytes) -> None:
    ends[0].sendall(said)
    ends[0].shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionLost, match=r"does not speak|closed the connection"):
        handshake.receive_caller(Channel(ends[1]), lambda _: SECRET)


OTHER_PROGRAM = json.dumps({"type": "Greeting", "name": "other", "protocol": handshake.PROTOCOL, "nonce": "n"}).encode()


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\x00\x00\x02{}",
        b"",
        len(OTHER_PROGRAM).to_bytes(4, "big") + OTHER_PROGRAM,
    ],
)
def test_garbage_is_no_first_machine(ends: tuple[socket.socket, socket.socket], said: bytes) -> None:
    ends[1].sendall(said)
    ends[1].shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionLost, match=r"does not speak" if len(said) > 4 else "closed the connection"):
        handshake.call(Channel(ends[0]), handshake.JOIN, SECRET, "head", "T")


def test_a_purpose_that_is_not_open_is_refused(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(JoinRefused):
        shake(ends, None, SECRET)


def test_a_frame_that_was_changed_or_repeated_is_noticed(ends: tuple[socket.socket, socket.socket]) -> None:
    first, _ = shake(ends, SECRET, SECRET)
    code = bytes(32)
    ends[0].sendall(len(b"run rm").to_bytes(4, "big") + b"run rm" + code)
    with pytest.raises(ConnectionLost, match="changed on the way"):
        first.receive()


def test_a_repeated_frame_does_not_fit(ends: tuple[socket.socket, socket.socket]) -> None:
    first, other = shake(ends, SECRET, SECRET)
    other.send(b"once")
    whole = ends[1].recv(4 + 4 + 32, socket.MSG_PEEK | socket.MSG_WAITALL)
    assert first.receive() == b"once"
    ends[0].sendall(whole)
    with pytest.raises(ConnectionLost, match="changed on the way"):
        first.receive()


def test_a_frame_that_is_sent_back_does_not_fit(ends: tuple[socket.socket, socket.socket]) -> None:
    first, other = shake(ends, SECRET, SECRET)
    other.send(b"mine")
    ends[1].sendall(ends[1].recv(4 + 4 + 32, socket.MSG_WAITALL))
    with pytest.raises(ConnectionLost, match="changed on the way"):
        other.receive()
    first.close()


def test_a_frame_has_a_longest_length_and_an_end_of_time(ends: tuple[socket.socket, socket.socket]) -> None:
    first, _ = shake(ends, SECRET, SECRET)
    ends[0].sendall(MOST_BYTES.to_bytes(4, "big") + b"a")
    with pytest.raises(ConnectionLost, match="went silent"):
        first.receive(within_s=0.05)
    ends[0].sendall((MOST_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(ConnectionLost, match="does not speak"):
        first.receive()


def test_a_stranger_s_frame_is_short(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall((PLAIN_BYTES + 1).to_bytes(4, "big") + b" " * (PLAIN_BYTES + 1))
    with pytest.raises(ConnectionLost, match="does not speak"):
        Channel(ends[1]).receive()


def test_a_token_must_be_there_and_long_enough() -> None:
    with pytest.raises(ConfigError, match=r"^JOIN is not set: .*openssl rand -hex 16"):
        handshake.token("JOIN", "")
    with pytest.raises(ConfigError, match="JOIN is too short: it needs at least 16 characters"):
        handshake.token("JOIN", "short")
    assert handshake.token("JOIN", "x" * 16) == "x" * 16


def test_a_token_of_bytes_that_are_no_text_is_a_token() -> None:
    assert len(handshake.stretched("\udcff" * 16)) == 32


def test_a_secret_is_made_slowly_and_always_the_same() -> None:
    assert handshake.stretched("a" * 16) == handshake.stretched("a" * 16)
    assert len({handshake.stretched("a" * 16), handshake.stretched("b" * 16)}) == 2
