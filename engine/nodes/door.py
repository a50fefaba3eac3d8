"""The door: the first machine's server, which admits the others, tracks who is there, and serves files.

Every connection has a thread. A stranger occupies at most one of ``MOST_CALLERS`` places for ``WITHIN_S`` seconds, and
an address that sent ``MOST_GUESSES`` wrong tokens cannot join for ``BARRED_S`` seconds. Machines that have joined
are not affected: the keys of a launch cannot be guessed.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from engine.nodes import handshake, messages, ports, sending, tunnel
from engine.nodes.channel import Channel, ConnectionLost
from engine.nodes.machine import OtherMachine
from engine.nodes.machine_versions import About, differences, shared

MOST_CALLERS = 32
"""Connections that have not shown yet who they are. One more takes the place of the oldest from the address that has
most: whoever knows the secret needs a place for a moment only, so holding them keeps nobody out.
"""
MOST_FILES = 64
"""Connections that fetch files at the same time."""
MOST_GUESSES = 10
BARRED_S = 60.0
PULSE_S = 3.0
"""Seconds between two pings of each machine."""
LOOK_S = 0.2
GOODBYE_S = 2.0


class RunNeeds(Struct, frozen=True):
    """What the run needs of every machine.

    nodes: the number of machines, this one included. processes: on each. device: [model] device.
    project: the folder on this machine. own: [model] name.
    models: what each machine must have. handed_out: folders of models inside the project, which are served.
    extras: optional packages that must match (``machine_versions.EXTRAS``).
    """

    nodes: int
    processes: int
    device: str
    project: Path
    own: str
    models: tuple[messages.NeededModel, ...] = ()
    handed_out: tuple[Path, ...] = ()
    extras: tuple[str, ...] = ()


class Door:
    """Listens from ``open`` to ``close``. ``said`` is called with a log line and its level, from the door's threads."""

    def __init__(
        self, listener: socket.socket, secret: bytes, about: About, offer: RunNeeds, said: Callable[[str, str], None]
    ) -> None:
        self.offer = offer
        self.about = about
        self._listener = listener
        self._secret = secret
        self._said = said
        self._lock = threading.Lock()
        self._machines: dict[int, OtherMachine] = {}
        self._files_key: bytes | None = None
        self._store_port: int | None = None
        self._callers: dict[Channel, str] = {}  # the oldest first, with their addresses
        self._fetchers = 0
        self._failures: dict[str, tuple[int, int, float]] = {}  # by address: calls, wrong tokens, since when
        self._turned_away: set[str] = set()  # names of machines that found no free place
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True, name="door") for run in (self._accept, self._pulse)]

    def open(self) -> None:
        """Start to accept connections."""
        self._listener.settimeout(LOOK_S)
        for thread in self._threads:
            thread.start()

    def close(self, why: str, failed: bool = False, again: bool = False) -> None:
        """Stop listening and say goodbye to every machine. ``again``: they may reconnect at once."""
        self._closed.set()
        with suppress(OSError):  # wakes ``accept``, but not on every system; there it takes LOOK_S
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for machine in self.machines():
            with suppress(ConnectionLost):
                messages.send(machine.channel, messages.Bye(why, failed, again), GOODBYE_S)
            machine.channel.finish()
        until = time.monotonic() + GOODBYE_S
        while (left := self.machines()) and time.monotonic() < until:
            time.sleep(0.01)
        for machine in left:
            machine.channel.close()

    def machines(self) -> list[OtherMachine]:
        """The machines that are connected, by number."""
        with self._lock:
            return [machine for _, machine in sorted(self._machines.items())]

    def hand_out(self, key: bytes | None, store: int | None = None) -> None:
        """Set who may fetch files and reach the rendezvous store: whoever knows ``key``, that of the current launch;
        None: nobody. ``store``: the store's port on the loopback interface.
        """
        self._files_key, self._store_port = key, store

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                channel = Channel(self._listener.accept()[0])
            except TimeoutError:
                continue
            except OSError:
                if self._closed.wait(LOOK_S):  # else: too many open files, or a caller that has gone already
                    return
                continue
            try:
                threading.Thread(target=self._caller, args=[channel], daemon=True, name="caller").start()
            except RuntimeError:  # this user may start no more threads at the moment
                channel.close()

    def _caller(self, channel: Channel) -> None:
        """Serve one connection from its first byte to its last."""
        try:
            address = channel.there
        except OSError:  # it has gone already
            channel.close()
            return
        try:
            self._give_place(channel, address)
            try:
                purpose = handshake.receive_caller(channel, self._secret_of, self._barred(address))
                with self._lock:
                    self._failures.pop(address, None)
            except (handshake.LaunchOver, handshake.Barred):
                return  # no attack: a launch that broke off leaves many of those, from a machine that will join again
            except ConnectionLost as error:
                self._failed(address, error, channel not in self._callers)
                return
            finally:
                with self._lock:
                    self._callers.pop(channel, None)
            if purpose == handshake.JOIN:
                self._machine(channel, address)
            elif purpose == handshake.FILES:
                self._files(channel)
            elif purpose == handshake.STORE and self._store_port is not None:
                tunnel.to_store(channel, self._store_port)
        except ConnectionLost:
            pass  # the loss of a machine is reported where it is known
        finally:
            channel.close()

    def _give_place(self, channel: Channel, address: str) -> None:
        """Give one more caller a place, if need be that of another one, who then gets ConnectionLost."""
        with self._lock:
            if len(self._callers) >= MOST_CALLERS:
                (most, _), *_ = Counter(self._callers.values()).most_common(1)
                oldest = next(held for held, its in self._callers.items() if its == most)
                del self._callers[oldest]
                oldest.close()
            self._callers[channel] = address

    def _barred(self, address: str) -> bool:
        """Whether nobody may join from there now."""
        with self._lock:
            _, guesses, at = self._failures.get(address, (0, 0, 0.0))
        return guesses >= MOST_GUESSES and time.monotonic() - at < BARRED_S

    def _failed(self, address: str, error: ConnectionLost, evicted: bool) -> None:
        guess, now = isinstance(error, handshake.WrongToken), time.monotonic()
        with self._lock:
            calls, guesses, at = self._failures.pop(address, (0, 0, 0.0))
            if now - at >= BARRED_S:
                calls = guesses = 0
            if len(self._failures) >= 10 * MOST_CALLERS:
                del self._failures[next(iter(self._failures))]  # the one that failed longest ago
            self._failures[address] = (calls + 1, guesses + guess, now if guess or not calls else at)
        if not calls or (guess and guesses + 1 in (1, MOST_GUESSES)):  # not for every try
            why = "said nothing, and others needed its place" if evicted else str(error)
            self._said(f"a caller from {address} was refused: it {why}", "warning")

    def _secret_of(self, purpose: str) -> bytes | None:
        return self._secret if purpose == handshake.JOIN else self._files_key

    def _files(self, channel: Channel) -> None:
        with self._lock:
            if self._fetchers >= MOST_FILES:
                return
            self._fetchers += 1
        try:
            sending.send(channel, self.offer.project, self.offer.handed_out)
        finally:
            with self._lock:
                self._fetchers -= 1

    def _machine(self, channel: Channel, address: str) -> None:
        """Serve a machine that knows the token: decide whether it may join, then read its messages until it leaves."""
        present = messages.receive(channel)
        if not isinstance(present, messages.Present):
            return
        offer, about = self.offer, present.about
        name = f"{about.host[:64]} ({address})"
        why = next(iter(differences(self.about, about, offer.processes, offer.device, offer.extras)), None)
        later = not why
        why = why or self._taken(about)
        machine = None if why else self._place(channel, name, about)
        if machine is None:
            why = why or f"all {offer.nodes} machines are here"
            if name not in self._turned_away:  # a waiting machine asks again and again
                self._said(f"{name} cannot join: {why}", "warning")  # first: the answer may find nobody any more
            self._turned_away |= {name} if later else set()
            messages.send(channel, messages.Unwelcome(why, later))
            return
        try:
            if self._prepare(machine, address):
                self._said(f"machine {machine.node + 1} of {offer.nodes} joined: {name}", "info")
                while machine.take(messages.receive(channel)):
                    pass
        except ConnectionLost as error:
            machine.left = machine.left or str(error)  # the worker gives its own reason before it hangs up
        finally:
            with self._lock:
                del self._machines[machine.node]
        if not self._closed.is_set():
            self._said(f"machine {machine.node + 1} of {offer.nodes}, {name}, {machine.left}", "warning")

    def _taken(self, about: About) -> str:
        """Who already uses a GPU that this machine would use, completing "cannot join: …"; "": nobody."""
        known = [("the first machine", self.about)]
        known += [(f"machine {m.node + 1} of {self.offer.nodes}", m.about) for m in self.machines()]
        for who, other in known:
            if uuid := shared(other, about, self.offer.processes, self.offer.device):
                way = "run one `join` on a machine, or give each other GPUs with CUDA_VISIBLE_DEVICES"
                return f"{who} uses its {uuid} already; {way}"
        return ""

    def _prepare(self, machine: OtherMachine, address: str) -> bool:
        """Tell a machine what it needs, wait until it has it, and check that its processes can be reached."""
        offer, channel = self.offer, machine.channel
        with ports.open_one(channel.here) as (own, port):
            of = (str(offer.project), offer.own, offer.models)
            messages.send(channel, messages.Welcome(self.about, machine.node, offer.nodes, *of, port, own))
            machine.measure()
            while machine.port is None:
                if not machine.take(messages.receive(channel)):
                    return False
        if why := self._unreachable(machine, address):
            machine.left = f"cannot take part: {why}"
            messages.send(channel, messages.Unwelcome(why))
            channel.finish()
            with suppress(ConnectionLost):  # closing with unread input would drop the last message
                while True:
                    messages.receive(channel, GOODBYE_S)
            return False
        messages.send(channel, messages.Joined())
        machine.ready = True
        return True

    def _unreachable(self, machine: OtherMachine, address: str) -> str:
        """Why the other machines' processes will not reach those of a machine that joins, as ``ports.closed``; "": they
        will, as far as one open port can show, tried from this machine and from those that have joined.
        """
        if not machine.port:
            return ""
        where = machine.address or address
        if why := ports.closed(where, machine.port, address):
            return why
        for other in self.machines():
            if other.ready and (why := other.cannot_reach(where, machine.port)):
                return f"from machine {other.node + 1} of {self.offer.nodes}, {other.name}, {why}"
        return ""

    def _place(self, channel: Channel, name: str, about: About) -> OtherMachine | None:
        """Register the machine under the lowest free number; None: all are taken."""
        with self._lock:
            free = sorted(set(range(1, self.offer.nodes)) - self._machines.keys())
            if not free:
                return None
            self._machines[free[0]] = machine = OtherMachine(free[0], name, about, channel)
            return machine

    def _pulse(self) -> None:
        while not self._closed.wait(PULSE_S):
            for machine in self.machines():
                with suppress(ConnectionLost):  # the thread that reads from it reports this
                    machine.ping()
