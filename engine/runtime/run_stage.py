"""The stage process: runs a group of stages, one after the other, and records each outcome once.

``python -m engine.runtime.run_stage PROJECT ROUND STAGE[,STAGE…] DEATH_FD``, or ``main`` in a fork of
``engine.runtime.prepared``. The death pipe's other end is the worker's: when the worker goes away by whatever means,
the pipe closes and this process group kills itself, which frees lock and GPU. As one of several processes
(``engine.distributed.torchrun``) it gets the path of the launcher's socket in place of DEATH_FD; rank 0 does all of the
above and is the only one that opens the store, the others help it. On a machine without the project the arguments are
``FOLDER [MODEL] SOCKET``: a private folder, and where the model lies.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.config import schema as configs
from engine.config.schema import Config
from engine.distributed import ranks, shared_paths
from engine.distributed import world as worlds
from engine.distributed.torchrun import NO_SPACE
from engine.distributed.world import World
from engine.errors import Cancelled, MiddoError, Paused, Waiting
from engine.loop import StageSpec, processes, spec
from engine.machine import usage
from engine.processes import environment
from engine.processes.death_pipe import kill_group_on_close, receive_files
from engine.processes.exit_reason import LESS_MEMORY, ran_out_of_memory
from engine.runtime import stale
from engine.runtime.context import StoreCtx
from engine.runtime.exit_process import leave
from engine.stage import Ctx
from engine.store import flagging, read, write
from engine.store.connect import patient
from engine.store.lock_wait import FULL, WAITED, WORDS, lasting


def resolve(target: str) -> Callable[[Ctx], None]:
    """``module:function`` → the function."""
    module, _, name = target.partition(":")
    run: Callable[[Ctx], None] = getattr(importlib.import_module(module), name)
    return run


def input_key(db: sqlite3.Connection, config: Config, round: int, stage: StageSpec) -> str:
    """A hash of what a stage's result depends on: the dataset's ids, its config sections, its version."""
    digest = hashlib.blake2b(digest_size=8)
    for row in db.execute(f"SELECT id FROM sample WHERE {read.IN_ROUND} ORDER BY seq", {"round": round}):  # noqa: S608
        digest.update(row[0].to_bytes(8, "big"))
    return f"{digest.hexdigest()}:{configs.slice_hash(config, stage.config)}:{stage.version}"


def effective(config: Config, auto: bool) -> Config:
    """The config as this run uses it: unattended, the policy ``improved`` stands in for a person."""
    if auto and config.review.policy == "manual":
        return msgspec.structs.replace(config, review=msgspec.structs.replace(config.review, policy="improved"))
    return config


def run_one(db: sqlite3.Connection, project: Path, config: Config, round: int, name: str) -> str:
    """Run one stage and record how it ended; returns the job's state."""
    stage = spec(name)
    stale.keep_wordings(db, project, round, name)
    write.start_job(
        db, round, name, input_key(db, configs.placed(config, project), round, stage), configs.snapshot(config)
    )
    began, worked = time.monotonic(), usage.cpu_seconds()
    usage.reset_peak()
    state, error = _outcome(db, project, config, round, name)
    took = time.monotonic() - began
    write.add_cost(db, round, name, took, usage.cpu_seconds() - worked, usage.peak_bytes())
    if state == FULL:
        return FULL
    write.end_job(db, round, name, state, error)
    if state == "done":
        write.event(db, f"done in {lasting(took)}", "info", round, name)
    return state


def _outcome(db: sqlite3.Connection, project: Path, config: Config, round: int, name: str) -> tuple[str, str | None]:
    """Run one stage; returns the state of its job, or FULL, and why."""
    try:
        ctx = StoreCtx(db, project, config, round, name)
        _search_again(db, ctx)
        resolve(spec(name).target)(ctx)
    except Paused:
        return "paused", None
    except Cancelled:
        return "cancelled", None
    except Waiting as what:
        return "waiting", str(what) or None
    except MiddoError as failure:
        if no_space(failure):
            tell(public(f"{name}: {failure}", config))
            return FULL, None
        return "failed", public(str(failure), config)
    except Exception as failure:  # noqa: BLE001 - the boundary: whatever a stage raises becomes the job's outcome
        if no_space(failure):  # the job goes on when the worker has seen space
            tell(public(f"{name}: {failure}", config))
            return FULL, None
        trace = public(traceback.format_exc(), config)
        write.event(db, trace, "trace", round, name)
        sys.stderr.write(trace)  # into the log file, where a person can read it
        return "failed", public(explain(failure, project), config)
    return "done", None


def _search_again(db: sqlite3.Connection, ctx: StoreCtx) -> None:
    """Search the samples for prompt injection if newer rules have not seen them, before any model does."""

    def searched(done: int, total: int) -> None:
        ctx.progress(done) if done else ctx.begin(total)

    if (done := flagging.catch_up(db, searched)).read:
        ctx.event(str(done), "warning" if done.new else "info")


def public(text: str, config: Config) -> str:
    """A message without keys and tokens, for the store and the log."""
    return environment.without_values(text, known=config.secret_names)


def no_space(failure: BaseException | None) -> bool:
    """Whether ``failure`` was caused by a full disk. Libraries that write weights use their own error types."""
    while failure is not None:
        if isinstance(failure, OSError) and failure.errno == errno.ENOSPC:
            return True
        if any(said in str(failure) for said in ("No space left on device", "PytorchStreamWriter failed writing")):
            return True
        failure = failure.__cause__ or failure.__context__
    return False


def tell(line: str) -> None:
    """Print a line to the stage's log; ignores a full disk."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


class ChildWatch:
    """What a child says of the waits of its connection (``engine.store.lock_wait.Watch``)."""

    def __init__(self) -> None:
        self._reported = ""

    def waits(self, trouble: str) -> None:
        """It begins, or goes on."""
        if trouble != self._reported:
            self._reported = trouble
            tell(f"{WORDS[trouble]} …")

    def over(self, trouble: str, seconds: float) -> None:
        """It has ended; the worker, which waited as well, has a line in the log for it."""
        self._reported = ""
        tell(f"waited {lasting(seconds)}: {WAITED[trouble]}")


def explain(failure: BaseException, project: Path) -> str:
    """A library's exception as one sentence, with the fix if known."""
    kind = type(failure).__name__
    if ran_out_of_memory(failure):
        return f'out of memory. {LESS_MEMORY}, or use train.method = "lora"; then run again to resume.'
    return f"{kind}: {failure}. See the traceback in the project's logs folder."


def die_with_worker(place: str) -> World | None:
    """End with the worker, and with the launcher where there is one; keep the project's lock until then.

    Returns what the launcher tells of the launch; None: there is no launcher.
    """
    if place.isdigit():
        kill_group_on_close(int(place))
        return None
    connection, (death, told, *_lock) = receive_files(Path(place), 3)
    kill_group_on_close(death)
    kill_group_on_close(connection.detach())
    return worlds.read(told)


def lead(project: Path, round: int, names: Sequence[str], world: World | None = None) -> int:
    """Run the stages; the only process that opens the store. Returns 0 whenever the outcome was recorded."""
    db = patient(project, ChildWatch())
    config = configs.load(project)
    try:
        nodes = world.nodes if world else 1
        ranks.check(processes(config, names, nodes), config.model.device, nodes)
    except MiddoError as error:
        write.end_job(db, round, names[0], "failed", str(error))
        return ranks.BROKEN if ranks.started() > 1 else 0
    ranks.join(world)
    full = run_all(db, project, round, names) == FULL
    ended = ranks.dismiss()
    return NO_SPACE if full else ended


def run_all(db: sqlite3.Connection, project: Path, round: int, names: Iterable[str]) -> str:
    """Run the stages in order, each with config.toml and the plan as they are when it begins, until one is not done.
    Returns the last one's state.

    What a person sets while one stage runs, a cut or automatic review, so holds for the next one.
    """
    for name in names:
        try:
            config = effective(configs.load(project), read.plan(db).auto)
        except MiddoError as error:  # config.toml was broken meanwhile
            write.end_job(db, round, name, "failed", str(error))
            return "failed"
        state = run_one(db, project, config, round, name)
        if state != "done" or read.plan(db).want != "run":
            return state
    return "done"


def help_out(world: World, argv: Sequence[str]) -> int:
    """Run the work that rank 0 distributes.

    Args:
        argv: on a machine without the project a private folder for what is fetched, and the model's if it was said.
    """
    if world.node > 0:
        ranks.require_gpus(world.processes, world.device)
        shared_paths.settle(world, Path(argv[0]), Path(argv[1]) if len(argv) > 1 else None)
    else:
        shared_paths.settle(world)
    ranks.join(world)
    return ranks.serve()


def main(argv: list[str]) -> int:
    """Entry point of the stage process."""
    *rest, place = argv
    world = die_with_worker(place)
    if world is not None and ranks.rank() > 0:
        return help_out(world, rest)
    project, round, names = Path(rest[0]), int(rest[1]), rest[2].split(",")
    if world is not None:
        shared_paths.settle(world)
    return lead(project, round, names, world)


if __name__ == "__main__":
    if ranks.started() == 1:
        leave(main(sys.argv[1:]))
    from torch.distributed.elastic.multiprocessing.errors import record

    leave(record(main)(sys.argv[1:]) or 0)  # reports the exception to the launcher
