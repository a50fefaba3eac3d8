"""The rendezvous of a launch: its launchers, and then its ranks, meet in a TCPStore on the loopback interface.

torchrun's own backends (``c10d``, ``static``) open the store on every interface of the first machine, and c10d
unpickles what it finds there. This one is a static rendezvous for a known number of machines, over a socket that was
bound before
(https://docs.pytorch.org/docs/stable/elastic/rendezvous.html). Other machines connect through the door
(``engine.nodes.tunnel``). Keys carry a prefix, so that no launch reads the keys of another.
"""

from __future__ import annotations

import os
from datetime import timedelta

import psutil
from torch.distributed import DistError, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # public, not declared so
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)

from engine.distributed.world import LOOPBACK, World
from engine.errors import StageError

NAME = "middo"
DEVICE = "device"
MEET = timedelta(minutes=10)
"""How long a machine waits for the others, or for the store to answer."""


class Rendezvous(RendezvousHandler):
    """The rendezvous of one launch: all of its machines, once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store: TCPStore | None = None

    def get_backend(self) -> str:
        """Its name."""
        return NAME

    @property
    def use_agent_store(self) -> bool:
        """The ranks use the launcher's store."""
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        """Open the store, or connect to it, and wait until all machines have.

        Raises:
            StageError: not all did within MEET.
        """
        world = self._world
        try:
            self._store = self._store or TCPStore(
                LOOPBACK,
                world.port,
                world.nodes,
                is_master=world.node == 0,
                timeout=MEET,
                master_listen_fd=world.store_fd,
            )
        except DistError as error:
            whom = f"all {world.nodes} machines" if world.node == 0 else "the first machine"
            raise StageError(
                f"machine {world.node + 1} of {world.nodes} ({world.address}) did not meet {whom} at"
                f" {world.host}:{world.door_port} within {MEET.total_seconds() / 60:g} minutes."
                " Open that port between the machines, then run again."
            ) from error
        info = RendezvousStoreInfo(LOOPBACK, world.port)
        return RendezvousInfo(_prefixed(world, "launchers", self._store), world.node, world.nodes, info)

    def is_closed(self) -> bool:
        """Nobody closes it."""
        return False

    def set_closed(self) -> None:
        """Nobody comes a second time."""

    def num_nodes_waiting(self) -> int:
        """0: the number of machines is fixed, so none can be waiting."""
        return 0

    def get_run_id(self) -> str:
        """The id by which torchrun tells launches apart."""
        return self._world.secret("launch").hex()[:16]

    def shutdown(self) -> bool:
        """Nothing to do: the store ends with its process."""
        return True


def register(world: World) -> None:
    """Register this rendezvous with torchrun under ``NAME``; once per process."""

    def create(_: RendezvousParameters) -> RendezvousHandler:
        return Rendezvous(world)

    rendezvous_handler_registry.register(NAME, create)


def store(world: World) -> Store:
    """The store as a rank uses it."""
    return _prefixed(world, "ranks", TCPStore(LOOPBACK, world.port, is_master=False, timeout=MEET))


def agree_on_device(store: Store, rank: int, world: World, cuda: bool) -> None:
    """Check that this process computes on the same kind of device as rank 0; otherwise their collectives would hang.

    A machine may have GPUs that its torch cannot use, for example with an old driver. Rank 0 publishes its own choice.

    Raises:
        StageError: the devices differ.
    """
    if rank == 0:
        store.set(DEVICE, str(cuda))
    elif store.get(DEVICE).decode() != str(cuda):
        here, there = ("GPUs", "the CPU") if cuda else ("the CPU", "GPUs")
        raise StageError(
            f"{world.address} computes on {here} and the first machine on {there}, as torch sees no GPU on one of them."
            ' Check the driver there (nvidia-smi), or set [model] device = "cpu".'
        )


def _prefixed(world: World, whose: str, store: Store) -> Store:
    return PrefixStore(world.secret(whose).hex(), store)


def use_interface(address: str) -> None:
    """Have gloo and nccl use the interface that has ``address``, unless the environment names one."""
    for name, found in psutil.net_if_addrs().items():
        if any(known.address.partition("%")[0] == address for known in found):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")
            return
