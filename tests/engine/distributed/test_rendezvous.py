"""Machines that do not meet say so, in a sentence."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]  # public, not declared so

from engine.distributed import rendezvous
from engine.distributed import world as worlds
from engine.errors import StageError


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits."""
    monkeypatch.setattr(rendezvous, "MEET", timedelta(milliseconds=10))


@pytest.mark.usefixtures("hasty")
def test_machines_that_do_not_meet_say_which_and_where() -> None:
    world, listener = worlds.begin(1, "cpu", "/p", nodes=2, host="10.0.0.1", door_port=29400)
    where = "10.0.0.1:29400 within 0.000166667 minutes"
    with pytest.raises(StageError, match=r"machine 1 of 2 \(10\.0\.0\.1\) did not meet all 2 machines at ") as caught:
        rendezvous.Rendezvous(world).next_rendezvous()
    assert where in str(caught.value)
    listener.detach()  # it was the store's
    with pytest.raises(StageError, match=r"machine 2 of 2 \(10\.0\.0\.2\) did not meet the first machine at 10"):
        rendezvous.Rendezvous(msgspec.structs.replace(world.on(1, "10.0.0.2"), port=world.port)).next_rendezvous()


def test_a_machine_whose_driver_torch_cannot_use_is_named_at_once() -> None:
    world, listener = worlds.begin(1, "auto", "/p", nodes=2)
    listener.close()
    store, there = HashStore(), world.on(1, "10.0.0.2")
    rendezvous.agree_on_device(store, 0, world, cuda=True)
    rendezvous.agree_on_device(store, 1, there, cuda=True)
    with pytest.raises(StageError, match=r"10\.0\.0\.2 computes on the CPU and the first machine on GPUs, as torch"):
        rendezvous.agree_on_device(store, 1, there, cuda=False)


def test_a_launch_reads_no_other_ones_keys_nor_ranks_those_of_launchers() -> None:
    store, made = HashStore(), [worlds.begin(1, "cpu", "/p") for _ in range(2)]
    for _, listener in made:
        listener.close()
    (one, _), (other, _) = made
    rendezvous._prefixed(one, "ranks", store).set("key", "value")
    assert rendezvous._prefixed(one, "ranks", store).check(["key"])
    assert not rendezvous._prefixed(one, "launchers", store).check(["key"])
    assert not rendezvous._prefixed(other, "ranks", store).check(["key"])
