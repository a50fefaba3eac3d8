"""What the machines of a launch know of it, and where it listens."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from typing import Any

import pytest

from engine.distributed import world as worlds
from engine.errors import ConfigError


def test_a_launch_listens_on_the_loopback_interface_only() -> None:
    world, listener = worlds.begin(3, "cpu", "/project")
    with listener:
        assert listener.getsockname() == ("127.0.0.1", world.port)
        assert world.store_fd == listener.fileno()
        assert (world.nodes, world.node, world.size, world.address) == (1, 0, 3, "127.0.0.1")


def test_another_machine_learns_all_but_the_socket_and_knows_its_own_address() -> None:
    world, listener = worlds.begin(4, "auto", "/project", nodes=2, door_port=29400)
    listener.close()
    other = world.on(1, "10.0.0.2")
    assert (other.node, other.address, other.store_fd, other.size) == (1, "10.0.0.2", None, 8)
    assert (other.key, other.host, other.door_port) == (world.key, "127.0.0.1", 29400)
    assert other.secret("orders") == world.secret("orders") != world.secret("files")


def test_every_launch_has_a_key_of_its_own() -> None:
    (one, first), (two, second) = (worlds.begin(1, "cpu", "/p") for _ in range(2))
    first.close()
    second.close()
    assert len(bytes.fromhex(one.key)) == worlds.KEY_BYTES
    assert one.key != two.key


def test_a_world_is_read_from_an_open_file_as_often_as_there_are_ranks() -> None:
    world, listener = worlds.begin(2, "cpu", "/p")
    with listener, worlds.keep(world) as file:
        assert worlds.read(file.fileno()) == worlds.read(file.fileno()) == world
        assert os.fstat(file.fileno()).st_nlink == 0, "it has a name, by which others could find the key"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has files in memory alone")
def test_a_full_or_missing_disk_is_no_matter_and_the_key_is_on_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    world, listener = worlds.begin(2, "cpu", "/p")
    with listener, worlds.keep(world) as file:
        assert worlds.read(file.fileno()) == world
        assert os.readlink(f"/proc/self/fd/{file.fileno()}").startswith("/memfd:")


def test_of_a_names_addresses_the_one_that_other_machines_are_told_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    every = socket.getaddrinfo

    def both(host: str, port: int, *kind: int, **more: int) -> list[Any]:
        """A name with addresses of both kinds, as many have."""
        found = every("127.0.0.1", port, *kind, **more)
        asked = more.get("family", kind[0] if kind else 0)
        return found if asked == socket.AF_INET else [*every("::1", port, type=socket.SOCK_STREAM), *found]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with worlds.listen("head") as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_foreign_address_and_a_taken_port_are_named_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1: cannot listen there: Cannot assign requested address\. Use"):
        worlds.listen("192.0.2.1")
    with pytest.raises(
        ConfigError, match=r"^a\.\.b: not a host name\. Use an address of this machine, e\.g\. 10\.0\.0\.1\.$"
    ):
        worlds.listen("a..b")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: cannot listen there: Address already in use"):
            worlds.listen("127.0.0.1", port)
