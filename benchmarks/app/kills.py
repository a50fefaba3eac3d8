"""The app ended at random moments while a person decides: what of the decisions is lost, and what of the run.

At every end, be it a SIGKILL, a SIGHUP or a closed terminal, three things are compared: what the terminal had been
shown (the count of decided rewrites, the next rewrite after a key), what the store holds, and what the journal holds.
A process in a session of its own, as a worker is, stands for the run.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.app.timed_terminal import Timed
from engine.store.connect import reader
from middo_tui.feed.review import Query, read_queue
from middo_tui.feed.review_order import SORTS
from tests.support.reviews import reviewing

BATCH = 20
MOST_KEYS = 8
REWRITES = BATCH * MOST_KEYS
LONGEST_WAIT_S = 0.25
THIS_ONE = re.compile("(?:▸ |\x1b\\[3;4H)(?:\x1b\\[[\\d;]*m)*#(1\\d\\d\\d)\\D".encode())
"""The number of the rewrite that is looked at, in its row; not those of its neighbours below."""
KEYS = (b"a", b"rr", b"r3")


@dataclass
class Toll:
    """What ``kills`` ends cost. ``lost``: decisions that had been shown as taken and are not in the store.

    ``torn``: ends after which rewrites and journal did not agree. ``typed`` keys decide one rewrite each; of those
    ``stored`` were in the store at the end. ``runs``: runs that did not go on.
    """

    kills: int = 0
    typed: int = 0
    shown: int = 0
    stored: int = 0
    lost: int = 0
    torn: int = 0
    runs: int = 0


def suffer(scratch: Path, kills: int, seed: int = 0) -> Toll:
    """End the app ``kills`` times; a fresh project for every ``BATCH``."""
    rng, toll = random.Random(seed), Toll()
    while toll.kills < kills:
        project = scratch / "kills"
        shutil.rmtree(project, ignore_errors=True)
        reviewing(project, REWRITES)
        run = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
        for _ in range(min(BATCH, kills - toll.kills)):
            _sitting(project, rng, toll)
            toll.runs += run.poll() is not None
        run.communicate(b"\n")
    return toll


def _sitting(project: Path, rng: random.Random, toll: Toll) -> None:
    """Open the review, decide some, and end it at some moment."""
    before, ahead = decided(project)[0], undecided(project)
    terminal = Timed(project)
    try:
        terminal.wait_for("quit")
        terminal.send(b"4")
        terminal.wait_for("undecided")
        since = len(terminal.seen)
        typed = rng.randrange(1, MOST_KEYS)
        for n in range(typed):
            terminal.send(rng.choice(KEYS))
            if n == typed - 1 or rng.random() < 0.6:
                _wait(terminal, rng, before + n + 1, ahead[n + 1], since)
        _end(terminal, rng)
        shown = _shown(terminal.seen[since:], before, ahead)
    finally:
        terminal.close()
    states, agree = decided(project)
    toll.kills += 1
    toll.typed += typed
    toll.shown += shown
    toll.stored += states - before
    toll.lost += max(0, shown - (states - before))
    toll.torn += not agree


def _wait(terminal: Timed, rng: random.Random, count: int, following: int, since: int) -> None:
    """For the ``following`` rewrite to be painted, for the ``count`` of decisions, or just a moment."""
    kind = rng.randrange(3)
    if kind == 0:
        terminal.wait_for(f"#{following}", since)
    elif kind == 1:
        terminal.wait_for(f"  {count:,} / ", since)
    else:
        terminal.watch(rng.random() * LONGEST_WAIT_S)


def _end(terminal: Timed, rng: random.Random) -> None:
    """One of three ends; what had been written until then is taken, as a terminal would have."""
    ends: tuple[Callable[[], object], ...] = (
        lambda: os.kill(terminal.pid, signal.SIGKILL),
        lambda: os.kill(terminal.pid, signal.SIGHUP),
    )
    if rng.random() < 1 / 3:
        terminal.hang_up()
        return
    rng.choice(ends)()
    terminal.wait()
    os.close(terminal.fd)


def _shown(seen: bytes, before: int, ahead: list[int]) -> int:
    """How many decisions the terminal was shown: by the count, or by the rewrite that comes after them."""
    places = {seq: at for at, seq in enumerate(ahead)}
    counts = [int(found.replace(b",", b"")) - before for found in re.findall(rb"  ([\d,]+) / [\d,]+", seen)]
    nexts = [places.get(int(found), 0) for found in THIS_ONE.findall(seen)]
    return max([0, *counts, *nexts])


def undecided(project: Path) -> list[int]:
    """The numbers of the rewrites that are left to decide, in the order in which the app goes through them."""
    db = reader(project)
    try:
        rows = read_queue(db, Query(sort=SORTS[0].name), 0.0).rows
        return [entry.seq for entry in rows if entry.state == "proposed"]
    finally:
        db.close()


def decided(project: Path) -> tuple[int, bool]:
    """Rewrites that are decided; whether the journal says the same of every one of them."""
    db = reader(project)
    try:
        states = db.execute("SELECT sample_id, axis, state FROM rewrite WHERE state IN ('accepted', 'rejected')")
        found = {(row["sample_id"], row["axis"]): row["state"] for row in states}
        entries = db.execute("SELECT sample_id, axis, after FROM decision WHERE undone=0 ORDER BY id")
        said = {(row["sample_id"], row["axis"]): row["after"] for row in entries}
        return len(found), found == said
    finally:
        db.close()
