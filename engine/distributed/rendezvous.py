"""How the launchers of several machines meet, and their ranks after them: in a TCPStore on the loopback interface.

torchrun's own ways (``c10d``, ``static``) open the store on every interface of the first machine, and c10d's unpickles
what it finds there. This one is torch's static rendezvous, for a number of machines that is known, over a socket that
was bound before: https://docs.pytorch.org/docs/stable/elastic/rendezvous.html. Other machines come through the door
(``engine.nodes.tunnel``). Keys carry a prefix, so that one launch does not read another one's.
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
"""How long a machine waits for the others, or for an answer of the store."""


class Rendezvous(RendezvousHandler):
    """The meeting of the machines of one launch: all of them, once."""

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
        """Open the store, or reach it, and wait until all machines have.

        Raises:
            StageError: they do not within MEET.
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
                " Let nothing between the machines block that port, then run again."
            ) from error
        info = RendezvousStoreInfo(LOOPBACK, world.port)
        return RendezvousInfo(_prefixed(world, "launchers", self._store), world.node, world.nodes, info)

    def is_closed(self) -> bool:
        """Nobody closes it."""
        return False

    def set_closed(self) -> None:
        """Nobody comes a second time."""

    def num_nodes_waiting(self) -> int:
        """Machines that came too late: the number is fixed."""
        return 0

    def get_run_id(self) -> str:
        """What torchrun tells launches apart by."""
        return self._world.secret("launch").hex()[:16]

    def shutdown(self) -> bool:
        """The store ends with its process."""
        return True


def register(world: World) -> None:
    """Make it known to torchrun, as ``NAME``; once per process."""

    def create(_: RendezvousParameters) -> RendezvousHandler:
        return Rendezvous(world)

    rendezvous_handler_registry.register(NAME, create)


def store(world: World) -> Store:
    """The store as a rank uses it."""
    return _prefixed(world, "ranks", TCPStore(LOOPBACK, world.port, is_master=False, timeout=MEET))


def agree_on_device(store: Store, rank: int, world: World, cuda: bool) -> None:
    """Check that this process computes on what rank 0 does: else they would wait for each other in different ways.

    A driver that torch cannot use leaves a machine with GPUs, and without them. Rank 0 only says what it does.

    Raises:
        StageError: it does not.
    """
    if rank == 0:
        store.set(DEVICE, str(cuda))
    elif store.get(DEVICE).decode() != str(cuda):
        here, there = ("GPUs", "the CPU") if cuda else ("the CPU", "GPUs")
        raise StageError(
            f"{world.address} computes on {here} and the first machine on {there}, as torch sees no GPU on one of them."
            ' Look there at the driver (nvidia-smi), or set [model] device = "cpu".'
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
