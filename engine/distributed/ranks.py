"""Several processes for one stage: rank 0 runs it, the others do what it hands them.

Only rank 0 opens the store and runs a stage's code. It hands out work in two ways: ``map_batches`` deals whole
batches, one to each process, and gives the results back in the order of the batches, so that they are the same for
any number of processes; ``run_in_step`` has every process run the same function at the same time, for training. In a
child of one process both are plain calls. torchrun (``engine.distributed.torchrun``) starts the processes and ends
all of them when one fails.

Whatever a process raises while the others wait for it ends them all; the stage goes on from its rows when it is run
again.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from engine.errors import ConfigError, StageError

A = TypeVar("A")
R = TypeVar("R")

FOREVER = timedelta(days=30)
"""How long a process waits for an order: rank 0 may be busy on its own for hours, and torchrun sees to the dead."""
ORDINARY = timedelta(minutes=30)
"""How long it waits for another in the middle of a step: who does not come then hangs, and all are ended."""
END_S = 10.0
"""How long a process that lost another waits for torchrun to end it, so that the lost one is named as the cause."""
BROKEN = 3
"""Rank 0's exit code when the others must be ended by force."""

_size = 1
_broken = False
_orders: Any = None  # the group that orders and answers go through; tensors of a step go through the default one


@dataclass(frozen=True)
class _Spread:
    """An order: one batch for each process."""

    function: Callable[[Any], Any]
    items: Sequence[Any]


@dataclass(frozen=True)
class _Together:
    """An order: a function that all processes run together."""

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


def check(processes: int, device: str) -> None:
    """Check that ``processes`` processes run, each with a GPU of its own.

    Raises:
        StageError, ConfigError: names the actual and the configured number, and the fix.
    """
    if started() != processes:
        raise StageError(
            f"{started()} process{'es' if started() > 1 else ''} started, but [launch] processes = {processes}."
            " Start the stage with `middo-tui run`."
        )
    if processes == 1 or device == "cpu":
        return
    if ":" in device:
        raise ConfigError(
            f'config.toml: [model] device = "{device}" names one GPU, but [launch] processes = {processes}.'
            ' Set device = "auto": each process takes its own GPU.'
        )
    import torch

    there = torch.cuda.device_count()
    if 0 < there < processes:
        raise ConfigError(
            f"config.toml: [launch] processes = {processes}, but torch sees {there} GPU{'s' if there > 1 else ''}."
            f" Set it to {there} or less."
        )


def join(device: str) -> None:
    """Set up the process groups; does nothing without torchrun."""
    global _size, _orders
    if started() == 1:
        return
    import torch
    from torch import distributed

    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local_rank())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=ORDINARY)
    _orders = distributed.new_group(backend="gloo", timeout=FOREVER)
    _size = distributed.get_world_size()


def dismiss() -> int:
    """Rank 0: end the other ranks. Returns the exit code for this process."""
    if _broken:
        return BROKEN  # the others would wait forever; torchrun ends them when it sees this exit code
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
        function: a function of a module, or a partial of one, with arguments that can be pickled.
        items: what can be pickled; neighbours should cost about the same.
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


def barrier() -> None:
    """Inside ``run_in_step``: rank 0 waits until every process has reached this point."""
    if _size > 1:
        if rank() == 0:
            _collect(None)
        else:
            _give(None)


def _tell(what: object) -> None:
    from torch import distributed

    with _blaming_the_dead():
        distributed.broadcast_object_list([what], src=0, group=_orders)


def _hear() -> Any:
    from torch import distributed

    heard: list[Any] = [None]
    with _blaming_the_dead():
        distributed.broadcast_object_list(heard, src=0, group=_orders)
    return heard[0]


def _collect(mine: Any) -> list[Any]:
    from torch import distributed

    found: list[Any] = [None] * _size
    with _blaming_the_dead():
        distributed.gather_object(mine, found, dst=0, group=_orders)
    return found


def _give(mine: Any) -> None:
    from torch import distributed

    with _blaming_the_dead():
        distributed.gather_object(mine, None, dst=0, group=_orders)


def _leave() -> None:
    global _size
    from torch import distributed

    distributed.destroy_process_group()
    _size = 1


@contextmanager
def _blaming_the_dead() -> Iterator[None]:
    """On a lost connection, wait for torchrun to end this process, because it knows which process died first."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        threading.Event().wait(END_S)
        raise
