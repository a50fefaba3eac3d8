"""A worker's side of several machines on the loopback interface, for tests: a project, and what its log says."""

from __future__ import annotations

import os
import socket

from engine.loop import RunStages
from engine.nodes import caller, machine_facts
from engine.nodes.channel import Channel
from engine.nodes.machine_versions import this_machine
from engine.runtime.spread import Spread
from tests.support.doors import join_at

STEP = RunStages(0, ("score", "judge"))
HERE = this_machine((), ())
CONFIG = (
    '[model]\nname = "demo:base"\ndevice = "cpu"\n[launch]\nnodes = 2\nprocesses = 2\nrendezvous = "127.0.0.1:{}"\n'
)
lines: list[tuple[str, str]] = []


def log(line: str, level: str) -> None:
    lines.append((line, level))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def joined(spread: Spread) -> tuple[Channel, caller.MessageReader]:
    """A machine that is there and ready."""
    held = spread.machines
    assert held is not None
    channel, _ = join_at(held.host, held.port, HERE)
    reader = caller.MessageReader(channel)
    while held.missing():
        pass
    return channel, reader


def setting(spread: Spread, key: str, value: int) -> None:
    """Set a key of [launch] while the worker runs."""
    file = spread.machines.project / "config.toml"  # type: ignore[union-attr]
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith(f"{key} =")]
    file.write_text("\n".join([*lines, f"{key} = {value}", ""]), encoding="utf-8")


def known(spread: Spread) -> machine_facts.MachinesFacts:
    """What the screens are told."""
    facts = machine_facts.read(spread.machines.project, os.getpid())  # type: ignore[union-attr]
    assert facts is not None
    return facts


def until_wrong(spread: Spread) -> str:
    while not (found := spread.wrong()):
        pass
    return found
