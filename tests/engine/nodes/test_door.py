"""A real door on the loopback interface: who comes in, who does not, and what is known of those who are here."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import msgspec
import pytest

from engine.nodes import caller, door, handshake, messages, ports
from engine.nodes.channel import Channel, ConnectionLost
from engine.nodes.handshake import JoinRefused, RefusedForNow
from engine.nodes.machine import BULK_BYTES, TRIES, OtherMachine
from tests.support import namespaces
from tests.support.doors import ABOUT, KEY, NODE, SECRET, WITHIN_S, open_door
from tests.support.namespaces import two_machines


def test_a_machine_joins_is_measured_and_leaves(tmp_path: Path) -> None:
    with open_door(tmp_path) as held:
        channel, welcome = held.join()
        assert (welcome.node, welcome.nodes, welcome.own, welcome.about.host) == (1, 2, "model", "head")
        reader = caller.MessageReader(channel)
        assert held.line() == "machine 2 of 2 joined: node2 (127.0.0.1)"
        (machine,) = held.door.machines()
        assert machine.ready
        messages.send(channel, messages.Bye("left (Ctrl-C)"))
        assert held.line() == "machine 2 of 2, node2 (127.0.0.1), left (Ctrl-C)"
        assert isinstance(reader.next(WITHIN_S), ConnectionLost)
        assert held.door.machines() == []
        assert machine.round_trip_s is not None


def test_a_machine_is_measured_by_short_and_then_long_pings_one_at_a_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = Channel(socket.create_connection(listener.getsockname()))
        held = OtherMachine(1, "node2", NODE, Channel(listener.accept()[0]))
    for channel in (there, held.channel):
        channel.seal(KEY, KEY)
    held.measure()
    asked: list[messages.Ping] = []
    for _ in range(2 * TRIES):
        assert not held.measured
        ping = messages.receive(there)
        assert isinstance(ping, messages.Ping)
        asked.append(ping)
        held.take(messages.Pong(ping.number))
    assert [len(ping.bulk) for ping in asked] == [0] * TRIES + [BULK_BYTES] * TRIES
    assert len({ping.number for ping in asked}) == 2 * TRIES
    assert held.measured
    assert held.round_trip_s is not None
    assert held.bytes_per_s is not None
    there.close()
    held.channel.close()


def test_a_machine_that_is_killed_is_noticed_at_once_and_its_number_is_free_again(tmp_path: Path) -> None:
    with open_door(tmp_path, nodes=3) as held:
        (first, _), (second, welcome) = held.join(), held.join()
        assert welcome.node == 2
        assert {held.line() for _ in range(2)} == {f"machine {n} of 3 joined: node2 (127.0.0.1)" for n in (2, 3)}
        first.close()  # as the kernel does for a process that is killed
        assert held.line() == "machine 2 of 3, node2 (127.0.0.1), closed the connection"
        assert held.join()[1].node == 1
        second.close()


def test_one_machine_too_many_is_told_so(tmp_path: Path) -> None:
    with open_door(tmp_path) as held:
        channel, _ = held.join()
        assert held.line() == "machine 2 of 2 joined: node2 (127.0.0.1)"  # said once the machine knows it
        for _ in range(2):
            with pytest.raises(RefusedForNow, match=r"does not let this machine join: all 2 machines are here\.$"):
                held.join()
        channel.close()
        said = [held.line() for _ in range(2)]
        assert said[0] == "node2 (127.0.0.1) cannot join: all 2 machines are here", "once"
        assert said[1] == "machine 2 of 2, node2 (127.0.0.1), closed the connection"


@pytest.mark.parametrize("why", ["", "127.0.0.1 cannot be reached on port 7 (no answer)"])
def test_who_is_here_tries_to_reach_who_joins(tmp_path: Path, why: str) -> None:
    with open_door(tmp_path, nodes=3) as held, ports.open_one("127.0.0.1") as (address, port):
        first, _ = held.join()
        held.line()  # it counts as here once this is said, a moment after it knows it
        second = held.channel()
        caller.introduce(second, SECRET, NODE, "head", "T")
        heard = caller.MessageReader(second)
        messages.send(second, messages.Ready(port, address))
        asked = caller.MessageReader(first).next(WITHIN_S)
        assert asked == messages.TryPort(address, port)
        messages.send(first, messages.PortTried(port - 1, "too late"))
        messages.send(first, messages.PortTried(port, why))
        said = f"from machine 2 of 3, node2 (127.0.0.1), {why}"
        assert heard.next(WITHIN_S) == (messages.Unwelcome(said) if why else messages.Joined())
        first.close()
        second.close()


def test_a_gpu_is_not_taken_twice(tmp_path: Path) -> None:
    gpus = ("H200", "H200")
    first = msgspec.structs.replace(ABOUT, gpus=gpus, uuids=("GPU-1", "GPU-2"))
    node = msgspec.structs.replace(NODE, gpus=gpus, uuids=("GPU-3", "GPU-4"))
    with open_door(tmp_path, nodes=3, about=first, device="auto") as held:
        channel, _ = held.join(node)
        for who, uuid in (("the first machine", "GPU-2"), ("machine 2 of 3", "GPU-4")):
            with pytest.raises(
                RefusedForNow, match=rf"join: {who} uses its {uuid} already; run one `join` on a machine"
            ):
                held.join(msgspec.structs.replace(node, uuids=("GPU-5", uuid)))
        assert held.join(msgspec.structs.replace(node, uuids=("GPU-5", "GPU-6", "GPU-1")))[1].node == 2
        channel.close()


def test_another_version_is_refused_on_both_sides_in_the_same_words(tmp_path: Path) -> None:
    other = msgspec.structs.replace(NODE, libraries={**NODE.libraries, "torch": "0.9"})
    with open_door(tmp_path) as held:
        with pytest.raises(JoinRefused) as refused:
            held.join(other)
        said = "torch is 1.0 on head and 0.9 on node2; install the same version there: pip install torch==1.0"
        assert str(refused.value).endswith(f"does not let this machine join: {said}.")
        assert held.line() == f"node2 (127.0.0.1) cannot join: {said}"


def test_a_model_that_is_missing_is_said_on_the_first_machine_too(tmp_path: Path) -> None:
    with open_door(tmp_path) as held:
        channel = held.channel()
        caller.introduce(channel, SECRET, NODE, "head", "T")
        messages.send(channel, messages.Unable("/models/big is not there"))
        assert held.line() == "machine 2 of 2, node2 (127.0.0.1), cannot take part: /models/big is not there"
        channel.close()


def test_who_guesses_the_token_is_sent_away_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_door(tmp_path) as held:
        for _ in range(door.MOST_GUESSES):
            with pytest.raises(JoinRefused, match="refused the token"):
                held.join(secret=b"guess")
        assert held.line() == "a caller from 127.0.0.1 was refused: it did not know the token"
        with pytest.raises(JoinRefused, match="called too often from this address with a wrong token"):
            held.join()
        channel = held.channel()
        handshake.call(channel, handshake.FILES, KEY, "head", "T")  # a launch that runs there goes on
        channel.close()
        monkeypatch.setattr(door, "BARRED_S", 0.0)
        held.join()[0].close()


@pytest.mark.parametrize(
    "said", [b'{"x":' + b"[" * 1000, b"GET / HTTP/1.1", b"\xff\xfe", b"null", b"", b'{"purpose":"\xff"}']
)
def test_a_stranger_who_says_something_else_is_a_failed_caller(tmp_path: Path, said: bytes) -> None:
    with open_door(tmp_path) as held, socket.create_connection((held.host, held.port)) as stranger:
        stranger.sendall(len(said).to_bytes(4, "big") + said)
        assert held.line() == "a caller from 127.0.0.1 was refused: it does not speak middo-tui's language"


@pytest.mark.parametrize("purpose", [handshake.JOIN, handshake.FILES, handshake.STORE])
def test_strangers_who_hold_all_places_keep_nobody_out(tmp_path: Path, purpose: str) -> None:
    with open_door(tmp_path) as held:
        held.door.hand_out(KEY)
        silent = []
        for _ in range(door.MOST_CALLERS):
            silent.append(socket.create_connection((held.host, held.port)))
            assert silent[-1].recv(1), "it has its greeting, and so its place: after those before it"
        channel = held.channel()
        handshake.call(channel, purpose, SECRET if purpose == handshake.JOIN else KEY, "head", "T")
        channel.close()
        silent[0].settimeout(WITHIN_S)
        while silent[0].recv(1 << 10):
            pass  # the oldest has lost its place
        said = "a caller from 127.0.0.1 was refused: it said nothing, and others needed its place"
        assert held.line() == said
        for one in silent:
            one.close()
        held.join()[0].close()  # whoever says nothing guesses nothing: the address is not barred


def test_strangers_of_one_address_take_no_place_of_another(tmp_path: Path) -> None:
    with open_door(tmp_path) as held:
        other = socket.create_connection((held.host, held.port), source_address=("127.0.0.2", 0))
        assert other.recv(1)
        many = [socket.create_connection((held.host, held.port)) for _ in range(3 * door.MOST_CALLERS)]
        for one in many[-door.MOST_CALLERS // 2 :]:
            assert one.recv(1)
        other.setblocking(False)
        other.recv(1 << 10)  # the rest of its greeting
        with pytest.raises(BlockingIOError):  # it is not closed
            other.recv(1)
        for one in (other, *many):
            one.close()


def test_a_stranger_who_sends_a_gigabyte_is_cut_off(tmp_path: Path) -> None:
    with open_door(tmp_path) as held, socket.create_connection((held.host, held.port)) as stranger:
        stranger.settimeout(WITHIN_S)
        with pytest.raises(OSError, match=r"reset|pipe"):  # long before
            stranger.sendall(b"GET / HTTP/1.1 " * (64 << 20 >> 4))
        assert held.line() == "a caller from 127.0.0.1 was refused: it does not speak middo-tui's language"


def test_a_launch_is_begun_and_its_end_is_heard(tmp_path: Path) -> None:
    with open_door(tmp_path) as held:
        channel, _ = held.join()
        reader = caller.MessageReader(channel)
        held.line()
        (machine,) = held.door.machines()
        machine.begin(messages.Begin("{}", "salt", "train of round 0"))
        assert reader.next(WITHIN_S) == messages.Begin("{}", "salt", "train of round 0")
        messages.send(channel, messages.Ended(70, "rank 2 of 4 ran out of memory"))
        messages.send(channel, messages.Bye("left"))
        held.line()
        assert machine.ended == messages.Ended(70, "rank 2 of 4 ran out of memory")


def test_the_end_of_the_run_is_told(tmp_path: Path) -> None:
    with open_door(tmp_path) as held:
        channel, _ = held.join()
        reader = caller.MessageReader(channel)
        held.line()
        held.door.close("the run is done")
        assert reader.next(WITHIN_S) == messages.Bye("the run is done")
        assert isinstance(reader.next(WITHIN_S), ConnectionLost)
        assert held.lines.empty()


def test_processes_of_a_launch_that_broke_off_do_not_bar_their_machine(tmp_path: Path) -> None:
    with open_door(tmp_path) as held:
        held.door.hand_out(None)
        for purpose in (handshake.STORE, handshake.FILES) * door.MOST_GUESSES:
            channel = held.channel()
            with pytest.raises(handshake.JoinRefused, match="head has ended this launch"):
                handshake.call(channel, purpose, KEY, "head", "T")
            channel.close()
        held.join()[0].close()
        assert held.line().startswith("machine 2 of 2 joined"), "nor is anything said of them"


def test_a_first_machine_that_is_not_up_yet_is_waited_for() -> None:
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    waits: list[float] = []
    lines: list[str] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        listening.append(socket.create_server(("127.0.0.1", port)))
        speaks = threading.Thread(target=lambda: listening[0].accept()[0].sendall(b"!"))
        speaks.start()

    listening: list[socket.socket] = []
    caller.connect("127.0.0.1", port, 60, pause, lines.append).close()
    assert len(waits) == 1
    assert lines == [f"waiting for 127.0.0.1:{port} (Connection refused), for 60 s at most …"]
    listening[0].close()
    with pytest.raises(ConnectionLost, match=r"cannot be reached \(Connection refused\)"):
        caller.connect("127.0.0.1", port, 0, pause, lines.append)
    with pytest.raises(ConnectionLost, match=r"^is no address that this machine knows \(not a host name\)$"):
        caller.connect("a..b", port, 0, pause, lines.append)


def test_a_machine_that_cannot_be_reached_back_is_told_what_to_open(tmp_path: Path) -> None:
    with open_door(tmp_path) as held:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        channel = held.channel()
        welcome = caller.introduce(channel, SECRET, NODE, "head", "T")
        assert ports.closed("127.0.0.1", welcome.port) == ""
        assert welcome.address == "127.0.0.1"
        messages.send(channel, messages.Ready(port, "127.0.0.1"))
        reader = caller.MessageReader(channel)
        says = f"127.0.0.1 cannot be reached on port {port} (Connection refused): open all ports between the machines"
        word = reader.next(WITHIN_S)
        assert isinstance(word, messages.Unwelcome)
        assert word.why.startswith(says)
        channel.close()
        assert held.line().startswith(f"machine 2 of 2, node2 (127.0.0.1), cannot take part: {says}")


@pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not())
def test_it_is_tried_to_reach_a_machine_where_its_processes_will_listen() -> None:
    """Also where an interface has two addresses, of which gloo takes the first and the run names the other one."""
    with two_machines() as (first, _):
        first.ip("address", "flush", "dev", "eth0")
        for address in ("192.0.2.1", first.address):
            first.ip("address", "add", f"{address}/24", "dev", "eth0")

        def opened() -> tuple[str, str]:
            with ports.open_one(first.address) as (address, port):
                with socket.create_server(("127.0.0.1", 0)) as server:
                    free = server.getsockname()[1]
                assert ports.closed(address, port, first.address) == ""
                return address, ports.closed(address, free, first.address)

        address, why = first.inside(opened)
    assert address == "192.0.2.1"
    assert "(Connection refused), where its processes listen: the first address of 10.213.7.1's interface. Open" in why
