"""Eight hours of live training in minutes, with two apps attached: ``python -m benchmarks.chaos.soak --page PAGE``.

A process writes what a training stage and its worker write in that time, through their own code: a step and a heartbeat
each second, readings of the machine every two, a line of the log every ten. It does so as many times faster as it is
told. Two apps show it, each at a terminal of its own; one of them is stopped for a while and goes on.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.support.terminal import Terminal

SECONDS = 8 * 3600
EVENT_EVERY = 10
SAMPLE_S = 1.0
WARM = 0.25
"""This share of the run is not looked at for growth: caches fill."""
MOST_GROWTH_MB = 10.0
MOST_WAL_MB = 64.0
STOPPED_S = 10.0


class Grown(NamedTuple):
    """Resident memory of a process: at the end of the warm part, at the end, and its slope."""

    name: str
    first_mb: float
    last_mb: float
    mb_per_hour: float


class Quiet(Terminal):
    """A terminal that keeps only the end of what it saw."""

    def pump(self, timeout_s: float) -> bool:
        """See ``Terminal.pump``."""
        alive = super().pump(timeout_s)
        if len(self.seen) > 1 << 20:
            self.seen, self.answered = self.seen[-(1 << 18) :], 0
            self.answered = self.seen.count(b"\x1b[6n")
        return alive


def write_all(project: Path, faster: float) -> None:
    """What the stage and its worker write, second by second, ``faster`` times as fast."""
    from engine.config import schema as configs
    from engine.loop import NAMES
    from engine.runtime import launch
    from engine.runtime.context import StoreCtx
    from engine.runtime.worker import Supervisor
    from engine.store import write
    from engine.store.connect import patient
    from engine.store.rows import Metric

    db = patient(project, None)
    write.open_round(db, 0, configs.snapshot(configs.load(project)), NAMES, closing=False, stopped=None)
    write.start_job(db, 0, "train", "key", configs.snapshot(configs.load(project)))
    supervisor = Supervisor(project, db, launch.lock(project))
    supervisor.register()
    write.start_job(db, 0, "train", "key", configs.snapshot(configs.load(project)))
    ctx = StoreCtx(db, project, configs.load(project), 0, "train")
    ctx.begin(SECONDS)
    began = time.monotonic()
    for second in range(1, SECONDS + 1):
        step = Metric(0, second, time.time(), second / SECONDS, 1 + 1 / second, 1e-4, 0.5, 40_000.0)
        ctx.save([step], second)
        supervisor.beat_at = 0.0
        if second % 2 == 0:
            supervisor.gauge_at = 0.0
        supervisor.beat()
        if second % EVENT_EVERY == 0:
            ctx.event(f"step {second} is logged")
        time.sleep(max(0.0, began + second / faster - time.monotonic()))
    print("written", flush=True)
    sys.stdin.readline()


def main(argv: Sequence[str]) -> int:
    """Exit code 1 when memory grew, an event was missed or the store was not bounded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faster", type=float, default=80.0)
    parser.add_argument("--page", type=Path, default=None)
    parser.add_argument("--write", type=Path, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.write:
        write_all(args.write, args.faster)
        return 0
    with tempfile.TemporaryDirectory(prefix="middo-soak-") as scratch:
        text, broken = _soak(Path(scratch), args.faster)
    sys.stdout.write(text)
    if args.page:
        args.page.write_text(text, encoding="utf-8")
    return int(bool(broken))


def _soak(scratch: Path, faster: float) -> tuple[str, list[str]]:
    project = _project(scratch)
    command = [sys.executable, "-m", "benchmarks.chaos.soak", "--write", str(project), "--faster", str(faster)]
    began = time.monotonic()
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    apps = [Quiet([sys.executable, "-m", "middo_tui.cli", str(project)], 140, 40) for _ in range(2)]
    memory: dict[str, list[float]] = {"worker": [], "app 1": [], "app 2, stopped for a while": []}
    pids = [writer.pid, *(app.pid for app in apps)]
    wal, stopped_at, sampled = 0, 0.0, 0.0
    try:
        assert writer.stdout is not None
        os.set_blocking(writer.stdout.fileno(), False)
        while writer.stdout.read() is None:
            if writer.poll() is not None:
                raise RuntimeError("the writer has ended")
            for app in apps:
                app.pump(0.05)
            now = time.monotonic() - began
            if not stopped_at and now > SECONDS / faster / 2:
                os.kill(apps[1].pid, signal.SIGSTOP)
                stopped_at = now
            if stopped_at > 0 and now > stopped_at + STOPPED_S:
                os.kill(apps[1].pid, signal.SIGCONT)
                stopped_at = -1.0
            if now - sampled >= SAMPLE_S:
                sampled = now
                for series, pid in zip(memory.values(), pids, strict=True):
                    series.append(psutil.Process(pid).memory_info().rss / (1 << 20))
                wal = max(wal, _size(project / "middo.db-wal"))
        os.kill(apps[1].pid, signal.SIGCONT)
        broken = [wrong for app in apps if (wrong := _last_painted(app))]
        seconds = time.monotonic() - began
        sizes = _size(project / "middo.db"), wal
    finally:
        for app in apps:
            app.send(b"\x03")
            os.kill(app.pid, signal.SIGKILL)
        writer.communicate(b"\n")
    found = [_grown(name, series) for name, series in memory.items()]
    broken += [f"{one.name} grew" for one in found if one.last_mb - one.first_mb > MOST_GROWTH_MB]
    broken += [f"the log grew to {wal >> 20} MB"] if wal > MOST_WAL_MB * (1 << 20) else []
    return _page(found, broken, seconds, faster, sizes), broken


def _project(scratch: Path) -> Path:
    import json

    from engine.project import folder

    data = scratch / "rows.json"
    data.write_text(json.dumps([{"instruction": f"say {i}", "output": f"said {i}"} for i in range(200)]))
    folder.create(scratch / "P", [data], {"model": {"name": "demo:base"}})
    return scratch / "P"


def _last_painted(app: Terminal) -> str:
    """Whether the screen, painted anew, shows the last line of the log; else what is wrong."""
    deadline = time.monotonic() + 60
    marker = f"step {SECONDS} is logged".encode()
    columns = 140
    while time.monotonic() < deadline:
        app.seen, app.answered = b"", 0
        columns = 281 - columns
        app.resize(columns, 40)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            app.pump(0.2)
            if marker in app.seen:
                return ""
    return f"the last event is not on the screen: {app.seen[-300:]!r}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _grown(name: str, series: Sequence[float]) -> Grown:
    warm = list(series[int(len(series) * WARM) :])
    part = max(1, len(warm) // 5)
    hours = SECONDS / 3600 * (1 - WARM)
    slope = statistics.linear_regression([i * hours / len(warm) for i in range(len(warm))], warm).slope
    return Grown(name, statistics.median(warm[:part]), statistics.median(warm[-part:]), slope)


PAGE = """\
# Soak

Eight hours of live training, up to {faster:g} times as fast (`make soak`; {minutes:.1f} min): {steps:,} steps with
heartbeat and progress, {readings:,} readings of the machine and {lines:,} lines of the log, written by the code of the
worker and of a stage. Two apps show them, each at a pseudo-terminal of 140 × 40; one was stopped for {stopped:g} s half
way. The first quarter, in which caches fill, is not looked at.

| process | resident after 2 h, MB | after 8 h, MB | MB per simulated hour |
|---|---|---|---|
{rows}

The database took {database:.1f} MB in the end, its write-ahead log {log:.1f} MB at most. {ended}
"""


def _page(found: Sequence[Grown], broken: Sequence[str], seconds: float, faster: float, sizes: tuple[int, int]) -> str:
    rows = [f"| {one.name} | {one.first_mb:.1f} | {one.last_mb:.1f} | {one.mb_per_hour:+.2f} |" for one in found]
    good = "Painted anew at the end, both apps show the last line of the log."
    return PAGE.format(
        faster=faster,
        minutes=seconds / 60,
        steps=SECONDS,
        readings=SECONDS // 2,
        lines=SECONDS // EVENT_EVERY,
        stopped=STOPPED_S,
        rows="\n".join(rows),
        database=sizes[0] / (1 << 20),
        log=sizes[1] / (1 << 20),
        ended=f"Broken: {'; '.join(broken)}." if broken else good,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
