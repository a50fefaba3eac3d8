"""``middo-tui join``: this machine works for a run on another one, until that ends.

It has no project and no store. The same launcher as on the first machine starts a stage's processes, and a death pipe
kills them with this process, however it ends. Their output goes to a log in a private folder, which is removed with the
launch; only the log of the newest launch that failed is kept.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from engine.distributed import shared_paths
from engine.distributed import world as worlds
from engine.distributed.torchrun import RANK_FAILED
from engine.distributed.world import World
from engine.errors import MiddoError, WorkerError
from engine.files.last_line import last_line
from engine.files.scratch import Scratch
from engine.machine import gauges
from engine.models import folder as model_folder
from engine.models import locate
from engine.nodes import caller, handshake, messages, ports
from engine.nodes.channel import Channel, ConnectionLost
from engine.nodes.machine import MOST_SAID
from engine.nodes.machine_versions import this_machine
from engine.plurals import counted
from engine.processes import environment
from engine.processes.death_pipe import kill_group
from engine.processes.exit_reason import how_ended

if TYPE_CHECKING:
    from engine.hub.fetch import Progress

LOOK_S = 0.2
IDLE_S = 1.0
AGAIN_S = 5.0
"""Seconds after which `join --stay` asks again where all places are taken."""
FOLDER, FAILED = "middo-join-", "middo-failed-"
STOPPED = "left: it was stopped there"


class FirstMachineLost(WorkerError):
    """The connection to the first machine ended without a goodbye."""


class Where(Struct, frozen=True):
    """The first machine's address, and ``token_env``, the variable with the token. ``model``: the folder to use in
    place of [model] name.
    """

    host: str
    port: int
    token_env: str
    model: Path | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def lost(where: Where, why: str, stay: bool) -> str:
    """The sentence for a first machine that was lost; ``why`` completes "HOST:PORT …". ``stay``: this machine rejoins
    by itself.
    """
    then = "" if stay else ", then join again"
    return f"{where} {why}, without a goodbye. Start it again there with `middo-tui run`{then}."


class Launched:
    """The launcher of this machine's share of a stage."""

    def __init__(self, world: World, what: str, model: Path | None, token_env: str) -> None:
        self.what = what
        self._scratch = Scratch(FOLDER)
        self._folder = self._scratch.path
        self._log = self._folder / "log"
        self._killing_at: float | None = None
        try:
            self._process, self._death = self._start(world, model, token_env)
        except BaseException:
            self._scratch.remove()
            raise

    def _start(self, world: World, model: Path | None, token_env: str) -> tuple[subprocess.Popen[bytes], int]:
        """The launcher, and the write end of its death pipe."""
        death, kept = os.pipe()
        try:
            with worlds.keep(world) as file, self._log.open("wb") as log:
                arguments = [str(file.fileno()), str(death), *([str(model)] if model else [])]
                process = subprocess.Popen(
                    [sys.executable, "-m", "engine.distributed.torchrun", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=[file.fileno(), death],
                    cwd="/",
                    env=self._environment(token_env),
                )
        except BaseException:
            os.close(kept)
            raise
        finally:
            os.close(death)
        return process, kept

    def _environment(self, token_env: str) -> dict[str, str]:
        """Without the token. TMPDIR is a folder that is removed even when the launcher is killed."""
        own = environment.without_secrets(environment.for_children(), but={"HF_TOKEN"}, known={token_env})
        return {**own, "TMPDIR": str(self._folder)}

    def code(self) -> int | None:
        """Its exit code; None while it runs. Kills it once the grace period of ``halt`` is over."""
        if self._killing_at is not None and time.monotonic() >= self._killing_at:
            kill_group(self._process.pid)
        return self._process.poll()

    @property
    def halted(self) -> bool:
        """Whether ``halt`` was called."""
        return self._killing_at is not None

    def halt(self, grace_s: float) -> None:
        """End it: SIGTERM now, SIGKILL after ``grace_s`` seconds."""
        self._killing_at = time.monotonic() + grace_s
        kill_group(self._process.pid, signal.SIGTERM)

    @property
    def reason(self) -> str:
        """The last line of its log, which is the reason where a process failed; "" where the log is empty."""
        return last_line(self._log)

    def keep_log(self) -> Path:
        """Move its log, which holds tracebacks, out of the folder that is removed; returns the new path.

        Raises:
            OSError: it cannot be moved, for example for lack of space.
        """
        fd, path = tempfile.mkstemp(".log", FAILED)
        os.close(fd)
        self._log.replace(path)
        return Path(path)

    def end(self) -> None:
        """Kill what is left of its process group, and remove its files."""
        kill_group(self._process.pid)
        self._process.wait()
        os.close(self._death)
        self._scratch.remove()


def missing_model(welcome: messages.Welcome, own: Path | None, said: Callable[[Progress], None]) -> str:
    """Why this machine lacks a model of the run, as a sentence; "": it has all. Hub models are downloaded.

    Args:
        own: the folder to use in place of [model] name.
        said: called with the progress of a download; an exception that it raises ends the download.
    """
    for needed in welcome.models:
        try:
            instead = own if needed.name == welcome.own else None
            there = locate.on_disk(needed.name, Path("/"))
            if there is None or not shared_paths.filled(there):
                there = instead
            folder = there or locate.locate(needed.name, Path("/"), said)
            model_folder.check(folder)
            same = not needed.fingerprint or locate.fingerprint(locate.ModelRef(folder)) == needed.fingerprint
        except MiddoError as error:
            way = " Or name its folder here: --model DIR." if needed.name == welcome.own and own is None else ""
            return f"{error}{way}"
        if not same:
            return f"{folder}: not the same model as {needed.name} on the first machine. Copy it from there."
    return ""


class Joining:
    """This machine's participation in a run. ``say``: prints a line."""

    def __init__(self, where: Where, say: Callable[[str], None]) -> None:
        self._where = where
        self._say = say
        name = where.token_env
        fix = "Set it to the value that it has on the first machine."
        self._secret = handshake.stretched(handshake.token(name, os.environ.get(name), fix))
        self._launched: Launched | None = None
        self._log: Path | None = None  # of the newest launch that failed
        self._stay = False

    def run(self, wait_s: float, stay: bool) -> int:
        """Join, work, and leave when the run ends; returns the exit code: 0, or 1 if the run failed.

        Args:
            wait_s: how long to wait for a first machine that is not up yet, in seconds.
            stay: afterwards wait for the next run and join that.

        Raises:
            WorkerError: the first machine cannot be reached, refuses this one, or was lost.
        """
        self._stay, told = stay, False
        while True:
            try:
                bye = self._once(wait_s)
            except FirstMachineLost as error:
                if not stay:
                    raise
                self._say(str(error))
                time.sleep(caller.RETRY_S)  # without a pause this would spin where another program answers
            except handshake.RefusedForNow as error:
                if not stay:
                    raise
                if not told:
                    self._say(f"{error} Waiting until one leaves …")
                told = True
                time.sleep(AGAIN_S)
            else:
                told = False
                if not (bye.again or stay):
                    return int(bye.failed)
            if stay:
                wait_s = math.inf

    def _once(self, wait_s: float) -> messages.Bye:
        """Take part in one run."""
        try:
            channel = caller.connect(self._where.host, self._where.port, wait_s, time.sleep, self._say)
        except ConnectionLost as error:
            raise WorkerError(
                f"{self._where} {error}. Start the run there (`middo-tui run`), or check [launch] rendezvous and the"
                " firewall."
            ) from None
        try:
            return self._with(channel)
        except ConnectionLost as error:
            raise FirstMachineLost(lost(self._where, str(error), self._stay)) from None
        finally:
            self._end_launch()
            channel.close()

    def _with(self, channel: Channel) -> messages.Bye:
        gpus = gauges.visible_gpus()
        about = this_machine(gauges.names(gpus), gauges.uuids(gpus))
        try:
            welcome = caller.introduce(channel, self._secret, about, str(self._where), self._where.token_env)
        except ConnectionLost as error:
            raise FirstMachineLost(
                f"{self._where} {error}. Check the address: it is [launch] rendezvous of the first machine."
            ) from None
        reader = caller.MessageReader(channel)
        try:
            return self._prepared(channel, reader, welcome) or self._work(channel, reader, welcome)
        except KeyboardInterrupt:
            self._end_launch()
            reader.leave(messages.Bye(STOPPED))
            raise

    def _prepared(
        self, channel: Channel, reader: caller.MessageReader, welcome: messages.Welcome
    ) -> messages.Bye | None:
        """Get this machine ready to take part. Returns the goodbye if the run ends meanwhile, else None.

        Raises:
            ConnectionLost: the first machine was lost. WorkerError: this one cannot take part.
        """
        told: set[str] = set()

        def progress(found: Progress) -> None:
            if found.name not in told:
                self._say(f"{found.name}: downloading …")
                told.add(found.name)
            if reader.over.is_set():
                raise ConnectionLost("the run ended")

        why = missing_model(welcome, self._where.model, progress)
        if (
            not why
            and welcome.port
            and not reader.over.is_set()
            and (shut := ports.closed(welcome.address or self._where.host, welcome.port, self._where.host))
        ):
            why = f"{shut}."
        if not reader.over.is_set() and why:
            reader.leave(messages.Unable(why.removesuffix(".")))
            raise WorkerError(why)
        with ports.open_one(channel.here) as (address, port):
            if not reader.over.is_set():
                messages.send(channel, messages.Ready(port, address))
            while not isinstance(message := reader.next(IDLE_S), messages.Joined):
                if isinstance(message, ConnectionLost):
                    raise message
                if isinstance(message, messages.Bye):
                    return self._sent_home(welcome, message)
                if isinstance(message, messages.Unwelcome):
                    raise WorkerError(f"{self._where} does not let this machine join: {message.why}.")
        return None

    def _first(self, welcome: messages.Welcome) -> str:
        return f"{welcome.about.host} ({self._where})"

    def _sent_home(self, welcome: messages.Welcome, bye: messages.Bye) -> messages.Bye:
        self._say(bye.why if bye.again else f"the run on {self._first(welcome)} has ended: {bye.why}")
        return bye

    def _work(self, channel: Channel, reader: caller.MessageReader, welcome: messages.Welcome) -> messages.Bye:
        """Carry out the first machine's requests until it ends the run.

        Raises:
            ConnectionLost: the first machine was lost.
        """
        which = f"machine {welcome.node + 1} of {welcome.nodes} of {welcome.project}"
        self._say(f"joined as {which} on {self._first(welcome)}")
        while True:
            message = reader.next(IDLE_S if self._launched is None else LOOK_S)
            if isinstance(message, messages.Bye):
                return self._sent_home(welcome, message)
            if isinstance(message, ConnectionLost):
                raise message
            if isinstance(message, messages.Begin):
                self._begin(channel, message)
            elif isinstance(message, messages.Halt) and self._launched is not None:
                self._launched.halt(message.grace_s)
            elif isinstance(message, messages.TryPort):
                messages.send(channel, messages.PortTried(message.port, ports.closed(message.host, message.port)))
            self._look(channel)

    def _begin(self, channel: Channel, message: messages.Begin) -> None:
        world = msgspec.json.decode(message.world, type=World)
        key = handshake.launch_key(self._secret, message.salt)
        world = msgspec.structs.replace(world, key=key, address=channel.here)
        self._end_launch()
        try:
            self._launched = Launched(world, message.what, self._where.model, self._where.token_env)
        except OSError as error:  # no space, or no folder, for its files
            why = f"{error.filename or tempfile.gettempdir()}: {error.strerror}"
            messages.send(channel, messages.Ended(1, why))
            self._say(f"{message.what} cannot run here: {why}")
            return
        self._say(
            f"{message.what}: this machine runs {world.processes} of {counted(world.size, 'process', 'processes')}"
        )

    def _look(self, channel: Channel) -> None:
        """Report the end of the launch, if it has ended."""
        launched = self._launched
        if launched is None or (code := launched.code()) is None:
            return
        last = launched.reason[:MOST_SAID]
        if not code:
            how = "ended here"
        elif launched.halted:
            how = "stopped, as the first machine asked"
        else:
            reason = last if code == RANK_FAILED and last else f"its processes {how_ended(code)}"
            how = f"{reason.removesuffix('.')}. Its log: {self._keep_log(launched)}"
        self._end_launch()
        messages.send(channel, messages.Ended(code, last))
        self._say(f"{launched.what}: {how}")

    def _keep_log(self, launched: Launched) -> str:
        """Keep the log of a failed launch in place of the one before; returns its path, or why it is not kept."""
        if self._log is not None:
            self._log.unlink(missing_ok=True)
        try:
            self._log = launched.keep_log()
        except OSError as error:
            return f"not kept ({error.strerror})"
        return str(self._log)

    def _end_launch(self) -> None:
        if self._launched is not None:
            self._launched.end()
            self._launched = None
