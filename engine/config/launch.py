"""The section [launch] of config.toml: on how many processes and machines stages run."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import Annotated

import msgspec

from engine.config.sections import ConfigSection, EnvName, NotNegative, Positive

Rendezvous = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}$",
        description='the IPv4 address or host name of this machine and a port, such as "10.0.0.1:29400"',
    ),
]


class Launch(ConfigSection, frozen=True):
    """How the worker's children are started, and on which machines.

    ``nodes``: machines, this one included; ``min_nodes``: so many suffice when no other has joined for ``wait_s``
    seconds. ``rendezvous``: where this one waits for the others. ``token_env``: NAME of the environment variable with
    the token that both must know.
    """

    grace_s: Positive = 10
    processes: Positive = 1
    accelerate_config: str = ""
    nodes: Positive = 1
    min_nodes: Positive = 1
    wait_s: NotNegative = 120
    rendezvous: Rendezvous = "127.0.0.1:29400"
    token_env: EnvName = "MIDDO_JOIN_TOKEN"  # noqa: S105 - a name

    def __post_init__(self) -> None:
        """One process has nobody to share with; other machines need an address that is one, and a token."""
        if self.accelerate_config and self.total == 1:
            raise ValueError("accelerate_config needs processes = as many as its num_processes, two or more")
        host, port = self.address
        if every_interface(host):
            raise ValueError(f"rendezvous = {host} would listen on every interface: give one address of this machine")
        if not 1 <= port <= 65535:
            raise ValueError(f"rendezvous: {port} is no port. Use one from 1024 to 65535")
        if self.min_nodes > self.nodes:
            raise ValueError(f"min_nodes = {self.min_nodes} is more than nodes = {self.nodes}. Lower it")
        if self.nodes > 1 and not self.token_env:
            raise ValueError("nodes above 1 needs token_env, the NAME of an environment variable with a token")

    @property
    def total(self) -> int:
        """The number of processes on all machines."""
        return self.nodes * self.processes

    @property
    def may_miss(self) -> bool:
        """Whether a run may go on with fewer machines than ``nodes``; then each adds up more batches for a step."""
        return self.min_nodes < self.nodes

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of ``rendezvous``."""
        host, _, port = self.rendezvous.rpartition(":")
        return host, int(port)


def every_interface(host: str) -> bool:
    """Whether to listen at ``host`` is to listen everywhere, however 0.0.0.0 is spelled."""
    if host.isdigit():  # inet_aton's short forms: 0 is 0.0.0.0
        return int(host) == 0
    try:
        return IPv4Address(host).is_unspecified
    except AddressValueError:
        return False
