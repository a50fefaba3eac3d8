"""The doctor's findings on several machines: address and token of this one, and what is known of the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from engine.config.schema import Config
from engine.distributed import world as worlds
from engine.doctor.finding import Finding, refused
from engine.errors import MiddoError, StoreError
from engine.nodes import handshake, machine_facts
from engine.nodes.machine_facts import MachineFacts, MachinesFacts
from engine.store import read
from engine.store.connect import reader

SLOW_BYTES_S = 100e6
"""Below this (a gigabit line and less) a training step mostly waits for the network."""


def findings(config: Config, project: Path) -> Iterator[Finding]:
    """Findings where [launch] nodes > 1. While a run of the project holds the address, what its worker knows."""
    if config.launch.nodes == 1:
        return
    try:
        handshake.token(config.launch.token_env, os.environ.get(config.launch.token_env))
    except MiddoError as error:
        yield refused("token", error)
    try:
        with worlds.listen(*config.launch.address) as listener:
            here = str(listener.getsockname()[0])
    except MiddoError as error:
        facts = _of_run(project)  # its worker holds the port; one that was killed may have left a note, but no port
        yield from [refused("machines", error)] if facts is None else joined(facts)
        return
    where = config.launch.rendezvous
    if here.startswith("127."):
        fix = f"other machines cannot reach {here}: set [launch] rendezvous to this machine's address in their network"
        yield Finding("machines", f"{config.launch.nodes}, this one waits at {where}", fix=fix)
        return
    fix = f"to try the others, run `middo-tui doctor {quote(str(project))} --nodes 60` here"
    yield Finding("machines", f"{config.launch.nodes}, this one waits at {where}", fix=fix)


def joined(facts: MachinesFacts) -> Iterator[Finding]:
    """What a run knows of its machines."""
    here = len(facts.machines) + 1
    fix = facts.waiting.partition(": ")[2]
    yield Finding("machines", f"{here} of {facts.nodes} are there, at {facts.address}", fix=fix)
    for machine in facts.machines:
        yield of_machine(machine)


def of_machine(machine: MachineFacts) -> Finding:
    """One of the other machines: its GPUs, round trip and bandwidth."""
    gpus = ", ".join(f"{count} × {name}" for name, count in Counter(machine.gpus).items()) or "no GPU"
    parts = [machine.name, gpus, *([f"NCCL {machine.nccl}"] if machine.nccl else [])]
    if machine.round_trip_s is not None:
        parts.append(f"{1e3 * machine.round_trip_s:.1f} ms there and back")
    if machine.bytes_per_s is not None:
        parts.append(f"about {machine.bytes_per_s / 1e6:,.0f} MB/s")
    slow = machine.bytes_per_s is not None and machine.bytes_per_s < SLOW_BYTES_S
    fix = "training in step will mostly wait for the network; method = lora sends the least" if slow else ""
    numbers = {"round_trip_s": machine.round_trip_s, "bytes_per_s": machine.bytes_per_s}
    return Finding(f"machine {machine.number}", " · ".join(parts), fix=fix, facts=numbers)


def held(config: Config, project: Path) -> Finding | None:
    """Why the machines cannot be tried now: a run of this project holds the address. None: it does not."""
    try:
        with worlds.listen(*config.launch.address):
            return None
    except MiddoError:
        facts = _of_run(project)
    if facts is None:
        return None
    here = f"{len(facts.machines) + 1} of {facts.nodes} are there"
    fix = f"to try them without it, first run `middo-tui pause {quote(str(project))}`"
    return Finding("machines", f"a run of this project has {facts.address}, {here}", bad=True, fix=fix)


def _of_run(project: Path) -> MachinesFacts | None:
    """What the project's worker recorded; None: no worker runs that knows other machines."""
    try:
        db = reader(project)
    except StoreError:  # not created yet, or reported as the finding on the store
        return None
    try:
        worker = read.worker(db)
    finally:
        db.close()
    return machine_facts.read(project, worker.pid) if worker is not None else None
