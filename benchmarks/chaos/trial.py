"""One disturbance: a child forked from this warm process acts and is disturbed; another sees what came of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.chaos import seam
from benchmarks.chaos.operations import Operation
from benchmarks.chaos.seam import Fault
from engine.errors import MiddoError

States = tuple[dict[str, Any], dict[str, Any]]
"""Of a project, before and after an operation (``Operation.state``)."""
LIMIT_S = 120
TYPED = (MiddoError, OSError, sqlite3.Error)
"""What the command line prints as one line."""


class Outcome(NamedTuple):
    """What came of one disturbance. ``ended``: ok, error, died, unhandled or hung. ``faults``: what is wrong after
    it; empty: the promise was kept.
    """

    operation: str
    fault: str
    at: int
    ended: str
    said: str
    faults: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells a disturbance from all others."""
        return self.operation, self.fault, self.at


def in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """``work()`` in a fork of this process; ``{"died": signal}`` when it was killed."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        signal.alarm(LIMIT_S)
        try:
            found = work()
        except BaseException as error:  # noqa: BLE001 - the boundary of a process
            found = {"unhandled": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        with os.fdopen(write, "w") as pipe:
            json.dump(found, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return {"died": os.WTERMSIG(status)}
    return dict(json.loads(text)) if text else {"unhandled": "ended without a word"}


def calls(operation: Operation, start: Path, work: Path, kinds: int) -> int:
    """How many calls of these ``kinds`` an undisturbed run makes."""
    folder = _fresh(start, work)

    def act() -> dict[str, Any]:
        quiet()
        seam.arm(folder, Fault("", kinds, seam.COUNT), 0)
        operation.act(folder)
        return {"seen": seam.seen()}

    return int(in_child(act)["seen"])


def undisturbed(operation: Operation, start: Path, work: Path) -> States:
    """The state before and after."""
    folder = _fresh(start, work)

    def act() -> dict[str, Any]:
        quiet()
        before = operation.state(folder)
        operation.act(folder)
        return {"before": before, "after": operation.state(folder), "faults": operation.broken(folder)}

    found = in_child(act)
    if found.get("faults") or "after" not in found:
        raise RuntimeError(f"{operation.name}: wrong without a disturbance: {found}")
    return found["before"], found["after"]


def disturb(operation: Operation, start: Path, work: Path, fault: Fault, at: int, states: States) -> Outcome:
    """Act with the ``at``-th call disturbed, look at what is there, act again until it is done, and look again."""
    folder = _fresh(start, work)

    def act() -> dict[str, Any]:
        quiet()
        seam.arm(folder, fault, at)
        try:
            said = operation.act(folder) or "ok"
        except TYPED as error:
            return {"ended": "error", "said": f"{type(error).__name__}: {error}"}
        finally:
            seam.disarm()
        return {"ended": "ok"} if said == "ok" else {"ended": "error", "said": said}

    first = in_child(act)
    ended = _ended(first)
    wrong = [] if ended in ("ok", "error", "died") else [f"{ended}: {first.get('unhandled')}"]
    then = in_child(lambda: _mend(operation, folder, states, ended))
    wrong += then.get("wrong", [f"the repair {_ended(then)}: {then.get('trace') or then}"])
    return Outcome(operation.name, fault.name, at, ended, first.get("said", first.get("unhandled", "")), tuple(wrong))


def _ended(found: dict[str, Any]) -> str:
    if "died" in found:
        return "hung" if found["died"] == signal.SIGALRM else "died"
    return str(found.get("ended", "unhandled"))


def _mend(operation: Operation, folder: Path, states: States, ended: str) -> dict[str, Any]:
    quiet()
    before, after = states
    wrong: list[str] = []
    now = operation.state(folder)
    if ended == "ok" and now != after:
        wrong.append(f"it said that it is done, but {difference(now, after)}")
    if operation.atomic and now not in (before, after):
        wrong.append(f"half done: {difference(now, after)}")
    if operation.atomic:
        wrong += operation.broken(folder)
    if now != after:
        for _ in range(3):
            if (operation.again or operation.act)(folder) in (None, "ok"):
                break
        now = operation.state(folder)
        if now != after:
            wrong.append(f"after the repair {difference(now, after)}")
    wrong += [one for one in operation.broken(folder) if one not in wrong]
    return {"wrong": wrong}


def difference(now: dict[str, Any], then: dict[str, Any]) -> str:
    """Which keys differ, with the beginnings of the first three."""
    parts = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
    shown = {key: (str(now.get(key))[:80], str(then.get(key))[:80]) for key in parts[:3]}
    return f"{', '.join(parts)} differ: {shown}"


def _fresh(start: Path, work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work, symlinks=True)
    return work


def quiet() -> None:
    """No waiting, and nothing printed."""
    from engine.store import database_file, lock_wait

    lock_wait.PAUSE_S = 0.001
    database_file.BUSY_MS = 1_000
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
        os.dup2(nothing.fileno(), 1)
    sys.setswitchinterval(0.005)
