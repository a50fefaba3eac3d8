"""How a run stands: jobs, plans, events, gauges, the worker. Each has a function of its own that writes it."""

from __future__ import annotations

from msgspec import Struct


class Job(Struct, frozen=True):
    """One stage of one round: its state and how far it is.

    States: pending, running, done, paused, waiting (for a person), failed, cancelled, interrupted, stale (done, but its
    settings have changed since). ``partial``: how much of the next unit is done, 0 to 1, while it runs.
    ``resumed_at``: units that were there when it last started, to tell a rate by.
    ``moved``: wall times of its last start and last steps, a JSON list, oldest first. ``seconds``, ``cpu_seconds``: at
    work, over all its starts, but for those that were killed; 0: unknown. ``peak_bytes``: resident memory at its peak,
    of the process that ran it.
    """

    round: int
    stage: str
    state: str = "pending"
    done: int = 0
    total: int = 0
    resumed_at: int = 0
    partial: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    input_key: str | None = None
    error: str | None = None
    moved: str = "[]"
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int | None = None


class Plan(Struct, frozen=True):
    """What the worker is asked for: at most ``rounds`` improvement rounds, stopping after ``until`` of ``until_round``.

    ``want`` is desired state, not a queue: run, pause or cancel. ``auto``: no person decides; the policy
    ``improved`` stands in for ``manual``. ``hold_s``: so many seconds lie between a merge and the next round, in which
    the merge can be undone.
    """

    rounds: int = 3
    until_round: int | None = None
    until_stage: str | None = None
    auto: bool = False
    want: str = "run"
    hold_s: float = 0.0


class Event(Struct, frozen=True):
    """One line of the log. ``level``: info, warning, error or trace (a traceback)."""

    id: int
    at: float
    level: str
    round: int | None
    stage: str | None
    text: str


class Gauge(Struct, frozen=True):
    """One reading of the machine: a GPU (``device`` like ``cuda:0 H200``) or, without one, the CPU.

    ``util`` in percent, memory in bytes, ``power`` in watts, ``temperature`` in degrees Celsius (None on a CPU).
    """

    id: int
    at: float
    device: str
    util: float
    memory_used: int
    memory_total: int
    power: float | None
    temperature: float | None


class Worker(Struct, frozen=True):
    """Who runs the project. Identity is pid + start time + boot id, never the pid alone.

    ``started``: ``launch.started``; ``heartbeat``: the steady clock (time.monotonic), which all processes of a boot
    share. Neither changes when the wall clock is set. ``holds_until``: wall time at which it begins the next round;
    None while it does not wait for that.
    """

    pid: int
    started: float
    boot: str
    heartbeat: float
    child_pid: int | None
    holds_until: float | None = None


class RoundFacts(Struct, frozen=True):
    """What the stop rule needs to know of a finished round. ``gain``: change of the main score over the round
    before. ``control``: it is measured in any case, as it is a control. ``overridden``: samples that a person has
    asked to drop or to rewrite, and no round has done so yet.
    """

    rewrites: int
    accepted: int
    gain: float | None
    dropped: int = 0
    control: bool = False
    overridden: int = 0
