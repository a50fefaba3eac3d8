"""The other machines of a run, as its worker sees them: it waits for them, starts stages there, and notices their end.

The door has threads of its own; their log lines wait in a queue until the worker writes them.
"""

from __future__ import annotations

import os
import queue
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.config.launch import Launch
from engine.config.schema import Config
from engine.distributed import world as worlds
from engine.distributed.torchrun import NO_SPACE
from engine.distributed.world import World
from engine.errors import ConfigError
from engine.machine import gauges
from engine.models import locate
from engine.nodes import handshake, machine_facts, messages
from engine.nodes.channel import SILENT_S, ConnectionLost
from engine.nodes.door import Door, RunNeeds
from engine.nodes.machine import OtherMachine
from engine.nodes.machine_versions import this_machine
from engine.processes.exit_reason import how_ended

POLL_S = 0.2


def models(config: Config, project: Path) -> tuple[list[messages.NeededModel], list[Path]]:
    """The models that every machine must have, with fingerprints; and the folders of those inside the project, which
    the machines fetch. A folder is named by its absolute path. The embedded models are in every installation, so they
    count as neither.
    """
    names = [config.model.name]
    if config.judge.model == "teacher" and config.teacher.backend != "openai":
        names.append(config.teacher.model)
    needed: list[messages.NeededModel] = []
    inside: list[Path] = []
    for name in dict.fromkeys(name for name in names if name and name not in locate.DEMO):
        folder = locate.on_disk(name, project)
        if folder is not None and folder.is_relative_to(project.resolve()):
            inside.append(folder)
            continue
        known = locate.fingerprint(locate.ModelRef(folder)) if folder is not None else ""
        needed.append(messages.NeededModel(_called(name, project), known))
    return needed, inside


def extras(config: Config, gpus: bool) -> Iterator[str]:
    """Optional packages that the run uses, so their versions must match (``machine_versions.EXTRAS``)."""
    if gpus and config.model.device != "cpu" and config.train.liger != "off":
        yield "liger-kernel"
    if config.train.method == "qlora":
        yield "bitsandbytes"
    if config.model.attention == "flash_attention_2":
        yield "flash-attn"


def sharing(config: Config, there: int) -> int:
    """With how many of ``there`` machines to train: the largest number among which the batches of a step divide evenly.
    A step has as many batches as with all machines of [launch] nodes, so that its size does not change. At least 1.
    """
    batches = config.launch.nodes * config.train.gradient_accumulation
    return next(machines for machines in range(there, 0, -1) if batches % machines == 0)


def _called(name: str, project: Path) -> str:
    return name if name in locate.DEMO else str(locate.local(name, project) or name)


class Machines:
    """The other machines of one run. They may join until ``close``.

    Raises:
        ConfigError: the token is missing, or [launch] rendezvous is no address of this machine with a free port.
    """

    def __init__(self, config: Config, project: Path) -> None:
        self.project = project
        self.pid = os.getpid()
        self.launch = config.launch
        self._said: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._part: list[OtherMachine] = []  # those that take part in the current launch
        self._wanted = config.launch.nodes - 1  # how many others the next launch should have
        self._ready, self._since = -1, 0.0  # how many others are ready, and since when
        self._doing = self._waiting = self._fewer = ""
        self._late = False  # a machine left just before the current launch
        self._facts: machine_facts.MachinesFacts | None = None
        name = config.launch.token_env
        self._secret = handshake.stretched(handshake.token(name, os.environ.get(name)))
        self._listener = open_port(config)
        self.host, self.port = self._listener.getsockname()[:2]
        gpus = gauges.visible_gpus()
        about = this_machine(gauges.names(gpus), gauges.uuids(gpus))
        needed, inside = models(config, project)
        needs = RunNeeds(
            config.launch.nodes,
            config.launch.processes,
            config.model.device,
            project.resolve(),
            _called(config.model.name, project),
            tuple(needed),
            tuple(inside),
            tuple(extras(config, bool(about.gpus))),
        )
        self.door = Door(self._listener, self._secret, about, needs, lambda line, level: self._said.put((line, level)))
        self.door.open()

    def lines(self) -> list[tuple[str, str]]:
        """Take the door's queued log lines, each with its level."""
        found = []
        while not self._said.empty():
            found.append(self._said.get())
        return found

    def missing(self, patience: Launch | None = None) -> bool:
        """Whether the run has to wait for machines; records what it waits for (``waiting``).

        Args:
            patience: [launch], which says how many suffice and after how long. Machines that are getting ready are
                waited for in any case. None: all are needed.
        """
        here, nodes = self.door.machines(), self.launch.nodes
        ready = sum(machine.ready for machine in here)
        if ready != self._ready:
            self._ready, self._since = ready, time.monotonic()
        suffice = patience is not None and ready + 1 >= patience.min_nodes and ready == len(here)
        over = suffice and patience is not None and time.monotonic() - self._since >= patience.wait_s
        absent = 0 if over else nodes - 1 - ready
        self._waiting = ""
        if absent:
            ways = f": run `middo-tui join {self.host}:{self.port}` there"
            if patience is not None and suffice:
                ways += f"; after {patience.wait_s} s it goes on with {ready + 1} of {nodes}"
            elif len(here) == nodes - 1:
                ways = " to get ready"
            self._waiting = f"waiting for {absent} of {nodes} machines{ways}"
        self._wanted = ready
        self.note()
        return absent > 0

    @property
    def waiting(self) -> str:
        """What ``missing`` found: a sentence without a full stop; "": nothing is waited for."""
        return self._waiting

    def note(self) -> None:
        """Write what is known for the screens, if it has changed; skipped on a full disk."""
        facts = machine_facts.MachinesFacts(
            self.pid,
            self.launch.nodes,
            f"{self.host}:{self.port}",
            self._waiting,
            tuple(self._of(machine) for machine in self.door.machines()),
            self._fewer,
        )
        if facts != self._facts:
            with suppress(OSError):
                machine_facts.write(self.project, facts)
                self._facts = facts

    def _of(self, machine: OtherMachine) -> machine_facts.MachineFacts:
        doing = "joining" if not machine.ready else self._doing if machine in self._part else "ready"
        return machine_facts.MachineFacts(
            machine.node + 1,
            machine.name,
            machine.about.gpus,
            machine.about.nccl,
            doing,
            machine.round_trip_s,
            machine.bytes_per_s,
        )

    def choose(self, config: Config, stages: Sequence[str], round: int) -> int:
        """Choose which machines take part in a launch of these stages: all that are ready, or as many of them as can
        share a training step. Returns their number, this machine included.
        """
        there = [machine for machine in self.door.machines() if machine.ready]
        self._late = len(there) < self._wanted
        chosen = sharing(config, len(there) + 1) if "train" in stages else len(there) + 1
        self._part, self._doing = there[: chosen - 1], f"{', '.join(stages)} of round {round}"
        self._fewer = ""
        if chosen < self.launch.nodes:
            self._fewer = f"goes on with {chosen} of {self.launch.nodes} machines"
            rest = "" if chosen > len(there) else f", since {len(there) + 1} cannot share the batches of a step"
            self._said.put((f"{self._fewer}{rest}: {self._doing}", "warning"))
        self.note()
        return chosen

    def begin(self, processes: int, device: str) -> tuple[World, socket.socket]:
        """Start a launch on the chosen machines. Returns this machine's World, and the socket that its launcher
        inherits.

        Args:
            processes: on each machine. device: [model] device.
        """
        salt = secrets.token_hex(16)
        world, listener = worlds.begin(
            processes,
            device,
            str(self.project),
            nodes=len(self._part) + 1,
            host=self.host,
            door_port=self.port,
            key=handshake.launch_key(self._secret, salt),
        )
        self.door.hand_out(world.secret("door"), world.port)
        for node, machine in enumerate(self._part, 1):
            theirs = msgspec.structs.replace(world.on(node, ""), key="")
            with suppress(ConnectionLost):  # reported by ``wrong``
                machine.begin(messages.Begin(msgspec.json.encode(theirs).decode(), salt, self._doing))
        return world, listener

    def wrong(self) -> str:
        """What ended the current launch on another machine: a sentence without a full stop; "": nothing did."""
        here = self.door.machines()
        if self._late:
            return f"only {len(self._part) + 1} of {self.launch.nodes} machines were there when it began"
        for machine in self._part:
            who = f"machine {machine.node + 1} of {self.launch.nodes}, {machine.name},"
            if machine not in here:
                return f"{who} {machine.left or 'is gone'}"
            if machine.ended is not None and machine.ended.code:
                return f"{who} failed: {_reason(machine.ended)}"
        return ""

    def end(self, grace_s: float, kindly: bool, beat: Callable[[], None]) -> None:
        """End the launch on the other machines and wait for that; disconnects a machine that does not end it.

        Args:
            grace_s: seconds between SIGTERM and SIGKILL.
            kindly: the launch has succeeded here, so it is about to end there by itself.
            beat: called while waiting.
        """
        self.door.hand_out(None)
        part, self._part = self._part, []
        if not kindly:
            _halt(part, grace_s)
        self._await(part, SILENT_S if kindly else grace_s + SILENT_S, beat)
        if kindly and (late := _unended(part)):
            _halt(late, grace_s)
            self._await(late, grace_s + SILENT_S, beat)
        for machine in _unended(part):
            machine.left = machine.left or "did not end its part of a stage"
            machine.channel.close()
        self._doing = self._fewer = ""
        self._late = False
        self.note()

    def _await(self, part: Sequence[OtherMachine], within_s: float, beat: Callable[[], None]) -> None:
        until = time.monotonic() + within_s
        while time.monotonic() < until and any(m in self.door.machines() for m in _unended(part)):
            beat()
            time.sleep(POLL_S)

    def close(self, why: str, failed: bool, again: bool = False) -> None:
        """End the run for all machines. ``again``: they may reconnect for the next one at once."""
        self.door.close(why, failed, again)
        machine_facts.remove(self.project, self.pid)


def open_port(config: Config) -> socket.socket:
    """The socket at [launch] rendezvous, listening.

    Raises:
        ConfigError: it is no address of this machine, or the port is taken.
    """
    try:
        return worlds.listen(*config.launch.address)
    except ConfigError as error:
        raise ConfigError(f"config.toml: [launch] rendezvous = {error}") from None


def _unended(part: Sequence[OtherMachine]) -> list[OtherMachine]:
    return [machine for machine in part if machine.ended is None]


def _halt(part: Sequence[OtherMachine], grace_s: float) -> None:
    for machine in _unended(part):
        with suppress(ConnectionLost):
            messages.send(machine.channel, messages.Halt(grace_s))


def _reason(ended: messages.Ended) -> str:
    if ended.code == NO_SPACE:
        return "its disk is full"
    return ended.said.removesuffix(".") or f"its processes {how_ended(ended.code)}"
