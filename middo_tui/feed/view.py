"""What the Loop screen and the plain lines show, as frozen values: built once per change of the store.

Text in here has been through ``guard.one_line`` (errors through ``guard.clean``): widgets may measure and paint it
as is.
"""

from __future__ import annotations

from msgspec import Struct, field
from msgspec.structs import replace

from middo_tui.text.score_changes import ScoreChange

MARKS = {
    "pending": "·",
    "running": "▶",
    "done": "✔",
    "failed": "✘",
    "paused": "‖",
    "interrupted": "‖",
    "waiting": "!",
    "cancelled": "×",
    "stale": "~",
}
NO_COUNTS: tuple[int, int, int] = (0, 0, 0)


class StageView(Struct, frozen=True):
    """One stage of the shown round. ``rate``: units per second, None while it cannot be told.

    ``seconds``: at work so far, without what it waited for a person; 0 where an older version did not count them.
    ``partial``: how much of the next unit is done, 0 to 1, while the stage runs.
    """

    name: str
    state: str = "pending"
    done: int = 0
    total: int = 0
    rate: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    error: str = ""
    partial: float = 0.0
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """Done over total, 0 to 1."""
        return min(1.0, (self.done + self.partial) / self.total) if self.total else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at the present rate."""
        return (self.total - self.done - self.partial) / self.rate if self.rate and self.total else None


class RoundView(Struct, frozen=True):
    """One row of the rounds table. Triples are complexity, diversity, quality; None: not there yet.

    ``score`` with its ``stderr`` is the figure of ``task``, which stands for the others; ``scores``: every task against
    the round before. A closing round only trains and evaluates.
    """

    round: int
    size: int
    closing: bool = False
    selected: tuple[int, int, int] | None = None
    rewritten: int = 0
    accepted: tuple[int, int, int] | None = None
    heldout_loss: float | None = None
    task: str = ""
    score: float | None = None
    stderr: float | None = None
    tokens: int = 0
    cost: float = 0.0
    scores: tuple[ScoreChange, ...] = ()


class Curve(Struct, frozen=True):
    """A figure over the steps of one round, or of what ``name`` says: (step, lowest, highest) of each bucket, by step.

    ``last_step``: where it ends or will. ``mark``: a letter or number for ``name``.
    """

    round: int
    points: tuple[tuple[int, float, float], ...]
    last_step: int
    name: str = ""
    mark: str = ""


class Series(Struct, frozen=True):
    """A figure beside the loss: of training (``grad_norm``, ``learning_rate``, ``tokens_per_s``; over the steps of the
    newest rounds) or of the machine (``use``, ``memory`` in percent; a curve per device over parts of time, the
    newest of which is the last).
    """

    name: str
    curves: tuple[Curve, ...]


class Training(Struct, frozen=True):
    """The last logged training step."""

    step: int
    epoch: float
    epochs: float
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None


class DeviceReading(Struct, frozen=True):
    """The last sample of one device: a GPU, or the CPU where there is none (no power, no temperature)."""

    device: str
    util: float
    memory_used: int
    memory_total: int
    power: float | None = None
    temperature: float | None = None


class LogLine(Struct, frozen=True):
    """One event, on one line."""

    at: float
    level: str
    stage: str
    text: str


class DecisionCounts(Struct, frozen=True):
    """The rewrites of the shown round by decision. ``improved`` of the ``open`` ones are better by their signals."""

    open: int = 0
    improved: int = 0
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    by_axis: tuple[int, int, int] = NO_COUNTS


class LoopView(Struct, frozen=True):
    """Everything on the Loop screen. ``worker``: running, idle or lost. ``problem``: why the store could not be read;
    ``wrong``: what of it, in a few words. ``trouble``: what holds a live worker up or slows it down (see ``Stall``),
    ``held`` the same as a sentence. ``unindexed``: samples that a search for words does not find yet.
    ``judge``: why its ratings are doubtful, in sentences; empty: they are not.
    ``cut_short``: the last worker ended without signing off; ``unwritable``: and now nothing can be written there,
    for this reason.

    ``earlier``: the stages of the round before. ``until``: the stage after which this round stops, when only that
    much was asked for. ``next``: the round and stage that comes next, None when the loop is done, and then
    ``reason`` says why; ``final``: one more planned round would bring none. ``batch``: the calls that a provider works
    on as batches, in words; ``writing``: what a teacher on this machine writes. ``undo``: the round whose merge can be
    undone; ``holds_until``: when the next one begins, wall time, while the worker waits for that. ``overridden``:
    samples that a person has asked to drop or to rewrite and that no round has, where the loop is done or selects again
    for them.
    """

    project: str = ""
    model: str = ""
    round: int | None = None
    rounds: int = 0
    closing: bool = False
    worker: str = "idle"
    want: str = "run"
    auto: bool = False
    until: str = ""
    stages: tuple[StageView, ...] = ()
    earlier: tuple[StageView, ...] = ()
    curves: tuple[Curve, ...] = ()
    series: tuple[Series, ...] = ()
    training: Training | None = None
    gauges: tuple[DeviceReading, ...] = ()
    table: tuple[RoundView, ...] = ()
    log: tuple[LogLine, ...] = ()
    waiting: DecisionCounts = field(default_factory=DecisionCounts)
    next: tuple[int, str] | None = None
    teacher: str = ""
    batch: str = ""
    writing: str = ""
    reason: str = ""
    final: bool = False
    overridden: int = 0
    undo: int | None = None
    holds_until: float | None = None
    problem: str = ""
    wrong: str = ""
    trouble: str = ""
    held: str = ""
    cut_short: bool = False
    unwritable: str = ""
    unindexed: int = 0
    judge: str = ""

    @property
    def scored_round(self) -> int:
        """The newest round whose samples are scored: the final evaluation scores none, so the one before it."""
        return max(0, (self.round or 0) - self.closing)

    @property
    def unchanged(self) -> bool:
        """The loop ended because its newest round made no other dataset: that round can be done anew."""
        return self.final and not self.closing

    @property
    def extensible(self) -> bool:
        """More rounds than planned would run. They lift the stop rule where it ended the loop with an evaluation."""
        return self.closing or not self.final

    def stage(self, *states: str) -> StageView | None:
        """The first stage in one of ``states``."""
        return next((stage for stage in self.stages if stage.state in states), None)

    @property
    def state(self) -> str:
        """In one word, a key of ``turn.STATES``."""
        if self.trouble in ("locked", "full"):
            return self.trouble
        if self.worker == "lost":
            return "lost"
        if self.worker == "running":
            return {"pause": "pausing", "cancel": "cancelling"}.get(self.want, "running")
        for state in ("failed", "waiting", "paused", "interrupted", "cancelled"):
            if self.stage(state):
                return state
        if self.stage("running") or (self.cut_short and self.next):  # its worker was killed, or the machine went down
            return "interrupted"
        if self.round is None:
            return "new"
        return "idle" if self.next else "done"

    @property
    def current(self) -> StageView | None:
        """The stage to look at: the one that runs, else the one that holds things up, else the next one."""
        return self.stage("running") or self.stage(
            "failed", "waiting", "paused", "interrupted", "cancelled", "stale", "pending"
        )

    @property
    def progress(self) -> StageView | None:
        """``current``, in the state ``starting`` while a worker that nothing holds up starts the process for it, and in
        ``interrupted`` when its worker is gone.
        """
        stage = self.current
        if stage is None:
            return None
        if stage.state == "running":
            return replace(stage, state="interrupted") if self.state == "interrupted" else stage
        free = self.state == "running" and not self.trouble and self.holds_until is None
        return replace(stage, state="starting") if free else stage
