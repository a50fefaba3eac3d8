"""``middo-tui doctor --nodes``: have the other machines join without a run, and report what is found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.config.schema import Config
from engine.doctor import machines as doctor
from engine.doctor.finding import Finding, refused
from engine.errors import MiddoError
from engine.nodes import machine_facts
from engine.runtime.machines import POLL_S, Machines

AGAIN = "the doctor has seen this machine, which waits for the run now"
MEASURED_S = 5.0
"""Maximum seconds spent on measuring the network once the machines are ready."""


def muster(config: Config, project: Path, wait_s: float, told: Callable[[str], None]) -> Iterator[Finding]:
    """Wait for the machines of [launch] nodes. Those that join wait for the run afterwards.

    Args:
        wait_s: maximum wait in seconds. told: called with a line on how to join.
    """
    try:
        held = Machines(config, project)
    except MiddoError as error:
        yield doctor.held(config, project) or refused("machines", error)
        return
    try:
        until = time.monotonic() + wait_s
        if held.missing():
            told(f"{held.waiting} …")
        while held.missing() and time.monotonic() < until:
            time.sleep(POLL_S)
            yield from _refusals(held)
        _await_figures(held)
        yield from _refusals(held)
        facts = machine_facts.read(project, held.pid)
        if facts is not None:
            for one in doctor.joined(facts):
                bad = one.name == "machines" and bool(facts.waiting)
                yield Finding(one.name, one.text, bad, one.fix, one.facts)
    finally:
        held.close(AGAIN, failed=False, again=True)


def _refusals(held: Machines) -> Iterator[Finding]:
    """What the door has logged about machines that were refused."""
    for line, level in held.lines():
        if level != "info":
            yield Finding("machine", line, bad=True, fix="")


def _await_figures(held: Machines) -> None:
    until = time.monotonic() + MEASURED_S
    while time.monotonic() < until and any(not one.measured for one in held.door.machines()):
        time.sleep(POLL_S)
    held.note()
