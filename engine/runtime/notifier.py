"""When a worker notifies: it ends, its stage makes no progress, or its database cannot be written for a while."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.config import schema as configs
from engine.config.schema import Config, Notify
from engine.errors import MiddoError
from engine.runtime import stalls
from engine.runtime.notify import STALLED, Announcement, deliver, ended
from engine.store import read, write
from engine.store.lock_wait import WORDS

LOOK_S = 10.0
"""How often a stage is looked at for progress."""
HELD_S = 60.0
"""A locked database or a full disk is announced once it has lasted this long."""


class Notifier:
    """A worker's messages. ``clock``: monotonic, in seconds. Its methods are called in the worker's own thread."""

    def __init__(self, project: Path, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._project, self._config, self._clock = project, config, clock
        self._failures: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._reported: set[str] = set()
        self._looked_at = clock()
        self._stall = ""
        self._blocked: tuple[str, float] | None = None

    def blocked(self, trouble: str) -> None:
        """The database cannot be written because of ``trouble``; empty: it can."""
        if not trouble:
            self._blocked = None
        elif self._blocked is None or self._blocked[0] != trouble:
            self._blocked = trouble, self._clock()
        elif self._clock() - self._blocked[1] >= HELD_S:
            self._blocked = trouble, float("inf")
            self._send(Announcement(STALLED, self._name(), f"{self._name()}: {WORDS[trouble]}."))

    def beat(self, db: sqlite3.Connection) -> None:
        """Log what could not be sent; look from time to time whether the stage makes progress."""
        self._report(db)
        if self._clock() - self._looked_at < LOOK_S:
            return
        self._looked_at = self._clock()
        jobs = read.jobs(db)
        _, held = stalls.worker(db, self._project, jobs, time.time())
        found = next((job for job in jobs if job.state == "running"), None)
        if held is not None and held.word == stalls.MACHINES:
            if self._stall != held.word:
                self._stall = held.word
                self._send(Announcement(STALLED, self._name(), f"{self._name()}: {held.text}."))
        elif held is None or held.word != stalls.STALLED or found is None:
            self._stall = ""
        elif self._stall != (place := f"{found.stage} {found.round}"):
            self._stall = place
            text = f"{self._name()}: {held.text}."
            self._send(Announcement(STALLED, self._name(), text, found.round, found.stage))

    def end(self, db: sqlite3.Connection, error: bool) -> None:
        """The worker ends: say how, and wait until it is sent or the time is up."""
        jobs = read.jobs(db)
        newest = max((job.round for job in jobs), default=0)
        undecided = sum(states.get("proposed", 0) for states in read.rewrites(db, newest).values())
        if (said := ended(self._name(), jobs, undecided, error, read.plan(db).want)) is not None:
            self._send(said)
        for thread in self._threads:
            thread.join(2 * self._how().timeout_s + 1.0)
        self._report(db)

    def _send(self, what: Announcement) -> None:
        how = self._how()
        if what.event not in how.on or not how.ways:
            return

        def work() -> None:
            for wrong in deliver(what, how, self._project, tuple(self._config.secret_names)):
                self._failures.put(wrong)

        self._threads.append(threading.Thread(target=work, name="notify", daemon=True))
        self._threads[-1].start()

    def _report(self, db: sqlite3.Connection) -> None:
        """Each failure once per run."""
        while not self._failures.empty():
            wrong = self._failures.get()
            if wrong not in self._reported:
                self._reported.add(wrong)
                write.event(db, f"{wrong}. The run is not affected.", "warning")

    def _how(self) -> Notify:
        """As config.toml says now; while it cannot be read, as it said last."""
        with suppress(MiddoError):  # somebody is editing it; the stage that needs it says what is wrong
            self._config = configs.load(self._project)
        return self._config.notify

    def _name(self) -> str:
        return self._config.project.name or self._project.resolve().name
