"""Several processes for one stage: rank 0 runs it, the others carry out its orders.

Only rank 0 opens the store and runs a stage's code. It hands out work in two ways: ``map_batches`` deals whole
batches, one to each process, and gives the results back in the order of the batches, so that they are the same for
any number of processes; ``run_in_step`` has every process run the same function at the same time, for training. In a
child of one process both are plain calls. torchrun (``engine.distributed.torchrun``) starts the processes and ends
all of them when one fails.

Processes may be on several machines (``engine.distributed.world``). Their messages are authenticated, and paths in them
are translated to those of the receiving machine (``messages``, ``shared_paths``).

An exception in a process ends all of them; the stage resumes from its rows when it is run again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from engine.distributed.world import World
from engine.errors import ConfigError, StageError
from engine.processes.exit_reason import ran_out_of_memory

if TYPE_CHECKING:
    from engine.distributed.messages import Messages

A = TypeVar("A")
R = TypeVar("R")

FOREVER = timedelta(days=30)
"""How long a process waits for an order: rank 0 may be busy for hours, and torchrun ends the others if it dies."""
ORDINARY = timedelta(minutes=30)
"""Timeout of a collective within a step: a process that has not arrived by then hangs, and all are ended."""
END_S = 10.0
"""How long a process that lost its peer waits to be ended by torchrun, so that the peer is reported as the cause."""
BROKEN = 3
"""Rank 0's exit code when the others must be ended by force."""

_size = 1
_broken = False
_messages: Messages | None = None  # over a process group of their own; tensors of a step use the default group


@dataclass(frozen=True)
class _Spread:
    """An order: one batch for each process."""

    function: Callable[[Any], Any]
    items: Sequence[Any]


@dataclass(frozen=True)
class _Together:
    """An order: a function that all processes run at the same time."""

    function: Callable[[Any], None]
    argument: Any


def rank() -> int:
    """This process's rank; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """The index of this process's GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def started() -> int:
    """The number of processes that torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def size() -> int:
    """The number of processes that work together now."""
    return _size


def check(processes: int, device: str, machines: int = 1) -> None:
    """Check that ``processes`` processes run, each with a GPU of its own on this machine where GPUs are used.

    Args:
        processes: on all machines.

    Raises:
        StageError, ConfigError: names the actual and the configured number, and the fix.
    """
    if started() != processes:
        raise StageError(
            f"{started()} process{'es' if started() > 1 else ''} started, but [launch] processes = {processes}"
            f"{f' in all on {machines} machines' if machines > 1 else ''}. Start the stage with `middo-tui run`."
        )
    require_gpus(processes // machines, device, machines)


def require_gpus(processes: int, device: str, machines: int = 1) -> None:
    """Check that each of this machine's ``processes`` can have a GPU of its own, where it needs one.

    Args:
        machines: how many machines have as many processes. With several, even a single process on each takes the GPU
            of its local rank, so [model] device must not name one.

    Raises:
        ConfigError: names the actual and the configured number, and the fix.
    """
    if processes * machines == 1 or device == "cpu":
        return
    if ":" in device:
        each = f" on each of {machines} machines" if machines > 1 else ""
        raise ConfigError(
            f'config.toml: [model] device = "{device}" names one GPU, but [launch] processes = {processes}{each}.'
            ' Set device = "auto": each process takes its own GPU; CUDA_VISIBLE_DEVICES says which there are.'
        )
    import torch

    there = torch.cuda.device_count()
    if 0 < there < processes:
        raise ConfigError(
            f"config.toml: [launch] processes = {processes}, but torch sees {there} GPU{'s' if there > 1 else ''}."
            f" Set it to {there} or less."
        )


def join(world: World | None) -> None:
    """Set up the process groups; does nothing in a process that is alone."""
    global _size, _messages
    if world is None:
        return
    import torch
    from torch import distributed

    from engine.distributed import rendezvous
    from engine.distributed.messages import Messages

    rendezvous.use_interface(world.address)
    cuda = world.device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local_rank())
    store = rendezvous.store(world)
    rendezvous.agree_on_device(store, rank(), world, cuda)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        timeout=ORDINARY,
        store=store,
        rank=rank(),
        world_size=started(),
    )
    _messages = Messages(world, rank(), distributed.new_group(backend="gloo", timeout=FOREVER))
    _size = distributed.get_world_size()


def dismiss() -> int:
    """Rank 0: end the other ranks. Returns the exit code for this process."""
    if _broken:
        return BROKEN  # torchrun sees this exit code and ends the others, which would wait forever
    if _size > 1:
        _tell(None)
        _leave()
    return 0


def serve() -> int:
    """Other ranks: run rank 0's orders until it ends them. Returns the exit code."""
    while (order := _hear()) is not None:
        if isinstance(order, _Spread):
            _give(order.function(order.items[rank()]) if rank() < len(order.items) else None)
        else:
            with _blaming_the_dead():
                order.function(order.argument)
    _leave()
    return 0


def map_batches(function: Callable[[A], R], items: Iterable[A]) -> Iterator[R]:
    """``function`` of each item, in order; computed by all processes, each taking the next item.

    Args:
        function: a module-level function, or a partial of one with picklable arguments.
        items: picklable; neighbouring items should take about the same time.
    """
    global _broken
    if _size == 1:
        yield from map(function, items)
        return
    rest = iter(items)
    while part := list(islice(rest, _size)):
        _broken = True  # until all have answered
        _tell(_Spread(function, part))
        found = _collect(function(part[0]))
        _broken = False
        yield from found[: len(part)]


@contextmanager
def run_in_step(function: Callable[[A], None], argument: A) -> Iterator[None]:
    """The other processes run ``function(argument)`` while this one runs the block with matching collective calls."""
    global _broken
    if _size == 1:
        yield
        return
    _tell(_Together(function, argument))
    _broken = True
    with _blaming_the_dead():
        yield
    _broken = False


def broadcast(word: R | None = None) -> R | None:
    """Inside ``run_in_step``: rank 0's value, in every process."""
    if _size == 1:
        return word
    if rank() == 0:
        _tell(word)
        return word
    said: R | None = _hear()
    return said


def gather(mine: R) -> list[R]:
    """Inside ``run_in_step``: every process's value, by rank, in rank 0, which waits for them; empty in the others."""
    if _size == 1:
        return [mine]
    if rank() == 0:
        return _collect(mine)
    _give(mine)
    return []


def _tell(what: object) -> None:
    with _blaming_the_dead():
        _joined().order(what)


def _hear() -> Any:
    with _blaming_the_dead():
        return _joined().hear()


def _collect(mine: Any) -> list[Any]:
    with _blaming_the_dead():
        return _joined().answers(mine)


def _give(mine: Any) -> None:
    with _blaming_the_dead():
        _joined().answer(mine)


def _joined() -> Messages:
    if _messages is None:
        raise RuntimeError("ranks.join comes first")
    return _messages


def _leave() -> None:
    global _size, _messages
    from torch import distributed

    distributed.destroy_process_group()
    _size, _messages = 1, None


@contextmanager
def _blaming_the_dead() -> Iterator[None]:
    """On a lost connection, wait to be ended by torchrun, which knows which process died first."""
    try:
        yield
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            threading.Event().wait(END_S)
        raise
