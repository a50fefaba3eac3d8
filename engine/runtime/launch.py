"""Starts the detached worker and checks whether it is alive. Light imports: the app and ``status`` use it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from shlex import quote

from engine.errors import ConfigError, WorkerError
from engine.files.path_text import require_text
from engine.processes import environment
from engine.store import permissions, read
from engine.store.connect import reader
from engine.store.lock_wait import WORDS
from engine.store.rows import Worker

LOCK = "worker.lock"
HEARTBEAT_S = 1.0
LOST_AFTER_S = 3 * HEARTBEAT_S + 2.0
NOTE_BYTES = 16
PROC = Path("/proc")
SINCE_BOOT = 1e9
"""More seconds than a machine runs without a boot, and less than the wall clock has shown since 2001."""
FREE_WITHIN_S = 5.0  # an orphaned child needs a moment to notice that its worker is gone


def boot_id() -> str:
    """An id of this boot of the machine, so that a pid from before a reboot is not mistaken for a live worker."""
    path = Path("/proc/sys/kernel/random/boot_id")
    if path.exists():
        return path.read_text().strip()
    import psutil

    return str(int(psutil.boot_time()))


def started(pid: int) -> float | None:
    """When a process started: on Linux in seconds since the boot, so that a clock that is set does not change it,
    elsewhere as psutil says. None: there is no such process, or it is a zombie.
    """
    try:
        words = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return _created(pid)
    return None if words[0] in "ZX" else int(words[19]) / os.sysconf("SC_CLK_TCK")  # proc_pid_stat(5): field 22


def _created(pid: int) -> float | None:
    import psutil  # takes 10 ms to import

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def alive(worker: Worker | None) -> bool:
    """Whether this very process (pid, start time, boot) still runs."""
    if worker is None or worker.boot != boot_id():
        return False
    # Workers of 0.2 and before said when they started by the wall clock.
    now = _created(worker.pid) if worker.started > SINCE_BOOT else started(worker.pid)
    return now is not None and abs(now - worker.started) < 1.0


def state(worker: Worker | None) -> str:
    """``none``, ``running``, ``lost`` (alive but silent for over three heartbeats) or ``ended``."""
    if worker is None:
        return "none"
    if not alive(worker):
        return "ended"
    return "lost" if time.monotonic() - worker.heartbeat > LOST_AFTER_S else "running"


def lock(project: Path, within_s: float = FREE_WITHIN_S) -> int:
    """Take the project's worker lock; returns its file descriptor (the lock lasts while any process holds it).

    Raises:
        WorkerError: another worker has it.
    """
    fd = os.open(project / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(OSError):  # a full disk: then there is no note, and the run is only seen to be silent
                write_wait(fd, "")
            return fd
        except BlockingIOError:
            if time.monotonic() < deadline and not _running(project):
                time.sleep(0.05)
                continue
            os.close(fd)
            raise already_running(project) from None


def write_wait(lock: int, word: str) -> None:
    """Write down what the worker waits for, where its own database cannot hold it: over bytes of the lock that are
    there already, so that it needs no space.
    """
    os.pwrite(lock, word.encode().ljust(NOTE_BYTES), 0)


def read_wait(project: Path) -> str:
    """What the worker of ``project`` waits for (a key of ``lock_wait.WORDS``); "": nothing."""
    try:
        with (project / LOCK).open("rb") as file:
            word = file.read(NOTE_BYTES).strip().decode("ascii", "replace")
    except OSError:
        return ""
    return word if word in WORDS else ""


def _running(project: Path) -> bool:
    return alive(_registered(project))


def _registered(project: Path) -> Worker | None:
    db = reader(project)
    try:
        return read.worker(db)
    finally:
        db.close()


def already_running(project: Path) -> WorkerError:
    """The error if a worker already runs."""
    worker = _registered(project)
    who = f"a worker (pid {worker.pid})" if worker else "another process"
    return WorkerError(
        f"{project}: {who} already runs this project. Watch it with `middo-tui {quote(str(project))}`, stop it with"
        f" `middo-tui pause {quote(str(project))}` or `middo-tui cancel {quote(str(project))}`."
    )


def start(project: Path) -> int:
    """Start the detached worker and wait until it has taken over; returns its pid. It outlives the terminal.

    Raises:
        WorkerError: one runs already, or it ended before it was ready (the message carries its last words).
        ConfigError: it refused what config.toml says. UsageError: the path is not UTF-8, as after a move.
    """
    if _running(project):
        raise already_running(project)
    require_text(project)
    project = project.resolve()  # the worker runs in /, so that it keeps no folder from being removed or unmounted
    permissions.tighten(project)
    (project / "logs").mkdir(mode=0o700, exist_ok=True)
    log_path = project / "logs" / "worker.log"
    ready_r, ready_w = os.pipe()
    with open(log_path, "ab", opener=permissions.opener) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.runtime.worker", str(project), str(ready_w), environment.describe()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[ready_w],
            cwd="/",
            env=environment.for_children(),
        )
    os.close(ready_w)
    with os.fdopen(ready_r, "rb") as pipe:
        word = pipe.read().decode("utf-8", "replace")
    if word != "ready":
        refused = process.wait() == ConfigError.exit_code
        raise (ConfigError if refused else WorkerError)(
            word or f"the worker exited before it was ready (exit code {process.returncode}). See {log_path}."
        )
    return process.pid
