"""Runs one machine's share of a stage in several processes with torchrun, and reports which rank failed and why.

``python -m engine.distributed.torchrun WORLD_FD DEATH_FD LOCK_FD PROJECT ROUND STAGE[,STAGE…]`` on the machine with the
project, ``… WORLD_FD DEATH_FD [MODEL]`` on others, which have no project; MODEL is the model's folder there.
Every process runs ``engine.runtime.run_stage``; the one of rank 0 runs the stages, the others help it
(``engine.distributed.ranks``). torchrun ends all of a machine's as soon as one has failed, and those of other machines
end by themselves then. ``accelerate launch`` cannot be used: on a CPU it always starts one process. Training with an
accelerate config gets the environment that it would set (``engine.distributed.accelerate_env``).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from engine.config import schema as configs
from engine.distributed import sharding
from engine.distributed.world import World, keep, read
from engine.errors import MiddoError
from engine.files.scratch import scratch
from engine.nodes.tunnel import Tunnel
from engine.processes.death_pipe import kill_group_on_close, share_files
from engine.processes.exit_reason import how_ended

RANK_FAILED = 70  # exit code: the last line of the log says which process failed and why
FOLDER, FETCHED = "middo-launch-", "middo-fetched-"
NO_SPACE = 75  # exit code of a child that found the disk full; it is started again once there is space


def reason(rank: int, failure: Any, world: World) -> str:
    """The failure of one of this machine's processes as one line. ``failure``: torch's ProcessFailure.

    Of other machines the worker says which one it was.
    """
    where = f"machine 1 of {world.nodes}: " if world.nodes > 1 and world.node == 0 else ""
    who = f"{where}rank {rank} of {world.size} (pid {failure.pid})"
    if failure.exitcode < 0:
        return f"{who} {how_ended(failure.exitcode)}"
    told = failure.error_file_data["message"]  # a table when the process recorded its exception
    first = str(told["message"]).partition("\n")[0] if isinstance(told, dict) else ""
    return f"{who} ended with exit code {failure.exitcode}{first and f': {first}'}"


def spread_training(project: Path) -> None:
    """Set the environment that the project's accelerate config asks for, if it has one, for all processes.

    Raises:
        ConfigError: it cannot be used.
    """
    if (plan := sharding.plan(configs.load(project), project)) is not None:
        from engine.distributed.accelerate_env import environment

        os.environ |= environment(plan)


def main(argv: list[str]) -> int:
    """Entry point. Returns 0 if all processes of this machine succeeded, RANK_FAILED if one failed."""
    handed, death, *rest = argv
    world = read(int(handed))
    kill_group_on_close(int(death))
    try:
        if world.node > 0:
            return _elsewhere(world, int(death), rest)
        lock, *child = rest
        if "train" in child[2].split(","):
            spread_training(Path(child[0]))
        return _run(world, [int(death), int(handed), int(lock)], child)
    except MiddoError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return RANK_FAILED


def _elsewhere(world: World, death: int, model: list[str]) -> int:
    """Run a machine without the project: its ranks get a private folder and reach the store through a tunnel."""
    tunnel = Tunnel(world.host, world.door_port, world.secret("door"))
    with (
        scratch(FETCHED) as files,
        keep(msgspec.structs.replace(world, port=tunnel.port)) as told,
    ):
        try:
            return _run(read(told.fileno()), [death, told.fileno()], [str(files), *model])
        finally:
            tunnel.close()


def _run(world: World, shared: list[int], child: list[str]) -> int:
    """Start the processes, share open files with them, and wait for them; returns the exit code."""
    with scratch(FOLDER) as folder:
        ties = folder / "ties"
        kept = share_files(ties, shared, world.processes)
        try:
            return _launch(world, ["-m", "engine.runtime.run_stage", *child, str(ties)], str(folder))
        finally:
            for connection in kept:
                connection.close()


def _launch(world: World, program: list[str], logs: str) -> int:
    """Run torchrun; returns the exit code of this launcher."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    from engine.distributed import rendezvous

    rendezvous.register(world)
    how = [
        f"--rdzv-backend={rendezvous.NAME}",
        f"--local-addr={world.address}",
        f"--nnodes={world.nodes}",
        f"--nproc-per-node={world.processes}",
        f"--log-dir={logs}",
    ]
    try:
        run.main([*how, *program])
    except ChildFailedError as error:
        if any(failure.exitcode == NO_SPACE for failure in error.failures.values()):
            return NO_SPACE
        print(reason(*error.get_first_failure(), world), file=sys.stderr)  # noqa: T201
        return RANK_FAILED
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
