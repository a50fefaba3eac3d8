"""Runs a stage process on several ranks with torchrun, and reports which rank failed and why.

``python -m engine.distributed.torchrun PROCESSES PROJECT ROUND STAGE[,STAGE…] DEATH_FD LOCK_FD``. Every process runs
``engine.runtime.run_stage``; the one of rank 0 runs the stages, the others help it (``engine.distributed.ranks``).
torchrun ends all of them as soon as one has failed. ``accelerate launch`` is no way to do this: on a CPU it starts one
process, whatever it is asked for. Training by an accelerate config gets the environment that it would make
(``engine.distributed.accelerate_env``).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from engine.config import schema as configs
from engine.distributed import sharding
from engine.errors import MiddoError
from engine.processes.death_pipe import kill_group_on_close, share_files
from engine.processes.ended import how_ended

RANK_FAILED = 70  # the exit code that says: the last line of the log tells which process failed, and why
NO_SPACE = 75  # the exit code of a child that found the disk full: it is started again when there is space


def reason(rank: int, failure: Any, processes: int) -> str:
    """The failure as one line. ``failure``: torch's ProcessFailure."""
    who = f"rank {rank} of {processes} (pid {failure.pid})"
    if failure.exitcode < 0:
        return f"{who} {how_ended(failure.exitcode)}"
    told = failure.error_file_data["message"]  # a table when the process recorded its exception
    first = str(told["message"]).partition("\n")[0] if isinstance(told, dict) else ""
    return f"{who} ended with exit code {failure.exitcode}{first and f': {first}'}"


def spread_training(project: Path) -> None:
    """Have every process find what the project's accelerate config asks for, where there is one.

    Raises:
        ConfigError: it cannot be used.
    """
    if (plan := sharding.plan(configs.load(project), project)) is not None:
        from engine.distributed.accelerate_env import environment

        os.environ |= environment(plan)


def main(argv: list[str]) -> int:
    """Entry point. Returns 0 if all processes succeeded, RANK_FAILED if one failed."""
    processes, child, death, lock = int(argv[0]), argv[1:4], int(argv[4]), int(argv[5])
    kill_group_on_close(death)
    try:
        if "train" in argv[3].split(","):
            spread_training(Path(argv[1]))
    except MiddoError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return RANK_FAILED
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    with tempfile.TemporaryDirectory(prefix="middo-") as folder:
        ties = Path(folder) / "ties"
        kept = share_files(ties, [death, lock], processes)
        how = ["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={processes}", f"--log-dir={folder}"]
        try:
            run.main([*how, "-m", "engine.runtime.run_stage", *child, str(ties)])
        except ChildFailedError as error:
            if any(failure.exitcode == NO_SPACE for failure in error.failures.values()):
                return NO_SPACE
            print(reason(*error.get_first_failure(), processes), file=sys.stderr)  # noqa: T201
            return RANK_FAILED
        except SignalException as error:
            return 128 + int(error.sigval)
        finally:
            for connection in kept:
                connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
