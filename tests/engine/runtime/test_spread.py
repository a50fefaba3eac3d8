"""The worker's side of several machines, at a real door: it waits, starts, notices what goes wrong, and ends."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from engine.config import schema as configs
from engine.distributed import world as worlds
from engine.distributed.world import World
from engine.errors import ConfigError
from engine.nodes import caller, handshake, machine_facts, messages
from engine.nodes.fetching import fetch
from engine.processes.exit_reason import how_ended
from engine.runtime import machines
from engine.runtime.spread import Spread
from tests.support.doors import SECRET, WITHIN_S
from tests.support.spreads import CONFIG, HERE, STEP, joined, lines, log, setting, until_wrong


def test_it_waits_for_the_others_and_says_how_they_join(spread: Spread, first_machine: Path) -> None:
    held = spread.machines
    assert held is not None
    assert spread.lacks_machines(("score",), log)
    assert spread.lacks_machines(("score",), log)
    says = f"waiting for 1 of 2 machines: run `middo-tui join 127.0.0.1:{held.port}` there"
    says += "; after 120 s it goes on with 1 of 2"
    assert lines == [(says, "info")], "once"
    facts = machine_facts.read(first_machine, os.getpid())
    assert facts is not None
    assert (facts.nodes, facts.waiting, facts.machines) == (2, says, ())
    assert not spread.lacks_machines(("rewrite",), log), "one process: no other machine is needed"
    joined(spread)
    assert not spread.lacks_machines(("score",), log)
    spread.beat(log)
    assert lines[1:] == [(f"machine 2 of 2 joined: {HERE.host} (127.0.0.1)", "info")]
    facts = machine_facts.read(first_machine, os.getpid())
    assert facts is not None
    assert [(m.number, m.doing) for m in facts.machines] == [(2, "ready")]
    spread.close("done", failed=False)
    assert machine_facts.read(first_machine, os.getpid()) is None


def test_a_launch_begins_everywhere_with_one_key_that_is_not_sent(spread: Spread, first_machine: Path) -> None:
    held = spread.machines
    assert held is not None
    _, reader = joined(spread)
    checkpoint = first_machine / "artifacts" / "round-0" / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "adapter").write_text("weights")
    with spread.launching(STEP, death=5) as (command, handed):
        mine = worlds.read(handed[0])
        assert command[2:] == [
            "engine.distributed.torchrun",
            str(handed[0]),
            "5",
            "-1",
            str(first_machine),
            "0",
            "score,judge",
        ]
        begun = reader.next(WITHIN_S)
    assert isinstance(begun, messages.Begin)
    assert begun.what == "score, judge of round 0"
    assert mine.key not in begun.world
    theirs = msgspec.json.decode(begun.world, type=World)
    theirs = msgspec.structs.replace(theirs, key=handshake.launch_key(SECRET, begun.salt))
    assert (mine.node, theirs.node, theirs.size, theirs.key) == (0, 1, 4, mine.key)
    assert (theirs.host, theirs.door_port, theirs.store_fd) == (mine.host, mine.door_port, None)
    got = fetch(theirs.host, theirs.door_port, theirs.secret("door"), checkpoint, first_machine / "elsewhere")
    assert (got / "adapter").read_text() == "weights"
    assert machine_facts.read(first_machine, os.getpid()).machines[0].doing == "score, judge of round 0"  # type: ignore[union-attr]
    assert spread.wrong() == ""


def test_a_machine_that_is_killed_ends_the_launch_in_one_sentence(spread: Spread) -> None:
    channel, _ = joined(spread)
    with spread.launching(STEP, death=5):
        pass
    channel.close()
    who = f"machine 2 of 2, {HERE.host} (127.0.0.1),"
    assert until_wrong(spread) == (
        f"{who} closed the connection; run again to resume."
        " Join again there, or the run goes on without that machine after 120 s."
    )
    setting(spread, "min_nodes", 2)
    assert until_wrong(spread) == f"{who} closed the connection; run again to resume, and join again there."
    spread.end(0.1, False, lambda: None)
    assert spread.wrong() == ""


@pytest.mark.parametrize(
    ("code", "said", "why"),
    [
        (70, "rank 2 of 4 ran out of memory.", "rank 2 of 4 ran out of memory"),
        (75, "No space left", "its disk is full"),
        (-9, "", f"its processes {how_ended(-9)}"),
    ],
)
def test_processes_that_fail_on_another_machine_are_named(spread: Spread, code: int, said: str, why: str) -> None:
    channel, _ = joined(spread)
    with spread.launching(STEP, death=5):
        messages.send(channel, messages.Ended(code, said))
    assert f"{HERE.host} (127.0.0.1), failed: {why}; run again" in until_wrong(spread)


def test_the_end_is_waited_for_and_asked_for_where_this_machine_failed(spread: Spread) -> None:
    channel, reader = joined(spread)
    with spread.launching(STEP, death=5):
        pass
    beats: list[int] = []

    def beat() -> None:
        heard = [reader.next(WITHIN_S) for _ in range(2 if not beats else 0)]
        if heard:
            assert heard[1] == messages.Halt(3.0)
            messages.send(channel, messages.Ended(143, ""))
        beats.append(1)

    spread.end(3.0, False, beat)
    assert beats
    held = spread.machines
    assert held is not None
    assert len(held.door.machines()) == 1, "it stays for the next group"


def test_a_machine_that_does_not_end_its_part_is_sent_away_and_named_for_that(
    spread: Spread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "SILENT_S", 0.0)
    joined(spread)
    with spread.launching(STEP, death=5):
        pass
    spread.end(0.0, False, lambda: None)
    held = spread.machines
    assert held is not None
    while held.door.machines():
        pass
    spread.beat(log)
    assert lines[-1] == (f"machine 2 of 2, {HERE.host} (127.0.0.1), did not end its part of a stage", "warning")


def test_a_machine_that_left_just_before_is_noticed(spread: Spread) -> None:
    channel, _ = joined(spread)
    held = spread.machines
    assert held is not None
    channel.close()
    while held.door.machines():
        pass
    with spread.launching(STEP, death=5):
        assert "only 1 of 2 machines were there when it began; run again" in spread.wrong()


def test_a_machine_that_is_still_getting_ready_is_not_told_to_begin(spread: Spread) -> None:
    held = spread.machines
    assert held is not None
    channel = caller.connect(held.host, held.port, 0.0, lambda _: None, lambda _: None)
    caller.introduce(channel, SECRET, HERE, "head", "TOKEN")
    while not held.door.machines():
        pass
    with spread.launching(STEP, death=5):
        assert "only 1 of 2 machines were there when it began" in spread.wrong()
    channel.close()


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ('[model]\nname = "m"\n', ["liger-kernel"]),
        ('[model]\nname = "m"\ndevice = "cpu"\nattention = "flash_attention_2"\n', ["flash-attn"]),
        ('[train]\nmethod = "qlora"\nliger = "off"\n', ["bitsandbytes"]),
    ],
)
def test_packages_that_change_how_is_computed_are_compared_where_they_are_used(text: str, used: list[str]) -> None:
    assert list(machines.extras(configs.parse(text, "c"), gpus=True)) == used


def test_without_a_token_nothing_starts(first_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIDDO_JOIN_TOKEN")
    with pytest.raises(ConfigError, match="MIDDO_JOIN_TOKEN is not set"):
        Spread(configs.load(first_machine), first_machine, lock=-1)


def test_a_port_that_is_taken_and_an_address_of_another_machine_are_refused(
    spread: Spread, first_machine: Path
) -> None:
    with pytest.raises(ConfigError, match=r"\[launch\] rendezvous = 127\.0\.0\.1:\d+: cannot listen there: Address"):
        Spread(configs.load(first_machine), first_machine, lock=-1)
    other = configs.parse(CONFIG.replace("127.0.0.1:{}", "192.0.2.1:29400"), "config.toml")
    with pytest.raises(ConfigError, match=r"rendezvous = 192\.0\.2\.1:29400: cannot listen there: Cannot assign"):
        Spread(other, first_machine, lock=-1)


def test_machines_that_are_asked_for_later_need_another_run(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[launch]\nprocesses = 2\n", encoding="utf-8")
    spread = Spread(configs.load(tmp_path), tmp_path, lock=-1)
    assert not spread.lacks_machines(("score",), log)
    (tmp_path / "config.toml").write_text("[launch]\nprocesses = 2\nnodes = 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"nodes was set while the run went on\. Run again"):
        spread.lacks_machines(("score",), log)


def test_another_number_of_machines_needs_another_run(spread: Spread) -> None:
    setting(spread, "nodes", 3)
    with pytest.raises(ConfigError, match=r"nodes was set while the run went on\. Run again"):
        spread.lacks_machines(("score",), log)


def test_models_inside_the_project_are_fetched_and_others_are_told_by_their_whole_path(tmp_path: Path) -> None:
    project = tmp_path / "p"
    for place in (project / "own", tmp_path / "beside"):
        place.mkdir(parents=True)
        (place / "model.safetensors").write_bytes(b"")
    own = configs.parse('[model]\nname = "own"\n', "c")
    assert machines.models(own, project) == ([], [project / "own"])
    beside = configs.parse('[model]\nname = "../beside"\n', "c")
    ((needed,), inside) = machines.models(beside, project)
    assert (needed.name, bool(needed.fingerprint), inside) == (str(tmp_path / "beside"), True, [])
    demo = configs.parse('[model]\nname = "demo:base"\n[teacher]\nmodel = "org/big"\n[judge]\nmodel = "teacher"\n', "c")
    assert machines.models(demo, project) == ([messages.NeededModel("org/big", "")], [])
