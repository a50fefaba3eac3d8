"""A run goes on with the machines that are there, as [launch] min_nodes and wait_s say."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from engine.config import schema as configs
from engine.distributed import world as worlds
from engine.distributed.world import World
from engine.loop import RunStages
from engine.nodes import caller, messages
from engine.runtime import machines
from engine.runtime.spread import Spread
from tests.support.doors import SECRET, WITHIN_S, join_at
from tests.support.spreads import HERE, STEP, joined, known, lines, log, setting, until_wrong

ALONE = "goes on with 1 of 2 machines"


@pytest.fixture
def three(spread: Spread) -> Iterator[Spread]:
    """A run on three machines that waits for nobody."""
    where = spread.machines
    assert where is not None
    spread.close("the test begins", failed=False)
    setting(spread, "nodes", 3)
    setting(spread, "wait_s", 0)
    made = Spread(configs.load(where.project), where.project, lock=-1)
    yield made
    made.close("the test is over", failed=False)


def test_it_waits_as_long_as_said_and_goes_on_alone_and_says_so(spread: Spread) -> None:
    assert spread.lacks_machines(STEP.stages, log)
    assert known(spread).waiting.endswith("; after 120 s it goes on with 1 of 2")
    setting(spread, "wait_s", 0)
    assert not spread.lacks_machines(STEP.stages, log)
    with spread.launching(STEP, death=5) as (command, handed):
        mine = worlds.read(handed[0])
        assert command[2] == "engine.distributed.torchrun"
    assert (mine.nodes, mine.size, mine.host) == (1, 2, worlds.LOOPBACK)
    assert (known(spread).waiting, known(spread).fewer) == ("", ALONE)
    assert spread.wrong() == ""
    lines.clear()
    spread.beat(log)
    assert lines == [(f"{ALONE}: score, judge of round 0", "warning")]
    spread.end(0.1, True, lambda: None)
    assert known(spread).fewer == ""


def test_one_process_alone_needs_no_launcher(spread: Spread) -> None:
    setting(spread, "wait_s", 0)
    setting(spread, "processes", 1)
    assert not spread.lacks_machines(STEP.stages, log)
    with spread.launching(STEP, death=5) as (command, handed):
        assert (command[2], handed) == ("engine.runtime.run_stage", [])
    assert known(spread).fewer == ALONE


def test_as_many_as_said_must_be_there(spread: Spread) -> None:
    setting(spread, "wait_s", 0)
    setting(spread, "min_nodes", 2)
    assert spread.lacks_machines(STEP.stages, log)
    assert known(spread).waiting.endswith("` there")
    joined(spread)
    assert not spread.lacks_machines(STEP.stages, log)


def test_who_is_getting_ready_is_waited_for_however_long_that_takes(spread: Spread) -> None:
    held = spread.machines
    assert held is not None
    setting(spread, "wait_s", 0)
    channel = caller.connect(held.host, held.port, 0.0, lambda _: None, lambda _: None)
    caller.introduce(channel, SECRET, HERE, "head", "TOKEN")
    while not held.door.machines():
        pass
    assert spread.lacks_machines(STEP.stages, log)
    assert known(spread).waiting == "waiting for 1 of 2 machines to get ready"
    channel.close()
    while held.door.machines():
        pass
    assert not spread.lacks_machines(STEP.stages, log)


def test_who_comes_later_takes_part_in_the_next_stages(spread: Spread) -> None:
    setting(spread, "wait_s", 0)
    assert not spread.lacks_machines(STEP.stages, log)
    with spread.launching(STEP, death=5):
        pass
    _, reader = joined(spread)
    assert [(one.doing, known(spread).fewer) for one in known(spread).machines] == [("ready", ALONE)]
    assert spread.wrong() == ""
    spread.end(0.1, True, lambda: None)
    assert not spread.lacks_machines(("verify",), log)
    with spread.launching(RunStages(0, ("verify",)), death=5):
        assert isinstance(reader.next(WITHIN_S), messages.Begin)
    assert known(spread).fewer == ""


def test_the_machines_that_are_there_are_numbered_without_a_gap(three: Spread) -> None:
    held = three.machines
    assert held is not None
    gone, _ = join_at(held.host, held.port, HERE)
    channel, welcome = join_at(held.host, held.port, HERE)
    assert (welcome.node, welcome.nodes) == (2, 3)
    reader = caller.MessageReader(channel)
    gone.close()
    while [machine.ready for machine in held.door.machines()] != [True]:
        pass
    assert not three.lacks_machines(STEP.stages, log)
    with three.launching(STEP, death=5) as (_, handed):
        mine, begun = worlds.read(handed[0]), reader.next(WITHIN_S)
    assert isinstance(begun, messages.Begin)
    theirs = msgspec.json.decode(begun.world, type=World)
    assert (mine.nodes, theirs.nodes, theirs.node) == (2, 2, 1)
    assert known(three).fewer == "goes on with 2 of 3 machines"
    channel.close()
    assert until_wrong(three).startswith(f"machine 3 of 3, {HERE.host} (127.0.0.1), closed the connection; run again")


def test_training_leaves_out_a_machine_that_cannot_share_a_step(three: Spread) -> None:
    held = three.machines
    assert held is not None
    file = held.project / "config.toml"
    file.write_text(f"[train]\ngradient_accumulation = 1\n{file.read_text(encoding='utf-8')}", encoding="utf-8")
    joined_channel, _ = join_at(held.host, held.port, HERE)
    while [machine.ready for machine in held.door.machines()] != [True]:
        pass
    assert not three.lacks_machines(("train",), log)
    lines.clear()
    with three.launching(RunStages(0, ("train",)), death=5):
        three.beat(log)
    said = "goes on with 1 of 3 machines, since 2 cannot share the batches of a step: train of round 0"
    assert (said, "warning") in lines
    joined_channel.close()


@pytest.mark.parametrize(
    ("nodes", "accumulation", "there", "used"), [(2, 8, 1, 1), (3, 1, 2, 1), (3, 2, 2, 2), (4, 1, 3, 2), (5, 3, 4, 3)]
)
def test_training_uses_the_most_machines_that_can_share_a_step(
    nodes: int, accumulation: int, there: int, used: int
) -> None:
    text = f"[train]\ngradient_accumulation = {accumulation}\n[launch]\nnodes = {nodes}\n"
    assert machines.sharing(configs.parse(text, "c"), there) == used
