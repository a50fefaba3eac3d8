"""How a group of stages runs: in one process, in several on this machine, or on several machines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine import loop
from engine.config import schema as configs
from engine.config.schema import Config
from engine.distributed import world as worlds
from engine.errors import ConfigError
from engine.loop import RunStages
from engine.runtime.machines import POLL_S, Machines


class Spread:
    """How one worker launches groups of stages. ``lock``: the project's lock, which every process inherits.

    Raises:
        ConfigError: as ``Machines``.
    """

    def __init__(self, config: Config, project: Path, lock: int) -> None:
        self._project = project
        self._lock = lock
        self._told = ""
        self.machines = Machines(config, project) if config.launch.nodes > 1 else None

    def lacks_machines(self, stages: Sequence[str], log: Callable[[str, str], None]) -> bool:
        """Whether these stages have to wait for other machines; if so, sleeps for POLL_S seconds.

        Raises:
            ConfigError: [launch] nodes was set while the worker ran.
        """
        config = configs.load(self._project)
        if not _abroad(config, stages):
            return False
        if self.machines is None or self.machines.launch.nodes != config.launch.nodes:
            raise ConfigError("config.toml: [launch] nodes was set while the run went on. Run again to use it.")
        if not self.machines.missing(config.launch):
            self._told = ""
            return False
        if self.machines.waiting != self._told:
            self._told = self.machines.waiting
            log(self._told, "info")
        time.sleep(POLL_S)
        return True

    @contextmanager
    def launching(self, step: RunStages, death: int) -> Iterator[tuple[list[str], list[int]]]:
        """The command that runs the group, and the file descriptors that it inherits; starts the group on the other
        machines.

        Args:
            death: the read end of its death pipe.
        """
        config = configs.load(self._project)
        child = [str(self._project), str(step.round), ",".join(step.stages)]
        nodes = 1
        if self.machines is not None and _abroad(config, step.stages):
            nodes = self.machines.choose(config, step.stages, step.round)
        if (processes := loop.processes(config, step.stages, nodes)) == 1:
            yield [sys.executable, "-m", "engine.runtime.run_stage", *child, str(death)], []
            return
        if self.machines is not None and nodes > 1:
            world, listener = self.machines.begin(config.launch.processes, config.model.device)
        else:
            world, listener = worlds.begin(processes, config.model.device, str(self._project))
        with listener, worlds.keep(world) as file:
            files = [file.fileno(), death, self._lock]
            launcher = [sys.executable, "-m", "engine.distributed.torchrun", *map(str, files)]
            yield [*launcher, *child], [file.fileno(), listener.fileno()]

    def wrong(self) -> str:
        """What failed on another machine, so that the group must end; "": nothing."""
        found = self.machines.wrong() if self.machines is not None else ""
        if not found:
            return ""
        launch = configs.load(self._project).launch
        if launch.min_nodes == launch.nodes:
            return f"{found}; run again to resume, and join again there."
        return (
            f"{found}; run again to resume."
            f" Join again there, or the run goes on without that machine after {launch.wait_s} s."
        )

    def end(self, grace_s: float, kindly: bool, beat: Callable[[], None]) -> None:
        """End the group on the other machines once it has ended here (``kindly``: with success)."""
        if self.machines is not None:
            self.machines.end(grace_s, kindly, beat)

    def beat(self, log: Callable[[str, str], None]) -> None:
        """Log what has happened on other machines."""
        if self.machines is not None:
            for line, level in self.machines.lines():
                log(line, level)
            self.machines.note()

    def close(self, why: str, failed: bool) -> None:
        """End the run on all machines."""
        if self.machines is not None:
            self.machines.close(why, failed)


def _abroad(config: Config, stages: Sequence[str]) -> bool:
    return config.launch.nodes > 1 and loop.processes(config, stages) > 1
