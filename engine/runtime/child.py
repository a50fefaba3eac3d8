"""The worker's side of the process that runs a group of stages: started afresh, or forked off a prepared one.

Both are a leader of a process group and session of their own, with the project's lock and the read end of a death pipe.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

import msgspec

from engine import loop
from engine.config import schema as configs
from engine.config.schema import Config
from engine.processes import environment
from engine.processes.death_pipe import kill_group
from engine.runtime import imports
from engine.runtime.orders import MOST_BYTES, Answer, ForkOrder

POLL_S = 0.2
FORKS = sys.platform == "linux"  # elsewhere system libraries may not survive a fork


def may_fork(config: Config, project: Path, stages: Sequence[str]) -> bool:
    """Whether a fork of the prepared process may run these stages of one group.

    Not with keys that other groups must not see; not as several processes, which torchrun starts; not with
    bitsandbytes, which looks for a GPU while it is imported; not with vLLM, which starts processes of its own.
    """
    if child_environment(config, stages) != child_environment(config, ()):
        return False
    vllm = "vllm" in (config.judge.backend, config.teacher.backend, config.evaluate.backend)
    return loop.processes(config, stages) == 1 and not vllm and not imports.in_four_bits(config, project)


def child_environment(config: Config, stages: Sequence[str]) -> dict[str, str]:
    """The environment of the child that runs ``stages``: keys and tokens only where they are used.

    The teacher's key is the rewrite stage's, the judging servers' that of the stages that rate, the hub's token
    everybody's who may have to fetch a model or a task, and trackers of the train stage read keys under names of their
    own.
    """
    known = config.secret_names
    needed = {config.teacher.key_env} if "rewrite" in stages else set()
    if config.judge.remote and loop.JUDGING & set(stages):
        needed.add(config.judge.key_env)
    own = environment.for_children()
    if "train" in stages and config.train.report_to:
        return {name: value for name, value in own.items() if name not in known}
    return environment.without_secrets(own, but={*needed, "HF_TOKEN"}, known=known)


class Child(Protocol):
    """A process that runs a group."""

    pid: int

    def begin(self) -> None:
        """Let it run: its pid is known now."""

    def wait(self, seconds: float) -> int | None:
        """Its exit code, negative for a signal; None: it has not ended after ``seconds``."""


class Fresh:
    """A process of its own program."""

    def __init__(
        self, command: Sequence[str], log: IO[bytes], inherited: Sequence[int], environ: Mapping[str, str]
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=inherited,
            cwd="/",
            env=environ,
        )
        self.pid = self._process.pid

    def begin(self) -> None:
        """It runs already."""

    def wait(self, seconds: float) -> int | None:
        """As ``Child``."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


class Prepared:
    """A process that has imported the stages' libraries and forks for every group (``engine.runtime.prepared``)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        death, self._death = os.pipe()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine.runtime.prepared", str(theirs.fileno()), str(death)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[theirs.fileno(), death],
            cwd="/",
            env=self.environ,
        )
        os.close(death)
        theirs.close()

    def order(self, order: ForkOrder, log: IO[bytes], lock: int, death: int) -> None:
        """Ask for a fork; it waits until ``Forked.begin``."""
        with suppress(BrokenPipeError, ConnectionResetError):  # then ``answer`` says that it has ended
            socket.send_fds(self.socket, [msgspec.json.encode(order)], [log.fileno(), lock, death])

    def answer(self, seconds: float) -> Answer | None:
        """What it says within ``seconds``; when it has gone, the code of that."""
        self.socket.settimeout(seconds)
        try:
            message = self.socket.recv(MOST_BYTES)
        except TimeoutError:
            return None
        except ConnectionResetError:
            message = b""
        if message:
            return msgspec.json.decode(message, type=Answer)
        return Answer(code=self._process.wait() or 1)

    def end(self) -> None:
        """Kill it; what it has forked is not of its group."""
        kill_group(self._process.pid)
        self._process.wait()
        self.socket.close()
        os.close(self._death)


class Forked:
    """A fork of the prepared process."""

    def __init__(self, prepared: Prepared, pid: int) -> None:
        self._prepared = prepared
        self.pid = pid

    def begin(self) -> None:
        """It waits for this."""
        with suppress(BrokenPipeError, ConnectionResetError):  # then ``wait`` says that it has ended
            self._prepared.socket.send(b"!")

    def wait(self, seconds: float) -> int | None:
        """As ``Child``. Without the prepared process nobody learns how its fork ends: it counts as ended with it."""
        answer = self._prepared.answer(seconds)
        return None if answer is None else answer.code


class Starter:
    """Starts the process of every group of stages, and keeps the prepared process between them."""

    def __init__(self, project: Path, lock: int) -> None:
        self._project = project
        self._lock = lock
        self.forks = FORKS
        self.prepared: Prepared | None = None

    def start(
        self,
        round: int,
        stages: Sequence[str],
        command: Sequence[str],
        log: IO[bytes],
        death: int,
        waiting: Callable[[], bool],
        handed: Sequence[int] = (),
    ) -> Child:
        """The process of these stages: a fork of the prepared process if that may be.

        Args:
            command: what runs them otherwise; it inherits ``handed``, too.
            log, death: its output, and the read end of its death pipe.
            waiting: called while libraries are imported; False: do not wait for them.
        """
        config = configs.load(self._project)
        environ = child_environment(config, stages)
        if self.forks and may_fork(config, self._project, stages):
            self.prepared = self.prepared or Prepared(environ)
            if self.prepared.environ == environ:
                argv = [str(self._project), str(round), ",".join(stages)]
                order = ForkOrder(argv, imports.needed(config, stages), [*imports.UNUSED])
                if (forked := self._fork(self.prepared, order, log, death, waiting)) is not None:
                    return forked
        return Fresh(command, log, [self._lock, death, *handed], environ)

    def _fork(
        self, prepared: Prepared, order: ForkOrder, log: IO[bytes], death: int, waiting: Callable[[], bool]
    ) -> Forked | None:
        """A fork that waits to begin; None: there is none."""
        prepared.order(order, log, self._lock, death)
        while (answer := prepared.answer(POLL_S)) is None:
            if not waiting():
                break
        else:
            if answer.pid is not None:
                return Forked(prepared, answer.pid)
            self.forks = False
            why = answer.refused or f"the prepared process ended with exit code {answer.code}"
            with suppress(OSError):  # a full disk
                os.write(2, f"stages get processes of their own: {why}\n".encode())
        self.end()
        return None

    def end(self) -> None:
        """End the prepared process."""
        if self.prepared is not None:
            self.prepared.end()
            self.prepared = None
